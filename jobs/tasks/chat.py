"""Ask anything, in words made from the row's columns, of media or of text alone."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jobs.pieces import Piece
from jobs.tasks.asking import given, media_cost
from jobs.tasks.base import Answer, Cost, Prompt, Row
from jobs.tasks.telling import Telling, TellingOptions, telling
from storage.errors import InvalidJob, RowError

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


class Chat(Telling):
    """The answer to a prompt of the user's own; rows may have media, or text alone.

    In `prompt` and `system`, `{name}` stands for what the row has in that column, and
    `{{` and `}}` for braces.
    """

    name = "chat"
    summary = "the answer to any prompt, made from the row's columns"
    kinds = frozenset({"image", "video", "audio"})
    text_alone = True
    required = ("prompt",)
    column = "answer"
    columns = telling("answer")

    def check(self, options: TellingOptions, columns: Collection[str]) -> None:
        """Refuse a template that names what is no column."""
        for text in (options.prompt, options.system):
            for match in _FIELD.finditer(text or ""):
                if match[1] is not None and match[1].strip() not in columns:
                    raise InvalidJob(_unknown(match[0], columns))

    def cost(self, options: TellingOptions) -> Cost:
        """Some 200 tokens of prompt and as many of answer."""
        return media_cost(options, 400)

    def question(self, row: Row, piece: Piece, options: TellingOptions) -> str:
        """The user's own prompt, already filled in."""
        return given(options.prompt, "prompt")

    def prompt(self, row: Row, piece: Piece, options: TellingOptions) -> Prompt:
        """The prompt with the row's values, in the checkpoint's own sampling."""
        return super().prompt(row, piece, _filled(row, options))

    def conclude(
        self, row: Row, answers: Sequence[Answer], options: TellingOptions
    ) -> Prompt | None:
        """The filled prompt once more, with the answers about the parts."""
        return super().conclude(row, answers, _filled(row, options))


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The template with each `{name}` replaced by that value: text as it is, null as nothing,
    lists and the like as JSON. What a value holds is not read as a template again.

    Raises RowError("invalid_row") for a name that is no column.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        name = match[1].strip()
        if name not in values:
            raise RowError("invalid_row", _unknown(match[0], values))
        found = values[name]
        if found is None or isinstance(found, str):
            return found or ""
        if isinstance(found, dict | list | bool):
            return json.dumps(found, ensure_ascii=False, default=str)
        return str(found)

    return _FIELD.sub(value, template)


def _unknown(named: str, columns: Collection[str]) -> str:
    known = ", ".join(sorted(columns)) or "none"
    return (
        f"the prompt's {named} is no column of the manifest; they are: {known}. "
        "Braces that stand for themselves are doubled: {{ }}"
    )


def _filled(row: Row, options: TellingOptions) -> TellingOptions:
    filled = {
        name: fill(text, row.columns)
        for name, text in (("prompt", options.prompt), ("system", options.system))
        if text is not None
    }
    return options.model_copy(update=filled)
