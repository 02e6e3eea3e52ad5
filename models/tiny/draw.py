"""Scenes to pixels: shapes stamped with soft edges on plain, textured or photographic grounds."""

from __future__ import annotations

import io
import math
import random
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from models.tiny.scenes import Scene, Thing

Pixels = tuple[float, float, float, float]
RGB = tuple[int, int, int]

PALETTE: dict[str, RGB] = {
    "red": (214, 36, 36),
    "orange": (246, 136, 20),
    "yellow": (246, 222, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 215),
    "purple": (128, 48, 168),
    "pink": (250, 152, 192),
    "brown": (120, 70, 36),
    "black": (20, 20, 20),
    "white": (246, 246, 246),
    "gray": (136, 136, 136),
}
#: Stamps are drawn this many times larger and reduced, for soft edges.
_OVERSAMPLE = 3
_JITTER = 14


def draw(scene: Scene, photos: Path | None = None) -> tuple[Image.Image, list[Pixels]]:
    """The picture, and each thing's box (x0, y0, x1, y1) in pixels, in the scene's order.

    `photos` is a folder of photographs for grounds; without one they are speckled.
    """
    rng = random.Random(scene.seed)  # noqa: S311
    image = _ground(scene, rng, photos)
    boxes = [stamp(image, thing, rng, outlined=scene.background == "photo")
             for thing in scene.things]  # fmt: skip
    return weather(image, rng), boxes


def stamp(image: Image.Image, thing: Thing, rng: random.Random, *, outlined: bool) -> Pixels:
    """Draw one thing and return its box; an outline inside its edge sets it off a photograph."""
    left, top = math.floor(thing.x - thing.radius) - 1, math.floor(thing.y - thing.radius) - 1
    side = math.ceil(2 * thing.radius) + 3
    centre = (thing.x - left, thing.y - top)
    mask = _mask(thing.shape, side, centre, thing.radius, thing.turn)
    color = jitter(PALETTE[thing.color], rng)
    if outlined:
        edge = (20, 20, 20) if sum(color) > 330 else (246, 246, 246)
        image.paste(edge, (left, top), mask)
        inner = _mask(thing.shape, side, centre, thing.radius * 0.88, thing.turn)
        image.paste(color, (left, top), inner)
    else:
        image.paste(color, (left, top), mask)
    x0, y0, x1, y1 = mask.point(lambda a: 255 * (a > 127)).getbbox() or (0, 0, side, side)
    width, height = image.size
    return (
        max(0, left + x0),
        max(0, top + y0),
        min(width, left + x1),
        min(height, top + y1),
    )


def jitter(color: RGB, rng: random.Random, by: int = _JITTER) -> RGB:
    """A color near `color`."""
    r, g, b = (min(255, max(0, part + rng.randint(-by, by))) for part in color)
    return r, g, b


