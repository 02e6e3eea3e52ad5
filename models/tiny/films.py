"""Films of one or two things that move, grow, shrink or change color."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.tiny import scenes
from models.tiny.draw import Pixels, draw
from models.tiny.scenes import COLORS, Scene, Thing

#: What can happen, as it is told; `{}` is the color turned into.
DEEDS = ("moves to the right", "moves to the left", "moves up", "moves down", "grows", "shrinks",
         "turns {}", "stays")  # fmt: skip
MOST_FRAMES = 8
#: Soft tokens a frame, as Gemma 4's processor gives a video's.
BUDGET = 70


@dataclass(frozen=True, slots=True)
class Film:
    """Frames at one a second: the first scene, and the last, with everything between."""

    first: Scene
    last: Scene
    deeds: tuple[str, ...]
    frames: int


def draw_film(rng: random.Random) -> Film:
    """A film of 3 to 8 frames on a plain ground."""
    width, height = rng.choice(((320, 240), (256, 256), (384, 216), (240, 320)))
    ground = rng.choice(COLORS)
    colors = [c for c in COLORS if not scenes.alike(c, ground)]
    side = (width * height) ** 0.5
    things: list[tuple[Thing, Thing, str]] = []
    kinds = rng.sample([(c, s) for c in colors for s in scenes.SHAPES], rng.choice((1, 1, 2)))
    for i, (color, shape) in enumerate(kinds):
        # Two things keep to their own halves of the picture's height.
        low, high = (0.0, 1.0) if len(kinds) == 1 else (i / 2, (i + 1) / 2)
        things.append(_deed(rng, color, shape, colors, (width, height), (low, high), side))
    things.sort(key=lambda entry: scenes.order(entry[0]))
    seed = rng.getrandbits(32)
    first = Scene(width, height, ground, ground, tuple(t[0] for t in things), seed)
    last = replace(first, things=tuple(t[1] for t in things))
    return Film(first, last, tuple(t[2] for t in things), rng.randint(3, MOST_FRAMES))


def _deed(
    rng: random.Random,
    color: str,
    shape: str,
    colors: list[str],
    size: tuple[int, int],
    band: tuple[float, float],
    side: float,
) -> tuple[Thing, Thing, str]:
    width, height = size
    top, bottom = band[0] * height, band[1] * height
    deed = rng.choice(DEEDS)
    small = rng.uniform(0.07, 0.1) * side
    large = min(rng.uniform(0.17, 0.22) * side, 0.46 * (bottom - top))
    radius = small if deed.startswith("moves") else rng.uniform(0.1, 0.16) * side
    edge = 1.05 * (large if deed in ("grows", "shrinks") else radius)
    x, y = rng.uniform(edge, width - edge), rng.uniform(top + edge, bottom - edge)
    start = end = Thing(shape, color, "small", x, y, radius, 0.0)
    if deed in ("moves to the right", "moves to the left"):
        left, right = rng.uniform(edge, 0.3 * width), rng.uniform(0.7 * width, width - edge)
        start, end = replace(start, x=left), replace(start, x=right)
    elif deed in ("moves up", "moves down"):
        span = bottom - top
        above = rng.uniform(top + edge, max(top + edge, top + 0.27 * span))
        below = rng.uniform(min(bottom - edge, top + 0.73 * span), bottom - edge)
        start, end = replace(start, y=above), replace(start, y=below)
    elif deed in ("grows", "shrinks"):
        start, end = replace(start, radius=small), replace(start, radius=large)
    elif deed == "turns {}":
        into = rng.choice([c for c in colors if c != color and not scenes.alike(c, color)])
        end, deed = replace(start, color=into), deed.format(into)
    if deed in ("moves to the left", "moves up", "shrinks"):
        start, end = end, start
    return start, end, deed


def caption(film: Film) -> str:
    """What happens, in the scene's order: "A red circle moves up on a white background."."""
    parts = [
        f"a {thing.label} {deed}" if thing.color != "orange" else f"an {thing.label} {deed}"
        for thing, deed in zip(film.first.things, film.deeds, strict=True)
    ]
    text = " and ".join(parts) + " on " + scenes.ground(film.first)
    return text[0].upper() + text[1:] + "."


def frames(film: Film) -> npt.NDArray[np.uint8]:
    """uint8 [frames, height, width, 3], one a second."""
    out = []
    for i in range(film.frames):
        share = i / (film.frames - 1)
        things = tuple(
            replace(
                a,
                x=a.x + share * (b.x - a.x),
                y=a.y + share * (b.y - a.y),
                radius=a.radius + share * (b.radius - a.radius),
                color=a.color if share < 0.5 else b.color,
            )
            for a, b in zip(film.first.things, film.last.things, strict=True)
        )
        # One seed for all frames: light and noise stay as they are.
        out.append(np.asarray(draw(replace(film.first, things=things))[0]))
    return np.stack(out)


__all__ = ["Film", "Pixels", "caption", "draw_film", "frames"]
