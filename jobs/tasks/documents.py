"""What tasks share that read documents: which pages, how large they are drawn, their column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field

from jobs.pages import check_pages
from jobs.pieces import MOST_PAGES, Reading
from jobs.tasks.base import Answer, TaskOptions

#: Pixels of a rendered page for each that the model is given: its processor scales them
#: down, and letters stay sharp.
_OVERSAMPLING = 2

#: What was answered of each page of a document, from 1; null where no page was asked about
#: by itself. Of several documents they follow each other.
PAGES = pa.field("pages", pa.list_(pa.struct([("page", pa.int32()), ("text", pa.string())])))


def _text(value: Any) -> Any:
    # A column of single page numbers holds integers.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class DocumentOptions(TaskOptions):
    """Options of tasks that read documents page by page."""

    pages: Annotated[str, BeforeValidator(_text), AfterValidator(check_pages)] | None = Field(
        None, description="pages of a document, as in 1-3,7 or 10-; all if left out"
    )
    max_pages: int = Field(MOST_PAGES, ge=1, description="documents of more are too_large")


def on_paper(reading: Reading, options: DocumentOptions) -> Reading:
    """The reading with the pages that the options want, drawn for their budget of an image."""
    return replace(
        reading,
        pages=options.pages,
        max_pages=options.max_pages,
        page_pixels=_OVERSAMPLING * options.most_pixels,
    )


def by_page(told: Iterable[tuple[Answer, str]]) -> list[dict[str, Any]] | None:
    """The column `PAGES` of answers and the text of each; None if none is of a page."""
    found = [
        {"page": answer.span.page, "text": text}
        for answer, text in told
        if answer.span.page is not None
    ]
    return found or None
