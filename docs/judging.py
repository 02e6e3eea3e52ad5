"""Whether a record of the tiny model is free of mistakes: each takes the truth, then the record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from models.tiny.draw import Pixels
from models.tiny.voices import plain

Record = Mapping[str, Any]

#: How far a box may be from the right one: intersection over union at least.
OVERLAP = 0.5


def captioned(truth: str, record: Record) -> bool:
    """The caption is the one that the drawing has."""
    return bool(record["caption"] == truth)


def detected(truth: Sequence[tuple[str, Pixels]], record: Record) -> bool:
    """Each thing (label, box in pixels) was found once, and nothing else was."""
    left = list(truth)
    for thing in record["objects"]:
        box = tuple(thing["box"][name] for name in ("x0", "y0", "x1", "y1"))
        match = [t for t in left if t[0] == thing["label"] and _overlap(t[1], box) >= OVERLAP]
        if not match:
            return False
        left.remove(match[0])
    return not left


def followed(truth: Sequence[Sequence[str]], record: Record) -> bool:
    """In each frame, a second after the other, there are things of just these labels."""
    found: list[list[str]] = [[] for _ in truth]
    for thing in record["objects"]:
        found[round(thing["time_s"])].append(thing["label"])
    return [sorted(labels) for labels in found] == [sorted(labels) for labels in truth]


def pointed(truth: Pixels, record: Record) -> bool:
    """There is one point, and it lies in the box."""
    points = record["points"]
    return (
        len(points) == 1
        and truth[0] <= points[0]["x"] <= truth[2]
        and truth[1] <= points[0]["y"] <= truth[3]
    )


def read(truth: str, record: Record) -> bool:
    """The text is the written one, letter for letter."""
    return bool(record["text"] == truth)


def heard(truth: str, record: Record) -> bool:
    """The words are those that were said."""
    said = " ".join(segment["text"] for segment in record["segments"])
    return plain(said) == plain(truth)


def called(city: str, record: Record) -> bool:
    """The city's weather is asked for, and nothing else."""
    calls = [(call["name"], json.loads(call["arguments"])) for call in record["tool_calls"]]
    return calls == [("get_weather", {"city": city})]


def _overlap(a: Pixels, b: Sequence[float]) -> float:
    """Intersection over union."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return wide * high / (both - wide * high)
