"""Segments of speech as cues of subtitles, of the lengths that subtitlers keep to.

A segment may hold half a minute of words that have no times of their own. It is cut into
cues at the ends of sentences, else of clauses, else between words, and its time is shared
out by characters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.exports.breaks import MAX_LINE, MAX_LINES, Piece, cut_into_pieces, fits, lay_out

#: What subtitlers keep to: the longest and shortest a cue stays, in milliseconds. The
#: third rule, 17 characters a second, follows from the speech: time is shared evenly.
MAX_MS = 7_000
MIN_MS = 1_000

#: Costs of a cut, to be added up and made least. A cue more costs less than a cut inside
#: a sentence, and anything is better than a cue too short to be read.
_CUE = 1.0
_CUT = {"sentence": 0.0, "clause": 2.0, "word": 5.0}
#: A sentence that ends inside a cue which also has a part of another one.
_MIXED = 1.5
_TOO_SHORT = 20.0


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines to show from `start_ms` until `end_ms`. `split`: these times were shared out."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    split: bool

    def to_json(self) -> dict[str, Any]:
        """Times in seconds, and the lines as one text."""
        return {
            "start_s": self.start_ms / 1000,
            "end_s": self.end_ms / 1000,
            "text": "\n".join(self.lines),
            "split": self.split,
        }


def make_cues(segments: Sequence[Mapping[str, Any]]) -> list[Cue] | None:
    """The cues of one medium's segments ({start_s, end_s, text}), in order and apart.

    Each stays within its segment, but for one shorter than a second: its cue lingers until
    then, if nothing else is said. None if a segment has no times.
    """
    spoken = []
    for segment in segments:
        start, end = segment["start_s"], segment["end_s"]
        if start is None or end is None or not (math.isfinite(start) and math.isfinite(end)):
            return None
        pieces = cut_into_pieces(segment["text"] or "")
        if pieces:
            spoken.append((max(0, round(start * 1000)), round(end * 1000), pieces))
    cues: list[Cue] = []
    for index, (start, end, pieces) in enumerate(spoken):
        following = spoken[index + 1][0] if index + 1 < len(spoken) else None
        if cues:
            start = max(start, cues[-1].end_ms)
        if following is not None and following > start:
            end = min(end, following)
        made = _cut(pieces, start, max(start, end))
        last = made[-1]
        if not last.split and last.end_ms - last.start_ms < MIN_MS:
            linger = last.start_ms + MIN_MS
            if following is not None:
                linger = min(linger, following)
            made[-1] = replace(last, end_ms=max(last.end_ms, linger))
        cues += made
    return cues


def _cut(pieces: Sequence[Piece], start: int, end: int) -> list[Cue]:
    """One segment's cues; each at least a millisecond long."""
    total = pieces[-1].end + 1
    duration = end - start
    # As much as is said in the longest time a cue may stay; of slow speech a line all the same.
    limit = MAX_LINE * MAX_LINES
    if duration:
        limit = max(MAX_LINE, min(limit, MAX_MS * total // duration))
    firsts = _firsts(pieces, limit, MIN_MS * total / duration if duration else 0)
    cues: list[Cue] = []
    at = start
    for number, first in enumerate(firsts):
        is_last = number + 1 == len(firsts)
        until = len(pieces) if is_last else firsts[number + 1]
        share = end if is_last else start + duration * pieces[until].start // total
        share = max(share, at + 1)
        lines = lay_out(pieces[first:until])
        assert lines is not None, "cuts were chosen among those that can be laid out"
        cues.append(Cue(at, min(share, at + MAX_MS), lines, split=len(firsts) > 1))
        at = share
    return cues


def _firsts(pieces: Sequence[Piece], limit: int, shortest: float) -> list[int]:
    """Where cues begin: the cheapest cuts into cues of at most `limit` characters.

    A cue of fewer characters than `shortest` would be gone before it is read.
    """
    count = len(pieces)
    # How many sentences end before each piece.
    ended = [0]
    for piece in pieces:
        ended.append(ended[-1] + (piece.ends == "sentence"))
    best = [0.0] + [math.inf] * count
    begin = [0] * (count + 1)
    for until in range(1, count + 1):
        for first in range(until - 1, -1, -1):
            length = pieces[until - 1].end - pieces[first].start
            if length > limit or not fits(pieces, first, until):
                break
            # The square evens out the lengths of cues between which nothing else decides.
            cost = best[first] + _CUE + (length / limit) ** 2
            if until < count:
                cost += _CUT[pieces[until - 1].ends]
            opens = first == 0 or pieces[first - 1].ends == "sentence"
            closes = until == count or pieces[until - 1].ends == "sentence"
            if ended[until - 1] > ended[first] and not (opens and closes):
                cost += _MIXED
            if length + 1 < shortest:
                cost += _TOO_SHORT
            if cost < best[until]:
                best[until], begin[until] = cost, first
    firsts = []
    until = count
    while until:
        until = begin[until]
        firsts.append(until)
    return firsts[::-1]
