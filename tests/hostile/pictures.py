"""Images: thin, huge in a few bytes, animated, and with EXIF that lies."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pillow_heif
from PIL import Image

from tests.hostile.case import OK, Case, expect, seeded
from tests.media import quarters

# Pillow writes HEIF only once it is told how.
pillow_heif.register_heif_opener()

FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "JPEG2000", "AVIF", "HEIF")


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The image as a file of a format, by Pillow."""
    sink = BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()


def sample(form: str, **options: Any) -> bytes:
    """A small picture of four colours."""
    return encoded(Image.fromarray(quarters()), form, **options)


def png(width: int, height: int, body: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG by hand: what its header says, whatever its data are."""
    head = struct.pack("!IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))


def _sized(kind: str, name: str, size: tuple[int, int], form: str, mode: str = "") -> Case:
    def make(_: Path) -> bytes:
        return encoded(Image.new(mode or ("L" if form == "GIF" else "RGB"), size, 77), form)

    shown = f"{name}-{mode.lower().replace(';', '')}" if mode else name
    return Case(kind, f"{shown}.{form.lower()}", expect(OK), make)


#: Kinds of pixels beside red, green and blue, and formats that hold them.
_MODES = (
    ("PNG", "1"), ("PNG", "P"), ("PNG", "RGBA"), ("PNG", "I;16"), ("JPEG", "L"), ("JPEG", "CMYK"),
    ("TIFF", "F"), ("TIFF", "CMYK"),
)  # fmt: skip


def sizes() -> list[Case]:
    """1x1 in every format, and thin ones of 30,000 pixels where the format can."""
    found = [_sized("one_pixel", "one", (1, 1), form) for form in FORMATS]
    found += [_sized("one_pixel", "one", (1, 1), *form) for form in _MODES]
    found += [_sized("one_pixel", f"{w}x{h}", (w, h), "PNG") for w, h in ((1, 2), (2, 1))]
    found += [_sized("one_pixel", f"{w}x{h}", (w, h), "JPEG") for w, h in ((1, 7), (9, 1))]
    for form in ("JPEG", "PNG", "GIF", "TIFF", "BMP"):
        found.append(_sized("thin", "tall", (1, 30_000), form))
        found.append(_sized("thin", "wide", (30_000, 1), form))
    found += [_sized("thin", "tall", (1, 30_000), *form) for form in _MODES]
    found.append(_sized("thin", "taller", (1, 65_500), "JPEG"))
    found.append(_sized("thin", "widest", (1_000_000, 1), "PNG"))
    found.append(_sized("thin", "strip", (2, 60_000), "TIFF"))
    return found


def _gif_of(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + sample("GIF")[10:]


def _bmp_of(width: int, height: int) -> bytes:
    data = bytearray(sample("BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def _jpeg_of(width: int, height: int) -> bytes:
    data = bytearray(sample("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack("!HH", height, width)
    return bytes(data)


def _tiff_of(width: int, height: int) -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 1), (273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 9)]
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(209, b"\0")


def _webp_of(width: int, height: int) -> bytes:
    head = struct.pack("<I", (width - 1) | (height - 1) << 14)
    body = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + head + bytes(5)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def pixel_bombs() -> list[Case]:
    """Headers of far more pixels than are allowed, and data that unpack without end."""
    large = expect("too_large")
    made = {
        "truth.png": png(40_000, 40_000, zlib.compress(bytes(1 << 20))),
        "most.png": png(2**31 - 1, 2**31 - 1, zlib.compress(b"")),
        "bits.png": png(100_000, 100_000, zlib.compress(b""), 1, 0),
        "deep.png": png(20_000, 20_000, zlib.compress(b""), 16, 6),
        "huge.jpg": _jpeg_of(65_500, 65_500),
        "wide.jpg": _jpeg_of(65_500, 4_000),
        "huge.gif": _gif_of(65_535, 65_535),
        "tall.gif": _gif_of(4_000, 65_535),
        "huge.bmp": _bmp_of(100_000, 100_000),
        "flipped.bmp": _bmp_of(100_000, -100_000),
        "huge.tif": _tiff_of(60_000, 60_000),
        "most.tif": _tiff_of(2**31 - 1, 2**31 - 1),
        "huge.webp": _webp_of(16_384, 16_384),
    }
    return [Case("pixel_bomb", name, large, lambda _, d=data: d) for name, data in made.items()]


def _frames(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (16, 12), (n * 40 % 255, 80, 200 - n % 200)) for n in range(count)]


def _animated(form: str, count: int, **options: Any) -> bytes:
    first, *rest = _frames(count)
    return encoded(first, form, save_all=True, append_images=rest, **options)


def animated() -> list[Case]:
    """Animations and files of many pictures: the first is taken."""
    made = {f"{form.lower()}-{n}.{form.lower()}": (form, n)
            for form in ("GIF", "PNG", "WEBP", "TIFF", "AVIF") for n in (2, 12)}  # fmt: skip
    found = [
        Case("animated", name, expect(OK), lambda _, f=form, n=count: _animated(f, n, duration=40))
        for name, (form, count) in made.items()
    ]
    whole = _animated("GIF", 12, duration=40)
    found.append(Case("animated", "instant.gif", expect(OK), lambda _: _animated("GIF", 3)))
    found.append(Case("animated", "many.gif", expect(OK), lambda _: _animated("GIF", 400)))
    # The frames behind the first are cut off: the first is there.
    cut = expect(OK, "corrupt")
    found.append(Case("animated", "cut.gif", cut, lambda _: whole[: len(whole) * 2 // 3]))
    found.append(Case("animated", "mpo.mpo", expect(OK), lambda _: _animated("MPO", 3)))
    return found


def _exif(*tags: tuple[int, int, int, bytes], order: bytes = b"MM", at: int = 8) -> bytes:
    """An EXIF block by hand: tag, type, count and the four bytes of its value."""
    way = ">" if order == b"MM" else "<"
    block = order + struct.pack(f"{way}HI", 42, at) + struct.pack(f"{way}H", len(tags))
    block += b"".join(struct.pack(f"{way}HHI", *tag[:3]) + tag[3] for tag in tags)
    return block + bytes(4)


def exifs() -> list[Case]:
    """EXIF that is wrong: the picture is whole without it."""
    short = (0x0112, 3, 1)
    blocks = {
        "zero": _exif((*short, b"\0\0\0\0")),
        "nine": _exif((*short, b"\0\x09\0\0")),
        "most": _exif((*short, b"\xff\xff\0\0")),
        "text": _exif((0x0112, 2, 4, b"six\0")),
        "ratio": _exif((0x0112, 5, 1, struct.pack(">I", 9_000))),
        "many": _exif((0x0112, 3, 2**32 - 1, struct.pack(">I", 8))),
        "float": _exif((0x0112, 11, 1, struct.pack(">f", float("nan")))),
        "no-type": _exif((0x0112, 99, 1, b"\0\6\0\0")),
        "loop": _exif((0x8769, 4, 1, struct.pack(">I", 8)), (*short, b"\0\6\0\0")),
        "beyond": _exif(at=2**31),
        "short": b"MM\0*",
        "nonsense": seeded_bytes("exif", 400),
        "twice": _exif((*short, b"\0\6\0\0"), (*short, b"\0\3\0\0")),
        "little": _exif((*short, b"\6\0\0\0"), order=b"II"),
    }
    found = []
    for name, block in blocks.items():

        def make(_: Path, block: bytes = block, form: str = "JPEG") -> bytes:
            return sample(form, exif=b"Exif\0\0" + block)

        found.append(Case("exif", f"{name}.jpg", expect(OK), make))
    for name in ("nonsense", "many"):

        def other(_: Path, block: bytes = blocks[name]) -> bytes:
            whole = sample("PNG")
            return whole[:33] + chunk(b"eXIf", block) + whole[33:]

        found.append(Case("exif", f"{name}.png", expect(OK), other))
    return found


def seeded_bytes(name: str, count: int) -> bytes:
    """Noise that is the same in every run."""
    return seeded(name).randbytes(count)


def cases() -> list[Case]:
    """All of this room."""
    return [
        *sizes(), *pixel_bombs(), *animated(), *exifs(),
    ]  # fmt: skip
