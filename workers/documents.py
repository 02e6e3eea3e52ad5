"""PDF documents, page by page, as people see them: annotations and form fields drawn, on white."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from math import inf, sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pypdfium2
import pypdfium2.raw as pdfium

from jobs.pages import chosen_pages
from jobs.pieces import MediaInfo, Piece, Reading, Span
from storage.errors import RowError

# It tells of forms that it cannot draw; so does the record.
logging.getLogger("pypdfium2").setLevel(logging.ERROR)

#: Pixels a point (1/72 inch) at most, 300 dpi: more would blow up a small page.
_MOST_SCALE = 300 / 72
_XFA = (pdfium.FORMTYPE_XFA_FULL, pdfium.FORMTYPE_XFA_FOREGROUND)


def decode_document(
    source: bytes | Path, reading: Reading, media_index: int
) -> Iterator[MediaInfo | Piece]:
    """A PDF's MediaInfo, a piece for each wanted page that is not kept, and the MediaInfo again.

    A page is rendered when it is asked for, upright and at about `reading.page_pixels`, never
    over 300 dpi or `reading.max_pixels`. Raises RowError: `forbidden` if it takes a password,
    `corrupt`, `empty` without pages, `too_large`; of a page it says which.
    """
    with _opened(source) as document:
        # Its static part is drawn; of a dynamic form that says "please wait".
        warnings = ("xfa_form",) if document.get_formtype() in _XFA else ()
        info = MediaInfo("document", warnings=warnings, pages=len(document))
        wanted = _wanted(reading, len(document))
        yield info
        kept = [span for span in reading.keep if span.media_index == media_index]
        for number in wanted:
            if not any(span.start <= number < span.end for span in kept):
                yield _piece(document, number, reading, media_index)
        yield info


def _opened(source: bytes | Path) -> pypdfium2.PdfDocument:
    # PDFium keeps its last error, and sets none for a document without pages: what the one
    # before had must not be said of this one. No file is called so, and that is an error
    # which no document of ours gives.
    pdfium.FPDF_LoadDocument(b"", None)
    try:
        # Without a password it tries the empty one, as viewers do.
        document = pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            raise RowError(
                "forbidden", "the PDF is encrypted and opens with a password alone; decrypt it"
            ) from error
        if error.err_code == pdfium.FPDF_ERR_FILE:
            raise RowError("empty", "the PDF has no pages") from error
        raise RowError("corrupt", f"the PDF cannot be read: {error}") from error
    try:
        document.init_forms()
    except pypdfium2.PdfiumError as error:
        document.close()
        raise RowError("corrupt", f"the PDF's form cannot be read: {error}") from error
    return document


def _wanted(reading: Reading, count: int) -> list[int]:
    wanted = chosen_pages(reading.pages, count)
    if not wanted:
        raise RowError("empty", f"pages={reading.pages}: the document has {count}, none of these")
    if len(wanted) > reading.max_pages:
        raise RowError(
            "too_large",
            f"{len(wanted)} pages; the limit is max_pages={reading.max_pages}: "
            "raise it, or choose some with pages",
        )
    return wanted


def _piece(
    document: pypdfium2.PdfDocument, number: int, reading: Reading, media_index: int
) -> Piece:
    try:
        image = _render(document, number, min(reading.page_pixels, reading.max_pixels))
    except (pypdfium2.PdfiumError, ValueError, OverflowError) as error:
        where = f"page {number} of {len(document)}"
        raise RowError("corrupt", f"{where} cannot be rendered: {error}") from error
    height, width = image.shape[:2]
    span = Span(media_index, number, number + 1, None, None, width, height)
    return Piece(span, images=(image,))


def _render(document: pypdfium2.PdfDocument, number: int, pixels: int) -> npt.NDArray[np.uint8]:
    with closing(document[number - 1]) as page:
        width, height = page.get_size()
        if not (0 < width < inf and 0 < height < inf):
            raise ValueError(f"its size is {width} by {height}")
        scale = min(sqrt(pixels / (width * height)), _MOST_SCALE)
        bitmap = page.render(scale=scale, rev_byteorder=True)
        # Pixels in Python's memory, which outlive bitmap and page.
        return np.asarray(bitmap.to_numpy(), np.uint8)
