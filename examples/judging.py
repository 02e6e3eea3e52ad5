"""Answers held against what is really there: captions, words, and boxes at an IoU of 0.5."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.tiny.voices import plain

#: A box is right if it overlaps the true one by this much: intersection over union.
OVERLAP = 0.5
#: Seconds between a frame's own time and the time that is told of it, at most.
SAME_FRAME_S = 0.1

Record = Mapping[str, Any]
Thing = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of `asked` captions, words or things, `wrong` were not given; `really`: what is there.

    `really` is empty if the answer is free of mistakes. It may have some though nothing is
    missing: a box of something that is not there.
    """

    asked: int
    wrong: int
    really: str


def judge(record: Record) -> Verdict:
    """The record of one of the demo's rows held against its truth; an error answers nothing."""
    if record["task"] == "caption":
        truth = record["truth_caption"]
        right = record["text"] == truth
        return Verdict(1, int(not right), "" if right else truth)
    if record["task"] == "transcribe":
        said, heard = (plain(record[name] or "").split() for name in ("truth_words", "text"))
        return _words(said, heard)
    missed, stray = match(record["objects"] or [], truth_boxes(record))
    parts = [("missed", missed), ("not there", stray)]
    told = [f"{name}: {', '.join(_named(t) for t in things)}" for name, things in parts if things]
    return Verdict(len(truth_boxes(record)), len(missed), "; ".join(told))


def truth_boxes(record: Record) -> list[Thing]:
    """What is in the medium: label, box (x0, y0, x1, y1) in pixels, seconds or None."""
    things: list[Thing] = json.loads(record["truth_boxes"])
    return things


def match(found: Sequence[Thing], truth: Sequence[Thing]) -> tuple[list[Thing], list[Thing]]:
    """Which things were not found, and which of those found are not there."""
    missed, stray = list(truth), []
    for thing in found:
        same = [t for t in missed if _same(thing, t)]
        if same:
            missed.remove(same[0])
        else:
            stray.append(thing)
    return missed, stray


def _same(found: Thing, truth: Thing) -> bool:
    if found["label"] != truth["label"]:
        return False
    if truth["time_s"] is not None and abs(found["time_s"] - truth["time_s"]) > SAME_FRAME_S:
        return False
    box = [found["box"][name] for name in ("x0", "y0", "x1", "y1")]
    return overlap(box, truth["box"]) >= OVERLAP


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return wide * high / (both - wide * high) if wide * high else 0.0


def _named(thing: Thing) -> str:
    return thing["label"] if thing["time_s"] is None else f"{thing['label']} at {thing['time_s']} s"


def _words(said: list[str], heard: list[str]) -> Verdict:
    told = []
    for word, instead in align(said, heard):
        if not instead:
            told.append(f"“{word}” as well")
        elif not word:
            told.append(f"no “{instead}”")
        elif word != instead:
            told.append(f"“{word}”, not “{instead}”")
    really = f"{len(told)} of {len(said)} words differ: {', '.join(told)}" if told else ""
    return Verdict(len(said), len(told), really)


def align(said: Sequence[str], heard: Sequence[str]) -> list[tuple[str, str]]:
    """Words that were said beside those heard, with the fewest that differ; "" where none is."""
    # cost[i][j]: what differs between the first i that were said and the first j heard.
    cost = [[i + j if not i or not j else 0 for j in range(len(heard) + 1)]
            for i in range(len(said) + 1)]  # fmt: skip
    for i, word in enumerate(said, 1):
        for j, instead in enumerate(heard, 1):
            swapped = cost[i - 1][j - 1] + (word != instead)
            cost[i][j] = min(swapped, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    pairs: list[tuple[str, str]] = []
    i, j = len(said), len(heard)
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (said[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((said[i], heard[j]))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            pairs.append((said[i], ""))
        else:
            j -= 1
            pairs.append(("", heard[j]))
    return pairs[::-1]
