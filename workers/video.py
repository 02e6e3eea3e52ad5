"""Video to windows of sampled frames with their sound, or to single frames.

A sample is the frame that is on the screen at its moment, by timestamps, so variable
frame rates come out right. Frames are numbered on the grid of the source's mean rate:
at a constant rate that is the frame's number, and number / fps is always its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, takewhile
from math import inf
from typing import Any

import numpy as np

from jobs.pieces import (
    FRAME_TOKENS,
    MAX_FRAMES,
    OVERSAMPLING,
    TOKEN_PIXELS,
    Clip,
    MediaInfo,
    Piece,
    Reading,
    Span,
)
from workers.container import check_part, length_s, opened
from workers.film import SAME_S, Film, Track
from workers.picture import Pixels, View
from workers.windows import Window, gaps, longest_s, of_scenes, of_time, without

#: A clip's frames are scaled down to so many pixels: a window holds 62 MB at most.
MOST_PIXELS = OVERSAMPLING * FRAME_TOKENS * TOKEN_PIXELS
#: What is left of a film after its last window, in seconds, if it is no window of its own.
_CRUMB_S = 0.1


def video_pieces(
    container: Any, seen: Any, heard: Any, reading: Reading, media_index: int
) -> Iterator[MediaInfo | Piece]:
    """The video's MediaInfo, its windows or frames as `reading.video` says, and the final one.

    `seen` and `heard` are the container's streams, `heard` may be None. Raises RowError:
    `too_large`, `corrupt`.
    """
    film = Film(container, seen, reading)
    announced = length_s(container, seen)
    check_part(announced, reading, "video")
    length = announced or 0.0
    shown = film.view(film.last[1])
    info = MediaInfo("video", shown.width, shown.height, announced)
    yield info
    with ExitStack() as stack:
        stack.callback(film.close)
        track = None
        if reading.video == "clip" and reading.sound and heard is not None:
            again = stack.enter_context(opened(container.name))
            track = Track(again, again.streams[heard.index], reading)
        if reading.video == "frames":
            yield from _frames(film, reading, media_index)
        else:
            plan = _plan(film, length, reading, media_index, stack)
            for piece in _clips(film, track, plan, length, reading, media_index):
                length = max(length, piece.span.end_s or 0.0)
                yield piece
        notes = film.account.settle() + (track.finish() if track is not None else [])
    if reading.video == "clip" and not reading.sound and heard is not None:
        notes.append("audio_not_heard")
    # Of a part, the file may not say how much there is after it.
    known = announced is not None or film.ended
    whole = round(max(length, film.end_s), 6) if known else None
    yield replace(info, duration_s=whole, warnings=tuple(dict.fromkeys(notes)))


def _frames(film: Film, reading: Reading, media_index: int) -> Iterator[Piece]:
    """Each sampled frame as an image with its time; one that stands long comes once."""
    kept = {span.start for span in reading.keep if span.media_index == media_index}
    done = set(kept)
    step = 1 / reading.fps
    for moment in _moments(reading.start_s, reading.end_s or inf, step):
        if film.number(moment) in kept:
            continue
        film.skip(moment)
        found = film.at(moment)
        if found is None:
            if moment == reading.start_s:
                check_part(film.end_s, reading, "video")
            return
        at_s, frame = found
        number = film.number(at_s)
        if number not in done:
            done.add(number)
            shown = film.view(frame)
            size = shown.width, shown.height
            span = Span(media_index, number, number + 1, at_s, at_s + step, *size)
            yield Piece(span, images=(shown.pixels(frame),))
    _finish(film, reading)


def _moments(start_s: float, end_s: float, step: float) -> Iterator[float]:
    return takewhile(lambda moment: moment < end_s, (start_s + n * step for n in count()))


def _finish(film: Film, reading: Reading) -> None:
    """Read to the end of the part that is wanted: the account is to see that it is there."""
    if reading.end_s is not None:
        film.skip(reading.end_s)
        film.at(reading.end_s)


def _clips(
    film: Film,
    track: Track | None,
    plan: Iterable[Window],
    length: float,
    reading: Reading,
    media_index: int,
) -> Iterator[Piece]:
    """Windows of frames and sound; where the sound goes on, the last frame stands for it."""
    for start_s, end_s in plan:
        film.skip(start_s)
        numbers, frames, shown = _samples(film, start_s, end_s, 1 / reading.fps)
        film.at(end_s)  # by which it may turn out to have ended
        if film.ended:
            end_s = min(end_s, max(film.end_s, track.until(end_s) if track else 0.0))
            if start_s and start_s == reading.start_s and end_s <= start_s:
                check_part(film.end_s, reading, "video")
            if end_s - start_s < (_CRUMB_S if start_s else 0.0):
                return
        sounds = track.cut(start_s, end_s) if track else ()
        past = max(film.number(end_s), numbers[-1] + 1)
        total = max(film.number(max(length, film.end_s)), past)
        size = shown.width, shown.height
        span = Span(media_index, film.number(start_s), past, start_s, end_s, *size)
        yield Piece(span, clip=Clip(frames, numbers, film.fps, total), sounds=sounds)
    _finish(film, reading)


def _samples(
    film: Film, start_s: float, end_s: float, step: float
) -> tuple[tuple[int, ...], Pixels, View]:
    """Numbers and pixels of the frames sampled in a window; at least the last one seen."""
    found: dict[int, Pixels] = {}
    for moment in [start_s] + [
        start_s + sample * step
        for sample in range(1, MAX_FRAMES)
        if start_s + sample * step < end_s - SAME_S
    ]:
        if film.at(moment) is None and found:
            break
        at_s, frame = film.last
        # A frame that was there before the window is shown from the window's start on.
        number = film.number(max(at_s, start_s))
        if not found:
            shown = film.view(frame)
        if number not in found:
            found[number] = shown.pixels(frame, MOST_PIXELS)
    return tuple(found), np.stack(list(found.values())), shown


def _plan(
    film: Film, length: float, reading: Reading, media_index: int, stack: ExitStack
) -> Iterator[Window]:
    """Windows of the part that is wanted, without those to keep; see `workers.windows`."""
    kept = [
        (span.start_s or 0.0, span.end_s or 0.0)
        for span in reading.keep
        if span.media_index == media_index
    ]
    begin_s, end_s = reading.start_s, reading.end_s or inf
    limit = longest_s(reading)
    if reading.windows == "time":
        return without(of_time(begin_s, length, end_s, film.fps, limit), kept)
    # Loaded when it is asked for: it is an extra, and large.
    from workers.scenes import Scenes

    ahead = stack.enter_context(opened(film.path))
    other = Film(ahead, ahead.streams[film.index], reading)
    stack.callback(other.close)
    return of_scenes(Scenes(other), gaps(begin_s, end_s, kept), film.fps, limit)
