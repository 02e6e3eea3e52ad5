"""Video to windows of sampled frames with their sound, or to single frames.

A sample is the frame that is on the screen at its moment, by timestamps, so variable
frame rates come out right. Frames are numbered on the grid of the source's mean rate:
at a constant rate that is the frame's number, and number / fps is always its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, pairwise
from math import ceil
from typing import Any

import numpy as np

from jobs.pieces import MAX_AUDIO_S, MAX_FRAMES, Clip, MediaInfo, Piece, Reading, Span
from storage.errors import RowError
from workers.container import length_s, opened
from workers.film import SAME_S, Film, Track
from workers.picture import Pixels, View

#: A clip's frames are scaled down to so many pixels (1080p stays as it is), so that a
#: window holds 200 MB at most. The model sees 0.16 megapixels of each.
MOST_PIXELS = 1920 * 1088
#: Seconds by which a stream may outlive what was announced and still be in its last window.
_MORE_S = 0.5
#: Fewer frames than this in a window, and it need not begin with one of them.
_FRAMES = 4
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
    length = length_s(container, seen) or 0.0
    if length > reading.max_duration_s:
        limit = f"the limit is {reading.max_duration_s:.0f} s"
        raise RowError("too_large", f"{length:.0f} s of video; {limit}")
    shown = film.view(film.last[1])
    info = MediaInfo("video", shown.width, shown.height, length or None)
    yield info
    with ExitStack() as stack:
        track = None
        if reading.video == "clip" and reading.sound and heard is not None:
            again = stack.enter_context(opened(container.name))
            track = Track(again, again.streams[heard.index], reading)
        if reading.video == "frames":
            yield from _frames(film, reading, media_index)
        else:
            for piece in _clips(film, track, length, reading, media_index):
                length = max(length, piece.span.end_s or 0.0)
                yield piece
        notes = film.account.settle() + (track.finish() if track is not None else [])
    if reading.video == "clip" and not reading.sound and heard is not None:
        notes.append("audio_not_heard")
    length = round(max(length, film.end_s), 6)
    yield replace(info, duration_s=length, warnings=tuple(dict.fromkeys(notes)))


def _frames(film: Film, reading: Reading, media_index: int) -> Iterator[Piece]:
    """Each sampled frame as an image with its time; one that stands long comes once."""
    kept = {span.start for span in reading.keep if span.media_index == media_index}
    done = set(kept)
    step = 1 / reading.fps
    for sample in count():
        if film.number(sample * step) in kept:
            continue
        film.skip(sample * step)
        found = film.at(sample * step)
        if found is None:
            return
        at_s, frame = found
        number = film.number(at_s)
        if number not in done:
            done.add(number)
            shown = film.view(frame)
            size = shown.width, shown.height
            span = Span(media_index, number, number + 1, at_s, at_s + step, *size)
            yield Piece(span, images=(shown.pixels(frame),))


def _clips(
    film: Film, track: Track | None, length: float, reading: Reading, media_index: int
) -> Iterator[Piece]:
    """Windows of frames and sound; where the sound goes on, the last frame stands for it."""
    for start_s, end_s in _plan(length, film.fps, reading, media_index):
        film.skip(start_s)
        numbers, frames, shown = _samples(film, start_s, end_s, 1 / reading.fps)
        film.at(end_s)  # by which it may turn out to have ended
        if film.ended:
            end_s = min(end_s, max(film.end_s, track.until(end_s) if track else 0.0))
            if end_s - start_s < (_CRUMB_S if start_s else 0.0):
                return
        sounds = track.cut(start_s, end_s) if track else ()
        past = max(film.number(end_s), numbers[-1] + 1)
        total = max(film.number(max(length, film.end_s)), past)
        size = shown.width, shown.height
        span = Span(media_index, film.number(start_s), past, start_s, end_s, *size)
        yield Piece(span, clip=Clip(frames, numbers, film.fps, total), sounds=sounds)


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
    length: float, fps: float, reading: Reading, media_index: int
) -> Iterator[tuple[float, float]]:
    """Windows of time, without end: equal ones as far as the length is known.

    Equal, since 31 s are better seen as twice 15.5 s than as 30 s and a scrap. Spans to
    keep are left out.
    """
    limit = min(reading.window_s, MAX_AUDIO_S, MAX_FRAMES / reading.fps)
    keep = sorted(
        (span.start_s or 0.0, span.end_s or 0.0)
        for span in reading.keep
        if span.media_index == media_index
    )
    for start_s, end_s in _windows(length, fps, limit):
        for kept_start, kept_end in keep:
            if start_s + SAME_S < kept_start < end_s:
                yield start_s, kept_start
            if kept_start < end_s and kept_end > start_s:
                start_s = kept_end
        if start_s + SAME_S < end_s:
            yield start_s, end_s


def _windows(length: float, fps: float, limit: float) -> Iterator[tuple[float, float]]:
    edges = _edges(length, fps, limit)
    yield from pairwise(edges)
    start_s = edges[-1]
    end_s = start_s + limit
    if length > 0:  # a stream may outlive what it announced by a little
        end_s = min(end_s, length + _MORE_S)
    while True:
        yield start_s, end_s
        start_s, end_s = end_s, end_s + limit


def _edges(length: float, fps: float, limit: float) -> list[float]:
    """Where windows begin, up to a known length: at frames, and at most `limit` apart."""
    grid = fps if fps * limit > _FRAMES else 1 / SAME_S
    for number in count(max(ceil(length / limit - SAME_S), 1)):
        edges = [round(length * edge / number * grid) / grid for edge in range(number)]
        if all(after - before <= limit for before, after in pairwise([*edges, length])):
            return edges
    raise AssertionError("more windows are always shorter")
