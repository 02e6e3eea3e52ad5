"""A sound as a picture: its waveform, the segments marked, and their words below."""

from __future__ import annotations

import textwrap
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, _HIGH, _LINE, _MARGIN = 760, 110, 17, 10
_WAVE, _QUIET, _INK = (40, 80, 215), (170, 178, 196), (40, 40, 40)
_SHADES = ((228, 236, 252), (252, 236, 224))
#: Pixels of a letter of the small font, about.
_LETTER = 6.6

Segment = Mapping[str, Any]


def waveform(file: Path, segments: Sequence[Segment]) -> Image.Image:
    """The sound of a WAV file of 16 bits over its whole length, with a line of seconds."""
    with wave.open(str(file)) as opened:
        seconds = opened.getnframes() / opened.getframerate()
        samples = np.frombuffer(opened.readframes(opened.getnframes()), np.int16)
    font = ImageFont.load_default(13)
    scale = (WIDTH - 2 * _MARGIN) / seconds
    words = [_wrapped(segment, scale) for segment in segments]
    below = max((len(lines) for lines in words), default=0)
    image = Image.new("RGB", (WIDTH, _HIGH + 26 + _LINE * below + (6 if below else 0)), "white")
    pen = ImageDraw.Draw(image)
    for number, (segment, lines) in enumerate(zip(segments, words, strict=True)):
        left, right = (_MARGIN + segment[name] * scale for name in ("start_s", "end_s"))
        pen.rectangle((left, 0, right, image.height), fill=_SHADES[number % 2])
        for line, text in enumerate(lines):
            pen.text((left + 4, _HIGH + 26 + line * _LINE), text, _INK, font)
    _peaks(pen, samples, segments, seconds)
    _seconds(pen, seconds, scale, font)
    return image


def _peaks(
    pen: ImageDraw.ImageDraw, samples: np.ndarray[Any, Any], segments: Sequence[Segment], end: float
) -> None:
    wide, middle = WIDTH - 2 * _MARGIN, _HIGH / 2
    loudest = max(1, int(np.abs(samples.astype(np.int32)).max()))
    for x, part in enumerate(np.array_split(samples.astype(np.int32), wide)):
        high = 0.94 * middle * float(np.abs(part).max()) / loudest
        at_s = end * x / wide
        inside = any(s["start_s"] <= at_s <= s["end_s"] for s in segments)
        color = _WAVE if inside or not segments else _QUIET
        pen.line((_MARGIN + x, middle - high, _MARGIN + x, middle + high), color)


def _seconds(
    pen: ImageDraw.ImageDraw,
    end: float,
    scale: float,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    step = next(step for step in (1, 2, 5, 10, 30, 60, 600) if scale * step >= 50)
    for at_s in range(0, int(end) + 1, step):
        x = _MARGIN + at_s * scale
        pen.line((x, _HIGH, x, _HIGH + 4), _INK)
        # Whole within the picture, also at its end.
        if x < WIDTH - 2 * _MARGIN:
            pen.text((x + 2, _HIGH + 5), f"{at_s} s", (110, 110, 110), font)


def _wrapped(segment: Segment, scale: float) -> list[str]:
    """The words of a segment, and of its translation, in lines as wide as the segment."""
    wide = max(12, int((segment["end_s"] - segment["start_s"]) * scale / _LETTER) - 1)
    lines: list[str] = []
    for name in ("text", "translation"):
        if segment.get(name):
            lines += textwrap.wrap(str(segment[name]), wide)
    return lines