def weather(image: Image.Image, rng: random.Random) -> Image.Image:
    """What happens to pictures on their way: blur, noise, light and JPEG, now and then."""
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.3:
        gain, lift = rng.uniform(0.88, 1.1), rng.uniform(-8, 8)
        image = image.point(lambda v: round(v * gain + lift))
    if rng.random() < 0.2:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(2, 9), (256, 256))
        pixels = np.asarray(image, np.float32)
        tiles = np.tile(noise, (-(-image.height // 256), -(-image.width // 256)))
        noisy = pixels + tiles[: image.height, : image.width, None]
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=rng.randint(55, 95))
        image = Image.open(data).convert("RGB")
    return image


def _mask(
    shape: str, side: int, centre: tuple[float, float], radius: float, turn: float
) -> Image.Image:
    scale = _OVERSAMPLE
    mask = Image.new("L", (side * scale, side * scale), 0)
    pen = ImageDraw.Draw(mask)
    x, y, r = centre[0] * scale, centre[1] * scale, radius * scale
    if shape in ("circle", "ring"):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
        if shape == "ring":
            hole = r * 0.56
            pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        pen.polygon(
            [
                (x + r * (u * cos - v * sin), y + r * (u * sin + v * cos))
                for u, v in _outline(shape)
            ],
            fill=255,
        )
    return mask.reduce(scale)


@lru_cache
def _outline(shape: str) -> tuple[tuple[float, float], ...]:
    """Corners within the unit circle, y pointing down."""
    if shape == "square":
        s = 0.8
        return ((-s, -s), (s, -s), (s, s), (-s, s))
    if shape == "triangle":
        return tuple(_at(90 + 120 * i + 180, 1.0) for i in range(3))
    if shape == "diamond":
        return ((0, -1), (0.62, 0), (0, 1), (-0.62, 0))
    if shape == "star":
        return tuple(_at(-90 + 36 * i, 1.0 if i % 2 == 0 else 0.42) for i in range(10))
    if shape == "cross":
        a, b = 0.92, 0.3
        return ((-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b),
                (-a, b), (-a, -b), (-b, -b))  # fmt: skip
    if shape == "heart":
        points = []
        for i in range(48):
            t = 2 * math.pi * i / 48
            x = 16 * math.sin(t) ** 3
            y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
            points.append((x / 18, (-y - 2.5) / 18))
        return tuple(points)
    raise ValueError(f"no shape {shape!r}")


def _at(degrees: float, radius: float) -> tuple[float, float]:
    return radius * math.cos(math.radians(degrees)), radius * math.sin(math.radians(degrees))


def _ground(scene: Scene, rng: random.Random, photos: Path | None) -> Image.Image:
    size = (scene.width, scene.height)
    base = jitter(PALETTE[scene.ground], rng)
    if scene.background == "photo" and photos is not None:
        return photograph(size, rng, photos)
    if scene.background in PALETTE:
        return Image.new("RGB", size, base)
    dark = sum(base) > 380
    second = tuple(v + rng.randint(34, 60) * (-1 if dark else 1) for v in base)
    share = _texture(scene.background, size, rng)[..., None]
    pixels = np.asarray(base) * (1 - share) + np.clip(second, 0, 255) * share
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _texture(kind: str, size: tuple[int, int], rng: random.Random) -> npt.NDArray[np.float32]:
    """How much of the second shade stands at each pixel, [height, width] in 0 to 1."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    period = rng.uniform(0.03, 0.07) * math.sqrt(width * height)
    if kind == "striped":
        angle = rng.choice((0, math.pi / 4, math.pi / 2, 3 * math.pi / 4))
        wave = (x * math.cos(angle) + y * math.sin(angle)) / period
        return np.asarray(wave % 1 < 0.5, np.float32)
    if kind == "checkered":
        return np.asarray((x // period + y // period) % 2, np.float32)
    if kind == "dotted":
        u, v = x % period - period / 2, y % period - period / 2
        return np.asarray(u * u + v * v < (0.28 * period) ** 2, np.float32)
    noise = np.random.default_rng(rng.getrandbits(32))
    grain = max(1, round(period / 8))
    cells = noise.random((-(-height // grain), -(-width // grain)), np.float32)
    return np.kron(cells, np.ones((grain, grain), np.float32))[:height, :width]


def photograph(size: tuple[int, int], rng: random.Random, photos: Path) -> Image.Image:
    """A piece of one of the photographs, at `size`, its contrast lowered a little."""
    source = _photo(rng.choice(sorted(photos.iterdir())))
    shrink = rng.uniform(0.5, 1.0)
    scale = min(source.width / size[0], source.height / size[1]) * shrink
    width, height = size[0] * scale, size[1] * scale
    x, y = rng.uniform(0, source.width - width), rng.uniform(0, source.height - height)
    piece = source.resize(size, Image.Resampling.BILINEAR, (x, y, x + width, y + height))
    if rng.random() < 0.5:
        piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    gain = rng.uniform(0.55, 0.95)
    return piece.point(lambda v: round(v * gain + 128 * (1 - gain)))


@lru_cache(maxsize=64)
def _photo(path: Path) -> Image.Image:
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((900, 900))
    return small
