"""Read what is written in images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from jobs.pieces import Piece
from jobs.tasks.asking import ask, planned_tokens
from jobs.tasks.base import Answer, Cost, DetailOptions, Parsed, Prompt, Row, Task

PROMPTS = {
    "text": "Extract all text from this image.",
    "markdown": (
        "Convert this document to Markdown. Keep the reading order, headings, lists and tables."
        " Output the Markdown alone."
    ),
}
_FENCED = re.compile(r"\s*```(?:markdown|md|text)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


class OcrOptions(DetailOptions):
    """Options of `ocr`."""

    max_tokens: int = Field(2048, ge=1, le=32768, description="longest text, in tokens")
    form: Literal["text", "markdown"] = Field(
        "text", description="plain text, or a document's structure as Markdown"
    )

    @field_validator("form", mode="before")
    @classmethod
    def _keys_and_values_elsewhere(cls, form: Any) -> Any:
        if form in ("key-value", "key_value", "json"):
            raise ValueError(
                "keys and values are task extract: --task extract --set json_schema=@FILE"
            )
        return form


class Ocr(Task):
    """The text in an image, line by line, or a document as Markdown.

    For keys and values of a form, see `extract`.
    """

    name = "ocr"
    summary = "the text in an image, plain or as Markdown"
    kinds = frozenset({"image"})
    verbatim = True
    Options = OcrOptions

    def cost(self, options: OcrOptions) -> Cost:
        """A page has some 600 tokens of text; most images have fewer."""
        return Cost(request_tokens=400, image_tokens=planned_tokens(options))

    def prompt(self, row: Row, piece: Piece, options: OcrOptions) -> Prompt:
        """Ask greedily: letters are not a matter of taste."""
        return ask(PROMPTS[options.form], row, piece, options, greedy=True)

    def parse(self, row: Row, answers: Sequence[Answer], options: OcrOptions) -> Parsed:
        """The text as it stands, without a fence around it; none is no error."""
        return Parsed(text="\n\n".join(_bare(answer.text) for answer in answers))


def _bare(text: str) -> str:
    fenced = _FENCED.fullmatch(text)
    return (fenced[1] if fenced else text).strip()
