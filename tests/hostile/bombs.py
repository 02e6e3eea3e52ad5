"""Files that unpack to far more than they are: archives, streams, strips, profiles, headers."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO

from PIL import PngImagePlugin

from tests.hostile.case import OK, Case, Expected, expect
from tests.hostile.pictures import png, sample
from tests.paper import pdf, stream


def packed_zeros(megabytes: int, byte: bytes = b"\0") -> bytes:
    """Zlib data that unpack to so many MiB of one byte or text, made without having them."""
    packer = zlib.compressobj(9)
    block = byte * ((1 << 20) // len(byte))
    parts = [packer.compress(block) for _ in range(megabytes)]
    return b"".join([*parts, packer.flush()])


def _text_bomb(name: bytes, head: bytes) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add(name, head + packed_zeros(64))
    return sample("PNG", pnginfo=info)


def _archive(name: str) -> bytes:
    sink = BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(64 << 20))
    return sink.getvalue()


def _tiff(strip: bytes) -> bytes:
    """A TIFF of 8 by 8 greys whose one strip is packed by Deflate."""
    tags = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
            (273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, len(strip))]  # fmt: skip
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(200, b"\0") + strip


def _compressed_movie() -> bytes:
    """A QuickTime movie whose header is packed, and unpacks to as much as 32 bits can say."""
    body = struct.pack("!I", 2**31 - 1) + packed_zeros(64)
    inner = struct.pack("!I4s4s", 12, b"dcom", b"zlib")
    inner += struct.pack("!I4s", len(body) + 8, b"cmvd") + body
    for box in (b"cmov", b"moov"):
        inner = struct.pack("!I", len(inner) + 8) + box + inner
    return struct.pack("!I4s4sI", 16, b"ftyp", b"qt  ", 0) + inner


def _paper_of(content: bytes, entries: str) -> bytes:
    """A PDF whose page is drawn by this stream."""
    whole = pdf("%", more=[stream(content, entries)])
    return whole.replace(b"/Contents 6 0 R", b"/Contents 4 0 R")


def _paper_with(side: int) -> bytes:
    """A PDF whose page shows a picture of `side` by `side` pixels, all of one colour."""
    size = side * side >> 20
    entries = (
        f"/Type /XObject /Subtype /Image /Width {side} /Height {side} /ColorSpace /DeviceGray "
        "/BitsPerComponent 8 /Filter /FlateDecode"
    )
    drawn = "%\nq 500 0 0 500 9 9 cm /Im Do Q"
    whole = pdf(drawn, more=[stream(packed_zeros(size), entries)])
    return whole.replace(b"/Font <<", b"/XObject << /Im 4 0 R >> /Font <<")


def _made() -> dict[str, tuple[Callable[[], bytes], Expected]]:
    no, drawn = expect("wrong_kind"), expect(OK)
    double = "/Filter [/FlateDecode /FlateDecode]"
    return {
        "text.png": (lambda: _text_bomb(b"zTXt", b"Comment\0\0"), expect("corrupt")),
        "international.png": (
            lambda: _text_bomb(b"iTXt", b"Comment\0\1\0\0\0"), expect("corrupt")
        ),
        # Pillow leaves out a profile that is too large.
        "profile.png": (lambda: _text_bomb(b"iCCP", b"profile\0\0"), drawn),
        # What is too much for a picture of 8 by 8 is never unpacked.
        "overlong.png": (lambda: png(8, 8, packed_zeros(256)), drawn),
        "empty.png": (lambda: png(8, 8, zlib.compress(b"")), expect("corrupt")),
        "strip.tif": (lambda: _tiff(packed_zeros(256)), drawn),
        "archive.png": (lambda: _archive("a.png"), no),
        "office.docx": (lambda: _archive("word/document.xml"), no),
        "packed.jpg": (lambda: gzip.compress(bytes(32 << 20)), no),
        "drawing.svgz": (lambda: gzip.compress(b"<svg>" + bytes(32 << 20)), no),
        "movie.mov": (_compressed_movie, expect("corrupt")),
        "space.pdf": (lambda: _paper_of(packed_zeros(64, b" "), "/Filter /FlateDecode"), drawn),
        "orders.pdf": (lambda: _paper_of(packed_zeros(4, b"q Q "), "/Filter /FlateDecode"), drawn),
        "twice.pdf": (lambda: _paper_of(zlib.compress(packed_zeros(256), 9), double), drawn),
        "picture.pdf": (lambda: _paper_with(8192), drawn),
        "large-picture.pdf": (lambda: _paper_with(30_000), drawn),
    }  # fmt: skip


def cases() -> list[Case]:
    """All of this room; each is made when it is asked for, since packing takes a while."""
    return [
        Case("zip_bomb", name, said, lambda _, m=make: m())
        for name, (make, said) in _made().items()
    ]
