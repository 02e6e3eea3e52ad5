"""Boxes as Gemma 4 writes them: read from any text, and put into pixels of the original."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobs.tasks.loose_json import read_loose

#: The model's grid: coordinates run from 0 to this on both axes, whatever the resize.
GRID = 1000
#: How far outside the grid a coordinate may lie and still be an edge overshot; beyond it
#: the numbers mean something else (pixels, say), and clipping them would invent a box.
OVERSHOOT = 50

_KEYS = ("box_2d", "box", "bbox", "bbox_2d", "bounding_box")
_LABELS = ("label", "name")
_NUMBER_TEXT = re.compile(r"\s*[-+]?[0-9]+(?:\.[0-9]*)?\s*")
#: How a short answer says that nothing is there; a long one is a description.
_NOTHING = re.compile(
    r"\b(?:there (?:is|are|was|were) (?:no|not|none|nothing)|none|nothing)\b"
    r"|\bno\b.{0,60}\b(?:found|detected|visible|present|objects?)\b"
    r"|(?:\b(?:not|cannot|unable to)|n't)\b.{0,40}\b(?:see|find|detect|visible|present|contain)",
    re.IGNORECASE | re.DOTALL,
)
_NOTHING_LENGTH = 200
#: An answer that was cut within its first object is still a list if it begins like one.
_OPENING = re.compile(r"\s*(?:```\w*\s*)?[\[{]")


@dataclass(frozen=True, slots=True)
class Box:
    """One labelled box on the model's grid; y0 < y1 and x0 < x1, in 0..1000."""

    label: str
    y0: int
    x0: int
    y1: int
    x1: int

    def pixels(self, width: int, height: int) -> dict[str, float]:
        """Corners in pixels of an image of this size."""
        return {
            "x0": self.x0 * width / GRID,
            "y0": self.y0 * height / GRID,
            "x1": self.x1 * width / GRID,
            "y1": self.y1 * height / GRID,
        }


@dataclass(frozen=True, slots=True)
class Boxes:
    """What an answer says: whole boxes, and how many were `malformed` or `clipped`.

    `cut`: the answer ended inside its list.
    """

    found: tuple[Box, ...] = ()
    malformed: int = 0
    clipped: int = 0
    cut: bool = False


def read_boxes(text: str) -> Boxes | None:
    """The boxes of an answer; None if it neither lists any nor says that there are none.

    Never raises. A box without a label, with other than four finite numbers, far off
    the grid or without area is counted as malformed.
    """
    loose = read_loose(text)
    found: list[Box] = []
    malformed = clipped = 0
    understood = loose.cut and bool(_OPENING.match(text))
    for item in _items(loose.values):
        if item is None:
            understood = True
            continue
        understood = understood or isinstance(item, dict)
        if (box := _box(item)) is None:
            malformed += 1
            continue
        found.append(box[0])
        clipped += box[1]
    if not understood and (loose.values or not _says_nothing(text)):
        return None
    return Boxes(tuple(found), malformed, clipped, loose.cut)


def _says_nothing(text: str) -> bool:
    return len(text) <= _NOTHING_LENGTH and bool(_NOTHING.search(text))


def _items(values: Any) -> Iterator[Any]:
    """Everything that stands where an object should; None for a list that holds nothing."""
    for value in values:
        if isinstance(value, dict):
            inner = [member for member in value.values() if isinstance(member, list | dict)]
            if any(key in value for key in (*_KEYS, *_LABELS)) or not inner:
                yield value
            else:
                yield from _items(inner)
        elif not isinstance(value, list):
            yield value
        elif not value:
            yield None
        elif any(isinstance(member, list | dict) for member in value):
            yield from _items(value)
        else:
            yield value


def _box(item: Any) -> tuple[Box, bool] | None:
    """The box that an item describes and whether it was clipped; None if it is none."""
    if not isinstance(item, dict):
        return None
    label = next((item[key] for key in _LABELS if key in item), None)
    corners = _corners(next((item[key] for key in _KEYS if key in item), None))
    if not isinstance(label, str) or not label.strip() or corners is None:
        return None
    y0, x0, y1, x1 = (round(min(max(value, 0.0), GRID)) for value in corners)
    if y0 == y1 or x0 == x1:
        return None
    outside = any(not 0 <= value <= GRID for value in corners)
    box = Box(" ".join(label.split()), min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1))
    return box, outside


def _corners(value: Any) -> list[float] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    numbers = []
    for part in value:
        if isinstance(part, str) and _NUMBER_TEXT.fullmatch(part):
            part = float(part)
        if isinstance(part, bool) or not isinstance(part, int | float):
            return None
        if not math.isfinite(part) or not -OVERSHOOT <= part <= GRID + OVERSHOOT:
            return None
        numbers.append(float(part))
    return numbers
