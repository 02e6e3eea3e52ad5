"""The hostile files are what they are called, by the word of others than the decoders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import av
from PIL import Image

from tests.hostile.corpus import corpus


def test_the_kinds_are_what_they_are_called(tmp_path: Path) -> None:
    """At least twelve of each as they are named, told by others than the decoders."""
    told: Counter[str] = Counter()
    for case in corpus("http://127.0.0.1:9", "/nowhere"):
        if case.kind not in ("one_pixel", "thin", "cmyk", "deep", "no_length", "no_frame"):
            continue
        path = case.put(tmp_path / "file")
        if case.kind in ("no_length", "no_frame"):
            if case.expected != {"wrong_kind"}:
                told[case.kind] += case.kind == "no_frame" or length_of(path) is None
            assert path.stat().st_size > 100
            continue
        with Image.open(path) as image:
            told["1x1"] += image.size == (1, 1)
            told["1x30000"] += sorted(image.size) == [1, 30_000]
            told["CMYK"] += case.kind == "cmyk" and image.mode == "CMYK"
            told["16 bits"] += case.kind == "deep" and depth_of(path.read_bytes()) == 16
    wanted = ("1x1", "1x30000", "CMYK", "16 bits", "no_length", "no_frame")
    assert {kind: told[kind] for kind in wanted if told[kind] < 12} == {}


def length_of(path: Path) -> int | None:
    """The length of a film in FFmpeg's ticks, if FFmpeg finds any."""
    with av.open(str(path)) as container:
        return container.duration


def depth_of(data: bytes) -> int:
    """Bits of a channel, by a picture's own header."""
    if data.startswith(b"\x89PNG"):
        return data[24]
    if b"jp2h" in data[:64]:
        return data[data.index(b"ihdr") + 14] + 1
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    at = int.from_bytes(data[4:8], order)
    for entry in range(at + 2, at + 2 + 12 * int.from_bytes(data[at : at + 2], order), 12):
        if int.from_bytes(data[entry : entry + 2], order) == 258:
            count = int.from_bytes(data[entry + 4 : entry + 8], order)
            place = entry + 8 if count == 1 else int.from_bytes(data[entry + 8 : entry + 12], order)
            return int.from_bytes(data[place : place + 2], order)
    return 1
