"""Read what is written in images and documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from jobs.pieces import Piece, Reading
from jobs.tasks.asking import ask, planned_tokens
from jobs.tasks.base import Answer, Cost, DetailOptions, Parsed, Prompt, Row, Task
from jobs.tasks.documents import PAGES, DocumentOptions, by_page, on_paper

PROMPTS = {
    "text": "Extract all text from this image.",
    "markdown": (
        "Convert this document to Markdown. Keep the reading order, headings, lists and tables."
        " Output the Markdown alone."
    ),
}
_FENCED = re.compile(r"\s*```(?:markdown|md|text)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


class OcrOptions(DetailOptions, DocumentOptions):
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
    """The text in an image or a document, line by line or as Markdown.

    Every page of a document is asked about by itself; `pages` has the text of each.
    For keys and values of a form, see `extract`.
    """

    name = "ocr"
    summary = "the text in an image or a document, plain or as Markdown"
    kinds = frozenset({"image", "document"})
    verbatim = True
    Options = OcrOptions
    columns = (PAGES,)

    def reading(self, options: OcrOptions, abilities: frozenset[str]) -> Reading:
        """Pages as large as the budget is worth."""
        return on_paper(super().reading(options, abilities), options)

    def cost(self, options: OcrOptions) -> Cost:
        """A page has some 600 tokens of text; most images have fewer."""
        return Cost(request_tokens=400, image_tokens=planned_tokens(options))

    def prompt(self, row: Row, piece: Piece, options: OcrOptions) -> Prompt:
        """Ask greedily: letters are not a matter of taste."""
        return ask(PROMPTS[options.form], row, piece, options, greedy=True)

    def parse(self, row: Row, answers: Sequence[Answer], options: OcrOptions) -> Parsed:
        """The text as it stands, without a fence around it; none is no error."""
        texts = [_bare(answer.text) for answer in answers]
        pages = by_page(zip(answers, texts, strict=True))
        return Parsed(text="\n\n".join(filter(None, texts)), columns={"pages": pages})


def _bare(text: str) -> str:
    fenced = _FENCED.fullmatch(text)
    return (fenced[1] if fenced else text).strip()
