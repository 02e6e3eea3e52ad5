"""Write a page that looks like a screenshot."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import ask, planned_tokens
from jobs.tasks.base import Answer, Cost, DetailOptions, Parsed, Prompt, Row, Task
from storage.errors import RowError

PROMPT = (
    "Write one HTML page, with its CSS inside, that looks like this screenshot."
    " Output only ```html."
)
_FENCE = re.compile(r"```(?:html)?[ \t]*\n(.*?)(?:\n?```|\Z)", re.DOTALL | re.IGNORECASE)
_PAGE = re.compile(r"<!doctype html|<html[\s>]", re.IGNORECASE)
_TAG = re.compile(r"<[a-zA-Z][^>]*>")


class ToHtmlOptions(DetailOptions):
    """Options of `to-html`."""

    max_tokens: int = Field(4096, ge=1, le=32768, description="longest page, in tokens")


class ToHtml(Task):
    """A page in HTML for each screenshot. It is text: nothing in it is ever run."""

    name = "to-html"
    summary = "an HTML page from a screenshot"
    kinds = frozenset({"image"})
    Options = ToHtmlOptions
    columns = (pa.field("html", pa.string()),)

    def cost(self, options: ToHtmlOptions) -> Cost:
        """Pages are long."""
        return Cost(request_tokens=1500, image_tokens=planned_tokens(options))

    def prompt(self, row: Row, piece: Piece, options: ToHtmlOptions) -> Prompt:
        """In the checkpoint's own sampling."""
        return ask(PROMPT, row, piece, options, greedy=False)

    def parse(self, row: Row, answers: Sequence[Answer], options: ToHtmlOptions) -> Parsed:
        """The page without fence and prose; raises RowError if there is no tag in it."""
        pages = [_page(answer.text) for answer in answers]
        if not all(_TAG.search(page) for page in pages):
            raise RowError("unparsable", "the answer holds no HTML; column raw has it whole")
        page = "\n".join(pages)
        return Parsed(text=page, columns={"html": page})


def _page(text: str) -> str:
    fence = _FENCE.search(text)
    if fence:
        return fence[1].strip()
    start = _PAGE.search(text)
    return text[start.start() :].strip() if start else text.strip()
