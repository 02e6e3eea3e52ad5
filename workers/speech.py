"""Sound cut into windows of speech, streaming: what is spoken, whole and once.

Windows begin where speech begins and end where it ends, since their times become the
times of subtitles. Where they end is a bargain: a subtitle wants the pause between two
sentences, the model does best with half a minute of context and none of the silence in
which it would invent words. So the longer a window already is, the shorter a pause
ends it (`_ENDS`); one that still reaches its limit is cut at the longest pause of its
second half. Only speech without any pause is cut at its quietest moment; its window may
be heard longer than it is, and adjoins the next one, which no other window does: by that
`jobs.tasks.listening` knows where words may be said twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Protocol

import numpy as np

from jobs.pieces import SAMPLE_RATE, Span
from workers.tape import Floats, Tape
from workers.vad import CHUNK, VoiceActivity

#: Probability at which speech begins, and under which it ends (Silero's own choice).
_BEGINS, _FADES = 0.5, 0.35
#: Silence of so many chunks (128 ms) is a pause; stops within words are shorter.
_PAUSE = 4
#: Fewer chunks than this (96 ms) are a click, not speech.
_SPEECH = 3
#: Sound kept around speech, in samples: 0.2 s, for soft first and last sounds.
_PAD = SAMPLE_RATE // 5
#: A window that is at least this share of its limit ends at a pause of so many seconds.
#: With 30 s: any pause of 5 s; from 5 s on one of 2 s (another speaker or thought);
#: from 15 s on one of 0.6 s (the end of a sentence).
_ENDS = ((0.0, 5.0), (1 / 6, 2.0), (0.5, 0.6))
#: Without a pause the cut is sought in the last 5 s, in steps of 20 ms.
_SEARCH, _STEP = 5 * SAMPLE_RATE, SAMPLE_RATE // 50

Window = tuple[int, int, Floats]


class Activity(Protocol):
    """Hears speech: probabilities for chunks of 512 samples, the last one incomplete."""

    def feed(self, samples: Floats) -> Floats:
        """Probabilities of the chunks that `samples` complete."""
        ...

    def finish(self) -> Floats:
        """The probability of the rest, if there is one."""
        ...


def windows(
    blocks: Iterable[Floats],
    limit: int,
    keep: Sequence[Span] = (),
    activity: Activity | None = None,
    first: int = 0,
    over: int = 0,
) -> Iterator[Window]:
    """Windows of speech as (first sample, the one after the last, sound), in order.

    The sound is float32 [at most `limit` samples]: the window's, and of one cut amid speech
    up to `over` samples more.
    `blocks` are the sound at 16 kHz from sample `first` on; the windows do not depend on
    how it is divided. No window touches a span of `keep` (in samples). All speech is in
    exactly one window or kept span; speech is what `activity` (Silero's by default)
    hears for 96 ms or longer.
    """
    activity = activity or VoiceActivity()
    cutter = _Cutter(limit, keep, first, over)
    start = heard = now = first  # speech began at sample `start` and was last heard at `heard`
    silent = 0
    speaking = told = False
    for probability in _listen(blocks, activity, cutter.tape):
        now, before = min(now + CHUNK, cutter.tape.end), now
        if speaking:
            if probability >= _BEGINS or (probability >= _FADES and not silent):
                heard, silent = now, 0
            else:
                silent += 1
                speaking = silent < _PAUSE
        elif probability >= _BEGINS:
            start, heard, silent, speaking, told = before, now, 0, True, False
        if speaking and not silent and (told or heard - start >= _SPEECH * CHUNK):
            yield from cutter.speech(before if told else start, heard)
            told = True
        elif not speaking:
            yield from cutter.silence(now)
    yield from cutter.finish()


def _listen(blocks: Iterable[Floats], activity: Activity, tape: Tape) -> Iterator[float]:
    for block in blocks:
        tape.append(block)
        yield from activity.feed(block).tolist()
    yield from activity.finish().tolist()


class _Cutter:
    """Gathers speech, told in order, into windows; all positions are samples."""

    def __init__(self, limit: int, keep: Sequence[Span], first: int, over: int) -> None:
        self.tape = Tape(first)
        self._limit = limit
        self._over = min(over, limit // 4)
        self._keep = deque(sorted((span.start, span.end) for span in keep))
        self._runs: list[list[int]] = []  # the open window's speech, parted by pauses
        self._begin = first  # of the open window
        self._floor = first  # no window begins before: the last one's end, or a kept span's

    def speech(self, start: int, end: int) -> Iterator[Window]:
        """There is speech from `start` to `end`; gives the windows that this completes."""
        while self._keep and self._keep[0][0] < end:
            kept_start, kept_end = self._keep[0]
            if start < kept_start:
                yield from self._add(start, kept_start)
            if self._runs:
                yield self._close(len(self._runs), kept_start)
            # One that ends amid speech is adjoined by the rest of it.
            self._floor = max(self._floor, kept_end + (start > kept_end))
            start = max(start, kept_end)
            if start >= end:
                return
            self._keep.popleft()
        yield from self._add(start, end)

    def silence(self, now: int) -> Iterator[Window]:
        """There is no speech at `now`, nor since the last that was told."""
        if self._runs and self._ends(now):
            yield self._close(len(self._runs), now)
        self.tape.forget(self._begin if self._runs else now - 2 * _PAD)

    def finish(self) -> Iterator[Window]:
        """The sound has ended."""
        if self._runs:
            yield self._close(len(self._runs), self.tape.end)

    def _add(self, start: int, end: int) -> Iterator[Window]:
        if self._runs and start - self._runs[-1][1] < _PAUSE * CHUNK:
            self._runs[-1][1] = end
        else:
            if self._runs and self._ends(start):
                yield self._close(len(self._runs), (self._runs[-1][1] + start) // 2)
            self._runs.append([start, end])
            if len(self._runs) == 1:
                self._open()
        # The pad after the last word has its place, unless a kept span is nearer.
        wall = self._keep[0][0] if self._keep else end + _PAD
        while self._runs and min(end + _PAD, max(wall, end)) - self._begin > self._limit:
            yield self._cut()

    def _open(self) -> None:
        self._begin = max(self._floor, self._runs[0][0] - _PAD)

    def _ends(self, now: int) -> bool:
        """Whether the silence from the last run until `now` ends the window."""
        last = self._runs[-1][1]
        return any(
            last - self._begin >= share * self._limit and now - last >= pause_s * SAMPLE_RATE
            for share, pause_s in _ENDS
        )

    def _close(self, count: int, until: int) -> Window:
        """The window of the first `count` runs, with a pad that ends at `until` at most."""
        last = self._runs[count - 1][1]
        until = min(until, self.tape.end, *(start for start, _ in islice(self._keep, 1)))
        return self._give(count, max(last, min(last + _PAD, until)))

    def _cut(self) -> Window:
        """The window is full: end it at its best pause, or else where it is quietest."""
        pauses = [
            (after[0] - before[1], before[1], number)
            for number, (before, after) in enumerate(pairwise(self._runs), start=1)
        ]
        late = [pause for pause in pauses if pause[1] - self._begin >= self._limit // 2]
        if late:
            number = max(late)[2]
        elif pauses:
            number = pauses[-1][2]
        else:
            run = self._runs[0]
            full = min(self._begin + self._limit, run[1])
            cut = self._quietest(full - self._over)
            self._runs.insert(0, [run[0], cut])
            run[0] = cut
            return self._give(1, cut, min(cut + self._over, full))
        return self._close(number, (self._runs[number - 1][1] + self._runs[number][0]) // 2)

    def _quietest(self, end: int) -> int:
        start = max(end - min(_SEARCH, self._limit // 2), self._begin)
        steps = max((end - start) // _STEP, 1)
        sound = self.tape.cut(end - steps * _STEP, end).astype(np.float64)
        energy = np.square(sound).reshape(steps, -1).sum(axis=1)
        return end - steps * _STEP + int(energy.argmin()) * _STEP + _STEP // 2

    def _give(self, count: int, end: int, heard: int | None = None) -> Window:
        window = self._begin, end, self.tape.cut(self._begin, heard or end)
        self._runs = [run for run in self._runs[count:] if run[0] < run[1]]
        self._floor = end if heard else end + 1
        if self._runs:
            self._open()
        return window
