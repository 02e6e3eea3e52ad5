"""Scenes of simple things: what is in them, how they are described and located.

A scene is drawn from a seeded generator without rendering anything (`draw` does that),
so that its words can also train the tokenizer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "ring", "diamond")
COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray"
)  # fmt: skip
SIZES = ("small", "large")
#: Radius of a thing as a share of the square root of the picture's area, by size.
RADII = {"small": (0.055, 0.085), "large": (0.13, 0.19)}
TEXTURES = ("striped", "checkered", "dotted", "speckled")
#: Classes of things (color, shape, size) and of grounds, which follow them.
KINDS = len(COLORS) * len(SHAPES) * len(SIZES)
GROUNDS = len(COLORS) + len(TEXTURES) + 1
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
MAX_THINGS = 7
#: Shares of width and height: the axis of a relation is at least this much the longer one.
RELATION_MARGIN = 1.35


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape. Centre and radius in pixels of the scene, `turn` in degrees."""

    shape: str
    color: str
    size: str
    x: float
    y: float
    radius: float
    turn: float

    @property
    def label(self) -> str:
        """Color and shape, as a detector names it."""
        return f"{self.color} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture in words: `background` is a color, a texture (`ground` its color) or "photo"."""

    width: int
    height: int
    background: str
    ground: str
    things: tuple[Thing, ...]
    seed: int


def draw_scene(rng: random.Random, *, most: int = MAX_THINGS) -> Scene:
    """A scene of 1 to `most` things that neither touch nor share the ground's color."""
    width, height = draw_size(rng)
    kind = rng.random()
    ground = rng.choice(COLORS)
    if kind < 0.5:
        background = ground
    elif kind < 0.75:
        background = rng.choice(TEXTURES)
    else:
        background = "photo"
    # Few things most of the time: two of them make a relation.
    count = min(most, rng.choices((1, 2, 3, 4, 5, 6, 7), (20, 28, 18, 12, 9, 7, 6))[0])
    colors = [c for c in COLORS if background == "photo" or not alike(c, ground)]
    kinds = [
        (rng.choice(SHAPES), rng.choice(colors), rng.choice(SIZES))
        for _ in range(rng.randint(1, count) if count > 2 else count)
    ]
    things: list[Thing] = []
    for _ in range(count):
        shape, color, size = kinds[len(things)] if len(things) < len(kinds) else rng.choice(kinds)
        placed = place(rng, width, height, shape, color, size, things)
        if placed is not None:
            things.append(placed)
    return Scene(width, height, background, ground, tuple(things), rng.getrandbits(32))


def draw_size(rng: random.Random) -> tuple[int, int]:
    """Width and height in pixels: common aspect ratios, 224 to 1024 on the longer side."""
    longer = rng.randint(224, 1024)
    shorter = round(longer * rng.choice((1.0, 1.0, 0.75, 0.75, 0.667, 0.5625, 0.5)))
    return (longer, shorter) if rng.random() < 0.6 else (shorter, longer)


def place(
    rng: random.Random,
    width: int,
    height: int,
    shape: str,
    color: str,
    size: str,
    others: Sequence[Thing],
) -> Thing | None:
    """A thing that keeps clear of the edges and of `others`, or None if there is no room."""
    side = (width * height) ** 0.5
    for _ in range(30):
        radius = rng.uniform(*RADII[size]) * side
        if 2.1 * radius > min(width, height):
            continue
        x = rng.uniform(radius * 1.03, width - radius * 1.03)
        y = rng.uniform(radius * 1.03, height - radius * 1.03)
        if any(hypot(x - o.x, y - o.y) < 1.08 * (radius + o.radius) for o in others):
            continue
        if len(others) == 1 and not _clear_relation(x - others[0].x, y - others[0].y):
            continue
        turn = rng.uniform(-12, 12) if shape in ("square", "triangle", "star", "cross") else 0.0
        return Thing(shape, color, size, x, y, radius, turn)
    return None


def _clear_relation(dx: float, dy: float) -> bool:
    longer, shorter = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
    return longer > RELATION_MARGIN * shorter


def alike(color: str, ground: str) -> bool:
    """Whether a thing of `color` would be hard to make out on `ground`."""
    close = ({"white", "yellow"}, {"brown", "black"}, {"red", "orange"}, {"pink", "purple"},
             {"orange", "brown"}, {"gray", "white"}, {"orange", "yellow"}, {"red", "pink"},
             {"red", "brown"})  # fmt: skip
    return color == ground or {color, ground} in close


def caption(scene: Scene) -> str:
    """The one true caption: groups in a fixed order, the relation of a pair, the ground.

    Groups go by color, shape and size in the order of the lists above, so that one
    scene has one caption. "A small red circle above two large blue stars on a gray
    background." A relation is told only of exactly two things.
    """
    return _sentence(describe(scene.things) + " on " + ground(scene))


def ground(scene: Scene) -> str:
    """The background in words."""
    if scene.background == "photo":
        return "a photograph"
    article = "an" if scene.background == "orange" else "a"
    return f"{article} {scene.background} background"


def kind_of(thing: Thing) -> int:
    """The class of a thing, below KINDS."""
    color, shape, size = order(thing)
    return (color * len(SHAPES) + shape) * len(SIZES) + size


def kind_of_ground(scene: Scene) -> int:
    """The class of what things stand on, below GROUNDS."""
    return (*COLORS, *TEXTURES, "photo").index(scene.background)


def describe(things: Sequence[Thing]) -> str:
    """The things in words, without the background."""
    if len(things) == 2:
        first, second = sorted(things, key=order)
        if order(first) != order(second):
            return f"{_phrase(first, 1)} {relation(first, second)} {_phrase(second, 1)}"
    groups = Counter(order(thing) for thing in things)
    example = {order(thing): thing for thing in things}
    phrases = [_phrase(example[key], groups[key]) for key in sorted(groups)]
    if len(phrases) == 1:
        return phrases[0]
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]


def relation(first: Thing, second: Thing) -> str:
    """Where `first` lies, seen from `second`, along the longer axis between them."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dx) > abs(dy):
        return "to the left of" if dx < 0 else "to the right of"
    return "above" if dy < 0 else "below"


def order(thing: Thing) -> tuple[int, int, int]:
    return COLORS.index(thing.color), SHAPES.index(thing.shape), SIZES.index(thing.size)


def _phrase(thing: Thing, count: int) -> str:
    if count == 1:
        return f"a {thing.size} {thing.color} {thing.shape}"
    plural = "crosses" if thing.shape == "cross" else thing.shape + "s"
    return f"{COUNTS[count]} {thing.size} {thing.color} {plural}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
