"""A sound stream as 16 kHz mono on the medium's own clock."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import inf
from typing import Any

import av
import numpy as np

from jobs.pieces import SAMPLE_RATE
from storage.errors import RowError
from workers.container import Account, frames, origin_s, seek
from workers.tape import Floats

#: Seconds by which timestamps may differ from the samples counted before it is a gap:
#: containers round to milliseconds, and patching such differences would click.
_JITTER_S = 0.05
#: Weights of a mix add up to 1: equal channels keep their level and nothing is clipped.
_MIXED = {"rematrix_maxval": "1.0"}
#: Seconds by which a part is read before it begins: decoders take some packets to come in.
_EARLY_S = 2.0
#: Samples of a block, at least: 4 s, so that what follows works in large steps.
_BLOCK = 4 * SAMPLE_RATE
#: Samples a second that are believed: below, one packet may be hours long; above, the
#: resampler's filter alone takes seconds and gigabytes.
_RATES = (100, 10_000_000)


def sound(container: Any, stream: Any, account: Account, max_s: float) -> Iterator[Floats]:
    """The stream in blocks of some seconds, without holes: the part that `account` is of.

    Sample n of the medium was heard at n / 16000 seconds: a stream that starts late, or
    leaves a gap in its timestamps, gets silence there; one that jumps back goes on where
    it was (warning `timestamps_jump`). The first sample given is that of `account.begin_s`.
    All channels are mixed down, values lie in [-1, 1]. Raises RowError: `too_large` for
    more than `max_s`, `corrupt` by the account.
    """
    begin = round(account.begin_s * SAMPLE_RATE)
    end = inf if account.end_s == inf else round(account.end_s * SAMPLE_RATE)
    held: list[Floats] = []
    size = 0
    for at, part in _on_time(container, stream, account, max_s):
        if at >= end:
            break
        if at < begin or at + len(part) > end:
            part = part[max(begin - at, 0) : int(min(end - at, len(part)))]
        held.append(part)
        size += len(part)
        if size >= _BLOCK:
            yield _clean(held)
            held, size = [], 0
    if size:
        yield _clean(held)


def _clean(parts: list[Floats]) -> Floats:
    """The parts as one block of numbers in [-1, 1]; what is no number is silence.

    A block at a time: files have up to hundreds of frames a second.
    """
    block = np.concatenate(parts)
    np.nan_to_num(block, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(block, -1.0, 1.0, out=block)


def _on_time(
    container: Any, stream: Any, account: Account, max_s: float
) -> Iterator[tuple[int, Floats]]:
    """Parts with the samples they begin at: each begins where the one before it ends."""
    origin = origin_s(container)
    found, clock = _sought(container, stream, account)
    # `clock`: where the next sample of the source belongs, in seconds.
    shift = 0.0
    given = round(clock * SAMPLE_RATE)
    converter = _Converter()
    for frame in found:
        if frame.samples == 0:
            continue
        if frame.time is not None:
            ahead = frame.time - origin + shift - clock
            if ahead > max_s or ahead < -_JITTER_S:
                shift -= ahead
                account.note("timestamps_jump")
            elif ahead > _JITTER_S or (clock == 0 and ahead > 0):
                if container.format.name == "flac":  # its frames leave no gaps but lost ones
                    account.lose(ahead)
                for part in converter.finish():
                    yield given, part
                    given += len(part)
                clock += ahead
                for part in _silence(round(clock * SAMPLE_RATE) - given):
                    yield given, part
                    given += len(part)
        for part in converter.convert(frame):
            yield given, part
            given += len(part)
        clock += frame.samples / frame.sample_rate
        account.reached_s = clock
        if min(clock, account.end_s) - account.begin_s > max_s:
            raise RowError("too_large", f"longer than the limit of {max_s:.0f} s")
    for part in converter.finish():
        yield given, part
        given += len(part)


def _sought(container: Any, stream: Any, account: Account) -> tuple[Iterator[Any], float]:
    """The frames from somewhat before `account.begin_s` on, and the time of the first.

    From the stream's start where the part begins near it, or the container cannot seek.
    """
    origin = origin_s(container)
    early_s = account.begin_s - _EARLY_S
    if early_s > 0 and seek(container, early_s):
        found = frames(container, stream, account)
        first = next((frame for frame in found if frame.samples), None)
        if first is not None and first.time is not None:
            at_s = first.time - origin
            if 0 <= at_s <= account.begin_s:
                return chain([first], found), at_s
        # A guess that went too far, or silence; what was counted on the way counts no more.
        if not seek(container, 0.0):
            raise RowError("corrupt", "the sound cannot be read from its start again")
        account.lost_s = account.reached_s = account.seen_s = 0.0
    return frames(container, stream, account), 0.0


def _silence(count: int) -> Iterator[Floats]:
    while count > 0:
        yield np.zeros(min(count, _BLOCK), np.float32)
        count -= _BLOCK


class _Converter:
    """Decoded frames to mono at 16 kHz; a stream may change its format on the way."""

    def __init__(self) -> None:
        self._format: tuple[Any, ...] | None = None
        self._resampler: Any = None

    def convert(self, frame: Any) -> Iterator[Floats]:
        """What can be given out once `frame` is in; float32 [samples].

        Raises RowError("corrupt") for a rate or channels that no sound has.
        """
        found = (frame.format.name, frame.layout.name, frame.sample_rate)
        if found != self._format:
            if not _RATES[0] <= frame.sample_rate <= _RATES[1]:
                raise RowError("corrupt", f"{frame.sample_rate} samples a second are no sound's")
            yield from self.finish()
            self._format = found
            self._resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE, options=_MIXED)
        try:
            ready = self._resampler.resample(_mixable(frame))
        except av.error.FFmpegError as error:
            channels = frame.layout.nb_channels
            raise RowError("corrupt", f"{channels} channels of sound cannot be mixed") from error
        yield from self._given(ready)

    def finish(self) -> Iterator[Floats]:
        """The last samples before a gap, a change or the end."""
        if self._resampler is not None:
            yield from self._given(self._resampler.resample(None))
        self._format = self._resampler = None

    @staticmethod
    def _given(resampled: list[Any]) -> Iterator[Floats]:
        for frame in resampled:
            # A view: it keeps its frame, and nobody else writes to that.
            yield np.frombuffer(frame.planes[0], np.float32, frame.samples)


def _mixable(frame: Any) -> Any:
    """The frame, or its plain mean where nobody says which channel is where."""
    if frame.layout.nb_channels <= 2 or not frame.layout.name.endswith("channels"):
        return frame
    # Interleaved: of eight planes and more, PyAV 18 reads past the last one and crashes.
    (packed,) = av.AudioResampler("flt", frame.layout, frame.sample_rate).resample(frame)
    values = packed.to_ndarray().reshape(-1, frame.layout.nb_channels)
    mixed = av.AudioFrame.from_ndarray(values.mean(axis=1)[None], "flt", "mono")
    mixed.sample_rate = frame.sample_rate
    mixed.pts, mixed.time_base = frame.pts, frame.time_base
    return mixed
