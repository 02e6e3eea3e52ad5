"""Images of other colours and depths than eight bits of red, green and blue."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.hostile.case import OK, Case, expect
from tests.hostile.pictures import chunk, encoded, png
from tests.media import quarters


def inks() -> list[Case]:
    """CMYK and other colours than red, green and blue."""
    found = []
    for form in ("JPEG", "TIFF"):
        for ink in ((0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 9), (9, 9, 9, 255)):

            def make(_: Path, form: str = form, ink: tuple[int, ...] = ink) -> bytes:
                return encoded(Image.new("CMYK", (9, 7), ink), form)

            name = f"{'-'.join(map(str, ink))}.{form.lower()}"
            found.append(Case("cmyk", name, expect(OK), make))
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "progressive.jpeg": ("JPEG", {"progressive": True}), "worst.jpeg": ("JPEG", {"quality": 1}),
        "lzw.tiff": ("TIFF", {"compression": "tiff_lzw"}),
        "deflate.tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
        "bits.tiff": ("TIFF", {"compression": "packbits"}),
    }  # fmt: skip
    for name, (form, options) in ways.items():

        def packed(_: Path, form: str = form, options: dict[str, Any] = options) -> bytes:
            return encoded(Image.fromarray(quarters()).convert("CMYK"), form, **options)

        found.append(Case("cmyk", name, expect(OK), packed))
    for mode, form in (("LAB", "TIFF"), ("YCbCr", "JPEG"), ("YCbCr", "TIFF"), ("LA", "PNG")):

        def other(_: Path, mode: str = mode, form: str = form) -> bytes:
            return encoded(Image.new(mode, (9, 7)), form)

        found.append(Case("cmyk", f"{mode}.{form.lower()}", expect(OK), other))
    return found


def _deep_tiff(array: Any) -> bytes:
    return encoded(Image.fromarray(array), "TIFF")


def deep() -> list[Case]:
    """16 bits and more a channel, whole and with what is no number."""
    ramp = np.linspace(0, 65_535, 64 * 48).reshape(48, 64)
    floats = ramp.astype(np.float32) / 65_535
    holes = floats.copy()
    holes[::2, ::3] = np.nan
    endless = floats.copy()
    endless[0, 0], endless[0, 1] = np.inf, -np.inf
    nothing = np.full_like(floats, np.nan)
    arrays: dict[str, Any] = {
        "grey": ramp.astype(np.uint16),
        "black": np.zeros((48, 64), np.uint16),
        "white": np.full((48, 64), 65_535, np.uint16),
        "whole": (ramp * 30_000).astype(np.int32),
        "below": (ramp - 30_000).astype(np.int32),
        "floats": floats,
        "beyond": floats * 1e30,
    }
    found = [
        Case("deep", f"{name}.tif", expect(OK), lambda _, a=array: _deep_tiff(a))
        for name, array in arrays.items()
    ]
    for name, array in {"holes": holes, "endless": endless, "nothing": nothing}.items():
        found.append(Case("nan", f"{name}.tif", expect(OK), lambda _, a=array: _deep_tiff(a)))
    for colour, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        row = b"\0" + bytes(range(1, 9)) * channels * 2
        data = zlib.compress(row * 8)
        found.append(
            Case("deep", f"png{colour}.png", expect(OK),
                 lambda _, d=data, c=colour: png(8, 8, d, 16, c))
        )  # fmt: skip
    found.append(
        Case("deep", "grey.j2k", expect(OK),
             lambda _: encoded(Image.fromarray(ramp.astype(np.uint16)), "JPEG2000"))
    )  # fmt: skip
    return found


def sixteen() -> list[Case]:
    """16 bits a channel in other ways of writing them."""
    ramp = np.linspace(0, 65_535, 64 * 48).reshape(48, 64).astype(np.uint16)
    grey = Image.fromarray(ramp)
    clear = chunk(b"tRNS", b"\0\x09")
    rows = zlib.compress((b"\0" + bytes(range(16))) * 8)
    made = {
        "lzw.tif": lambda: encoded(grey, "TIFF", compression="tiff_lzw"),
        "big.tif": lambda: encoded(Image.frombytes("I;16B", (64, 48), ramp.tobytes()), "TIFF"),
        "colour.tif": lambda: _colour_tiff(8, 8),
        "ramp.png": lambda: encoded(grey, "PNG"),
        "clear.png": lambda: png(8, 8, rows, 16, 0).replace(
            chunk(b"IDAT", rows), clear + chunk(b"IDAT", rows)
        ),
    }
    return [Case("deep", name, expect(OK), lambda _, m=make: m()) for name, make in made.items()]


def _colour_tiff(width: int, height: int) -> bytes:
    """A TIFF by hand of three channels of 16 bits, which Pillow reads and does not write."""
    strip = bytes(range(256)) * (width * height * 6 // 256 + 1)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 180), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2), (273, 4, 1, 200), (277, 3, 1, 3), (278, 4, 1, height)]
    tags += [(279, 4, 1, width * height * 6)]
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    head = (b"II*\0" + struct.pack("<I", 8) + directory).ljust(180, b"\0")
    return (head + struct.pack("<HHH", 16, 16, 16)).ljust(200, b"\0") + strip


def cases() -> list[Case]:
    """All of this room."""
    return [*inks(), *deep(), *sixteen()]
