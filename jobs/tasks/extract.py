"""Read facts off media into a shape that the user gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece, Reading
from jobs.tasks.asking import ask, given, media_cost
from jobs.tasks.base import Answer, Cost, DetailOptions, Parsed, Prompt, Row, Task
from jobs.tasks.documents import PAGES, DocumentOptions, by_page, on_paper
from jobs.tasks.structured import (
    Constrained,
    Schema,
    as_json,
    mismatches,
    read_structured,
    with_schema,
)

PROMPT = "Extract the information that the schema asks for. Use null for what is not there."


class ExtractOptions(DetailOptions, DocumentOptions, Constrained):
    """Options of `extract`."""

    max_tokens: int = Field(1024, ge=1, le=32768, description="longest answer, in tokens")
    json_schema: Schema = Field(None, description="of the answer: JSON, or @FILE")


class Extract(Task):
    """A JSON value of the given schema for each row, by a grammar and checked afterwards.

    The pages of a document are seen together while they are as few as one request takes.
    More are asked about one by one: `pages` has the JSON text of each, and the row's value
    is made of them (`joined`). Sound or video of several windows gives a list of values.
    """

    name = "extract"
    summary = "facts in a given JSON schema"
    kinds = frozenset({"image", "document", "video", "audio"})
    together = True
    Options = ExtractOptions
    required = ("json_schema",)
    columns = (pa.field("data", pa.string()), PAGES)

    def reading(self, options: ExtractOptions, abilities: frozenset[str]) -> Reading:
        """As usual, and pages as large as the budget is worth."""
        return on_paper(super().reading(options, abilities), options)

    def cost(self, options: ExtractOptions) -> Cost:
        """Some 200 tokens of schema and as many of answer."""
        return media_cost(options, 400)

    def prompt(self, row: Row, piece: Piece, options: ExtractOptions) -> Prompt:
        """The question with the schema told, and the answer held to it."""
        schema = given(options.json_schema, "json_schema")
        text = with_schema(options.prompt or PROMPT, schema)
        asked = options.model_copy(update={"prompt": None})
        return ask(text, row, piece, asked, greedy=True, json_schema=schema)

    def parse(self, row: Row, answers: Sequence[Answer], options: ExtractOptions) -> Parsed:
        """`data` is the value as JSON text; what breaks the schema all the same is warned of."""
        schema = given(options.json_schema, "json_schema")
        read = [read_structured(answer, schema) for answer in answers]
        values = [value for value, _ in read]
        warnings = dict.fromkeys(warning for _, found in read for warning in found)
        pages = None
        if len(values) == 1:
            data = as_json(values[0])
        elif all(answer.span.page for answer in answers):
            pages = by_page(zip(answers, map(as_json, values), strict=True))
            whole = joined(values)
            warnings |= dict.fromkeys(mismatches(whole, schema))
            data = as_json(whole)
        else:
            data = as_json(values)
        return Parsed(data, {"data": data, "pages": pages}, tuple(warnings))


def joined(values: Sequence[Any]) -> Any:
    """One value of those of a document's pages: each field as the first page has it that has
    any, objects field by field, lists one after the other.

    Null and an empty text are nothing; what pages contradict each other in is not noticed.
    """
    found = [value for value in values if value is not None and value != ""]
    if not found:
        return values[0]
    if all(isinstance(value, dict) for value in found):
        names = dict.fromkeys(name for value in found for name in value)
        return {name: joined([v[name] for v in found if name in v]) for name in names}
    if all(isinstance(value, list) for value in found):
        return [item for value in found for item in value]
    return found[0]
