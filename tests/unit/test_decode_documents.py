"""PDFs to pages: what is drawn, at which size, which pages, and what broken ones come to."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.pages import check_pages, chosen_pages
from jobs.pieces import WHOLE, MediaInfo, Piece, Reading, Span
from storage.errors import RowError
from storage.media import Media
from storage.sniff import sniff
from tests.media import as_media
from tests.paper import pdf, stream
from workers.decode import Decoders

PAPER = Reading(frozenset({"document"}), page_pixels=100_000)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1, timeout_s=60)
    yield pool
    pool.close()


def paper(source: bytes | Path) -> Media:
    return as_media(source, "document", "application/pdf")


def pages(decoders: Decoders, source: bytes | Path, **reading: Any) -> list[Piece]:
    """The pieces; what is said of the medium must be the same before and after them."""
    values = {"kinds": PAPER.kinds, "page_pixels": PAPER.page_pixels} | reading
    first, *pieces, last = decoders.decode(paper(source), Reading(**values), 0)
    assert isinstance(first, MediaInfo)
    assert first == last
    found = []
    for piece in pieces:
        assert isinstance(piece, Piece)
        [image] = piece.images
        assert image.dtype == np.uint8
        assert image.shape == (piece.span.height, piece.span.width, 3)
        found.append(piece)
    return found


def info(decoders: Decoders, source: bytes) -> MediaInfo:
    first = next(decoding := decoders.decode(paper(source), PAPER, 0))
    decoding.close()
    assert isinstance(first, MediaInfo)
    return first


def failure(decoders: Decoders, source: bytes | Path, **reading: Any) -> RowError:
    with pytest.raises(RowError) as caught:
        pages(decoders, source, **reading)
    return caught.value


def dark(image: Any) -> tuple[bool, bool, bool, bool]:
    """In which quarters there is ink: top left, top right, bottom left, bottom right."""
    ink = image.min(axis=2) < 128
    y, x = ink.shape[0] // 2, ink.shape[1] // 2
    return tuple(
        bool(part.any()) for half in (ink[:y], ink[y:]) for part in (half[:, :x], half[:, x:])
    )  # type: ignore[return-value]


def test_each_page_is_a_piece_on_white(decoders: Decoders, tmp_path: Path) -> None:
    data = pdf("One", "", "Three")
    path = tmp_path / "a b\udce4.pdf"
    path.write_bytes(data)
    for source in (data, path):
        found = pages(decoders, source)
        assert [(p.span.start, p.span.end, p.span.page) for p in found] == [
            (1, 2, 1), (2, 3, 2), (3, 4, 3)
        ]  # fmt: skip
        assert [dark(p.images[0]) for p in found] == [
            (True, False, False, False), (False,) * 4, (True, False, False, False)
        ]  # fmt: skip
        assert found[1].images[0].min() == 255
    assert info(decoders, data) == MediaInfo("document", pages=3)


def test_no_other_span_is_of_a_page() -> None:
    spans = (Span(0, 0, 1), Span(0, 30, 60, 1.0, 2.0), Span(WHOLE, 3, 4), Span(0, 0, 0))
    assert [span.page for span in spans] == [None] * 4


@pytest.mark.parametrize(
    ("size", "pixels", "shape"),
    [
        ((595, 842), 100_000, (377, 266)),
        ((595, 842), 5_160_960, (2703, 1910)),
        # A card would have more than 300 dpi.
        ((252, 144), 5_160_960, (600, 1050)),
        ((14_400, 14_400), 1_000_000, (1000, 1000)),
        ((14_400, 1), 1_000_000, (5, 60_000)),
    ],
)
def test_a_page_has_the_pixels_that_are_wanted(
    decoders: Decoders, size: tuple[int, int], pixels: int, shape: tuple[int, int]
) -> None:
    [piece] = pages(decoders, pdf("A", size=size), page_pixels=pixels)
    assert piece.images[0].shape[:2] == pytest.approx(shape, abs=1)
    [small] = pages(decoders, pdf("A", size=size), page_pixels=pixels, max_pixels=10_000)
    assert small.span.width * small.span.height <= 12_000


def test_a_turned_page_is_upright(decoders: Decoders) -> None:
    [piece] = pages(decoders, pdf("Turned", page="/Rotate 90"))
    assert piece.span.width > piece.span.height
    assert dark(piece.images[0]) == (False, True, False, False)


def test_colours_keep_their_order(decoders: Decoders) -> None:
    [piece] = pages(decoders, pdf("% red\n1 0 0 rg 0 0 595 842 re f"))
    assert piece.images[0].reshape(-1, 3).min(axis=0).tolist() == [255, 0, 0]
    assert piece.images[0].reshape(-1, 3).max(axis=0).tolist() == [255, 0, 0]


def test_annotations_and_form_fields_are_drawn(decoders: Decoders) -> None:
    drawn = stream(b"0 g 0 0 100 100 re f", "/Type /XObject /Subtype /Form /BBox [0 0 100 100]")
    stamp = "<< /Type /Annot /Subtype /Stamp /F 4 /Rect [400 100 500 200] /AP << /N 4 0 R >> >>"
    field = (
        "<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /V (x) /F 4 /Rect [50 100 150 200] "
        "/AP << /N 4 0 R >> >>"
    )
    data = pdf(
        "",
        page="/Annots [5 0 R 6 0 R]",
        catalog="/AcroForm << /Fields [6 0 R] >>",
        more=[drawn, stamp, field],
    )
    [piece] = pages(decoders, data)
    assert dark(piece.images[0]) == (False, False, True, True)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (None, [1, 2, 3, 4, 5]),
        ("2", [2]),
        ("4-,1", [1, 4, 5]),
        (" 3 - 4 , 3,2-3", [2, 3, 4]),
        ("5-900", [5]),
    ],
)
def test_only_wanted_pages_are_rendered(
    decoders: Decoders, wanted: str | None, numbers: list[int]
) -> None:
    found = pages(decoders, pdf(*"abcde"), pages=wanted)
    assert [piece.span.page for piece in found] == numbers


@pytest.mark.parametrize(
    "wanted", ["", "0", "-3", "3-1", "1,,2", "a", "1-2-3", "\u0661", "0-2", "1.5"]
)
def test_what_are_no_pages_is_said(wanted: str) -> None:
    with pytest.raises(ValueError, match="as in 1-3,7"):
        check_pages(wanted)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=5),
    st.integers(0, 50),
)
def test_pages_are_a_set_in_order(parts: list[tuple[int, int]], count: int) -> None:
    wanted = ",".join(f"{first}-{first + length}" for first, length in parts)
    among = {n for first, length in parts for n in range(first, first + length + 1)}
    assert chosen_pages(wanted, count) == [n for n in range(1, count + 1) if n in among]


def test_kept_pages_are_not_rendered_again(decoders: Decoders) -> None:
    keep = (Span(0, 1, 2, None, None, 9, 9), Span(0, 3, 5), Span(1, 5, 6))
    found = pages(decoders, pdf(*"abcde"), keep=keep)
    assert [piece.span.page for piece in found] == [2, 5]


def test_more_pages_than_the_limit_are_too_large(decoders: Decoders) -> None:
    error = failure(decoders, pdf(*"abcde"), max_pages=4)
    assert (error.kind, error.message.split(";")[0]) == ("too_large", "5 pages")
    assert len(pages(decoders, pdf(*"abcde"), max_pages=2, pages="4-5")) == 2


def test_a_document_without_the_wanted_pages_is_empty(decoders: Decoders) -> None:
    assert failure(decoders, pdf()).kind == "empty"
    error = failure(decoders, pdf(*"ab"), pages="3-")
    assert (error.kind, "has 2" in error.message) == ("empty", True)


def test_a_password_is_asked_for_unless_it_is_empty(decoders: Decoders) -> None:
    error = failure(decoders, pdf("Secret", password="x"))
    assert (error.kind, "encrypted" in error.message) == ("forbidden", True)
    [piece] = pages(decoders, pdf("Open", password=""))
    assert dark(piece.images[0])[0]


def test_a_task_without_documents_says_what_it_takes(decoders: Decoders) -> None:
    error = failure(decoders, pdf("a"), kinds=frozenset({"image"}))
    assert (error.kind, error.message) == ("wrong_kind", "application/pdf: the task takes image")


def test_broken_documents_are_corrupt(decoders: Decoders) -> None:
    whole = pdf(*"abc")
    for data in (b"%PDF-1.7", b"%PDF-1.4\n" + bytes(5000), whole[:60], whole[: len(whole) // 2]):
        assert failure(decoders, data).kind == "corrupt"


def test_a_lost_page_is_named(decoders: Decoders) -> None:
    # Its object is no page any more; the others are whole.
    data = pdf(*"abc").replace(b"6 0 obj\n<< /Type /Page", b"6 0 obj\n(( /Type /Page")
    error = failure(decoders, data)
    assert error.kind == "corrupt"
    assert "page 2 of 3" in error.message
    assert len(pages(decoders, data, pages="1,3")) == 2


def test_forms_of_adobes_own_kind_are_told(decoders: Decoders) -> None:
    form = "/NeedsRendering true /AcroForm << /Fields [] /XFA 4 0 R >>"
    xfa = stream(b'<xdp:xdp xmlns:xdp="http://ns.adobe.com/xdp/"></xdp:xdp>')
    found = info(decoders, pdf("Please wait", catalog=form, more=[xfa]))
    assert found == MediaInfo("document", pages=1, warnings=("xfa_form",))


def test_damaged_bytes_give_pages_or_a_row_error(decoders: Decoders) -> None:
    whole = pdf("One", "Two", page="/Annots [4 0 R]", more=[stream(b"x", "/Type /Annot")])
    assert sniff(whole[:100]).kind == "document"
    chance = random.Random(5)
    pid = next(iter([*decoders._idle, *decoders._busy])).pid
    outcomes = set()
    for _ in range(120):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 5, 40))):
            data[chance.randrange(8, len(data))] = chance.randrange(256)
        try:
            pages(
                decoders,
                bytes(data[: chance.choice((len(data), chance.randrange(len(data)))) or 1]),
            )
            outcomes.add("pages")
        except RowError as error:
            outcomes.add(error.kind)
    assert (
        {"pages", "corrupt"} <= outcomes <= {"pages", "corrupt", "empty", "forbidden", "too_large"}
    )
    assert pid == next(iter([*decoders._idle, *decoders._busy])).pid


def test_five_hundred_pages_take_no_more_memory_than_a_few() -> None:
    random_ = np.random.default_rng(3)
    photo = random_.integers(0, 256, (700, 900), np.uint8).tobytes()
    image = stream(
        photo,
        "/Type /XObject /Subtype /Image /Width 900 /Height 700 /ColorSpace /DeviceGray "
        "/BitsPerComponent 8",
    )
    # Every page draws the picture, and has its own words.
    words = [f"% {n}\nq 500 0 0 400 40 200 cm /Im Do Q" for n in range(500)]
    data = pdf(*words, page="/Unused 4 0 R", more=[image]).replace(
        b"/Resources << ", b"/Resources << /XObject << /Im 4 0 R >> "
    )
    pool = Decoders(1, timeout_s=60)
    try:
        held = []
        for item in pool.decode(paper(data), PAPER, 0):
            if isinstance(item, Piece):
                assert dark(item.images[0])[2]
                [process] = pool._busy
                held.append(psutil.Process(process.pid).memory_info().rss)
        assert len(held) == 500
        assert max(held) - max(held[:50]) < 16 << 20
    finally:
        pool.close()


def test_pdfium_is_loaded_with_the_first_document_alone() -> None:
    program = "import sys, mediamill, workers.decoder; assert 'pypdfium2' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
