"""Text to pixels: lines in several fonts, and signs with a city's name."""

from __future__ import annotations

import math
import random
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from models.tiny.draw import PALETTE, RGB, jitter, photograph, weather

#: A character's centre, x and y as shares of the picture, and which it is.
Spot = tuple[float, float, str]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_LIGHT: tuple[RGB, ...] = ((250, 250, 250), (246, 240, 220), (225, 235, 246), (255, 240, 150))
_DARK: tuple[RGB, ...] = ((15, 15, 15), (20, 30, 80), (90, 15, 15), (15, 70, 30))


def letter(
    text: str,
    size: tuple[int, int],
    rng: random.Random,
    fonts: Path | None = None,
    photos: Path | None = None,
) -> tuple[Image.Image, list[Spot]]:
    """The lines of `text` on a ground they stand out from, and where each character is.

    `size` is width and height. `fonts` is a folder of fonts; without one it is
    Pillow's own. The ground is now and
    then a photograph, with a plate under the text.
    """
    light = rng.random() < 0.65
    ground, ink = rng.choice(_LIGHT), rng.choice(_DARK)
    if not light:
        ground, ink = ink, ground
    name = _font(rng, fonts)
    font, box = _fit(text, size, name, rng)
    width, height = box[2] - box[0], box[3] - box[1]
    x = rng.uniform(0.02 * size[0], max(0.03 * size[0], 0.98 * size[0] - width))
    y = rng.uniform(0.02 * size[1], max(0.03 * size[1], 0.98 * size[1] - height))
    photo = photos is not None and rng.random() < 0.2
    if photo and photos is not None:
        image = photograph(size, rng, photos)
        pad = 0.3 * font.size if isinstance(font, ImageFont.FreeTypeFont) else 6
        ImageDraw.Draw(image).rectangle(
            (x - pad, y - pad, x + width + pad, y + height + pad), fill=jitter(ground, rng, 5)
        )
    else:
        image = Image.new("RGB", size, jitter(ground, rng, 5))
    pen = ImageDraw.Draw(image)
    centred = rng.random() < 0.33
    color, step = jitter(ink, rng, 8), height / (text.count("\n") + 1)
    spots: list[Spot] = []
    for number, line in enumerate(text.split("\n")):
        left = x + (width - font.getlength(line)) / 2 if centred else x
        pen.text((left, y + number * step - box[1]), line, color, font)
        spots += _spots(line, font, left, y + (number + 0.5) * step, size)
    if not photo and rng.random() < 0.25:
        fill = image.getpixel((0, 0))
        angle = rng.uniform(-2.5, 2.5)
        image = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=fill)
        spots = [_turned(spot, angle, size) for spot in spots]
    return weather(image, rng), spots


def _spots(line: str, font: Font, left: float, middle: float, size: tuple[int, int]) -> list[Spot]:
    """Where the characters of a line are that starts at `left`."""
    return [
        ((left + font.getlength(line[:i]) + 0.5 * font.getlength(mark)) / size[0],
         middle / size[1], mark)
        for i, mark in enumerate(line) if mark != " "
    ]  # fmt: skip


def _turned(spot: Spot, angle: float, size: tuple[int, int]) -> Spot:
    """Where a spot goes when the picture is turned by `angle` degrees against the clock."""
    x, y = (spot[0] - 0.5) * size[0], (spot[1] - 0.5) * size[1]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return (0.5 + (x * cos + y * sin) / size[0], 0.5 + (y * cos - x * sin) / size[1], spot[2])


def sign(
    city: str,
    size: tuple[int, int],
    rng: random.Random,
    fonts: Path | None = None,
    photos: Path | None = None,
) -> tuple[Image.Image, list[Spot]]:
    """A street sign with a city's name, as a plate on a plain ground or a photograph."""
    ground = PALETTE[rng.choice(("white", "gray", "green", "brown"))]
    image = photograph(size, rng, photos) if photos is not None and rng.random() < 0.5 else (
        Image.new("RGB", size, jitter(ground, rng)))  # fmt: skip
    font, box = _fit(city, (round(size[0] * 0.8), size[1]), _font(rng, fonts), rng)
    width, height = box[2] - box[0], box[3] - box[1]
    pad = 0.35 * height + 6
    x = rng.uniform(pad, max(pad + 1, size[0] - width - pad))
    y = rng.uniform(pad, max(pad + 1, size[1] - height - pad))
    plate, ink = rng.choice(
        (((30, 70, 180), (250, 250, 250)), ((250, 210, 30), (15, 15, 15)),
         ((20, 120, 60), (250, 250, 250)), ((250, 250, 250), (15, 15, 15)))
    )  # fmt: skip
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle(
        (x - pad, y - pad, x + width + pad, y + height + pad), pad / 2, plate, ink, 3
    )
    pen.text((x - box[0], y - box[1]), city, ink, font)
    return weather(image, rng), _spots(city, font, x - box[0], y + height / 2, size)


def _fit(
    text: str, size: tuple[int, int], name: str | None, rng: random.Random
) -> tuple[Font, tuple[float, float, float, float]]:
    """A font of a size at which the text takes up a fair part of the picture, and its box."""
    probe = ImageDraw.Draw(Image.new("L", (1, 1)))
    width, height = size
    lines = text.count("\n") + 1
    points = rng.uniform(0.055, 0.16) * (width * height) ** 0.5
    points = min(points, 0.85 * height / (1.4 * lines))
    font = _load(name, round(points))
    box = probe.multiline_textbbox((0, 0), text, font)
    wide = (box[2] - box[0]) / (0.94 * width)
    if wide > 1:
        font = _load(name, max(8, int(points / wide)))
        box = probe.multiline_textbbox((0, 0), text, font)
    return font, box


def _font(rng: random.Random, fonts: Path | None) -> str | None:
    if fonts is None:
        return None
    return str(rng.choice(sorted(fonts.iterdir())))


@lru_cache(maxsize=512)
def _load(name: str | None, points: int) -> Font:
    if name is None:
        return ImageFont.load_default(points)
    return ImageFont.truetype(name, points)
