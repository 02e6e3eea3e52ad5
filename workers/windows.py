"""How long video is cut into windows: equal in time, or where its scenes end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from math import ceil, inf
from typing import Protocol

from jobs.pieces import MAX_AUDIO_S, MAX_FRAMES, Reading
from workers.film import SAME_S

#: Seconds by which a stream may outlive what was announced and still be in its last window.
_MORE_S = 0.5
#: Fewer frames than this in a window, and it need not begin with one of them.
_FRAMES = 4
#: A scene of fewer seconds than this joins the next one, and the last one the one before.
SHORTEST_S = 1.0
#: How far ahead a scene's end is sought, in windows. One that is longer is cut into whole
#: windows until its end is in sight.
_AHEAD = 4

Window = tuple[float, float]


class Cuts(Protocol):
    """Where scenes end, for moments asked for in order."""

    def skip(self, to_s: float) -> None:
        """Nothing before this moment will be asked for."""
        ...

    def between(self, from_s: float, until_s: float) -> float | None:
        """The first cut from one moment to another, if there is one."""
        ...

    def end_s(self, by_s: float) -> float | None:
        """Where the pictures end; None if that is after `by_s`."""
        ...


def longest_s(reading: Reading) -> float:
    """The length of a window that fills a request."""
    return min(reading.window_s, MAX_AUDIO_S, MAX_FRAMES / reading.fps)


def of_time(
    begin_s: float, length: float, end_s: float, fps: float, limit: float
) -> Iterator[Window]:
    """Windows from `begin_s` on, equal as far as the medium's length is known (0: it is not).

    Equal, since 31 s are better seen as twice 15.5 s than as 30 s and a scrap. They go on
    after the length, to `end_s` or without end: it is for the caller to see where all ends.
    """
    if not length and end_s < inf:
        length = end_s
    edges = _edges(begin_s, max(min(length, end_s), begin_s), fps, limit)
    yield from pairwise(edges)
    start_s = edges[-1]
    until_s = start_s + limit
    if length > 0:  # a stream may outlive what it announced by a little
        until_s = min(until_s, length + _MORE_S)
    yield from _on(start_s, until_s, end_s, limit)


def of_scenes(cuts: Cuts, gaps: Sequence[Window], fps: float, limit: float) -> Iterator[Window]:
    """Windows that end where scenes do, over each of `gaps`, of which the last may be endless.

    A scene longer than `limit` is cut evenly. Where the pictures have ended, windows go on
    to the gap's end: it is for the caller to see where all ends.
    """
    for start_s, end_s in gaps:
        cuts.skip(start_s)
        while start_s + SAME_S < end_s:
            sight_s = start_s + _AHEAD * limit
            cut_s = cuts.between(start_s + SHORTEST_S, min(sight_s, end_s - SHORTEST_S))
            pictures_s = cuts.end_s((sight_s if cut_s is None else cut_s) + SHORTEST_S)
            last_s = end_s if pictures_s is None else min(pictures_s, end_s)
            if last_s <= start_s + SAME_S:  # nothing but sound is left
                yield from _on(start_s, start_s + limit, end_s, limit)
                break
            if cut_s is None and last_s > sight_s:
                yield start_s, start_s + limit
                start_s += limit
                continue
            scene_s = last_s if cut_s is None or last_s - cut_s < SHORTEST_S else cut_s
            *edges, last = _edges(start_s, scene_s, fps, limit)
            yield from pairwise([*edges, last])
            if scene_s == pictures_s:  # sound may outlive them by a little
                scene_s = min(scene_s + _MORE_S, last + limit, end_s)
            yield last, scene_s
            start_s = scene_s


def gaps(begin_s: float, end_s: float, kept: Sequence[Window]) -> list[Window]:
    """What lies between two moments outside all of `kept`, in order."""
    found = []
    for start_s, until_s in sorted([*kept, (end_s, end_s)]):
        if begin_s + SAME_S < min(start_s, end_s):
            found.append((begin_s, min(start_s, end_s)))
        begin_s = max(begin_s, until_s)
    return found


def without(windows: Iterator[Window], kept: Sequence[Window]) -> Iterator[Window]:
    """The windows, or what is left of each outside all of `kept`."""
    for start_s, end_s in windows:
        yield from gaps(start_s, end_s, kept)


def _on(start_s: float, until_s: float, end_s: float, limit: float) -> Iterator[Window]:
    while start_s + SAME_S < end_s:
        yield start_s, min(until_s, end_s)
        start_s, until_s = until_s, until_s + limit


def _edges(begin_s: float, end_s: float, fps: float, limit: float) -> list[float]:
    """Where windows begin between two moments: at frames, and at most `limit` apart."""
    grid = fps if fps * limit > _FRAMES else 1 / SAME_S
    length = end_s - begin_s
    for number in count(max(ceil(length / limit - SAME_S), 1)):
        inner = [begin_s + length * edge / number for edge in range(1, number)]
        edges = [begin_s, *(round(edge * grid) / grid for edge in inner)]
        if all(after - before <= limit for before, after in pairwise([*edges, end_s])):
            return edges
    raise AssertionError("more windows are always shorter")
