"""A video's frames and sound as they are asked for, by time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.pieces import SAMPLE_RATE, Reading
from storage.errors import RowError
from workers.container import account_of, frames, origin_s, seek
from workers.picture import View, view
from workers.sound import sound
from workers.tape import Floats, Tape

#: Frames a second that are taken for a stream which does not know its own.
_RATE = 25.0
#: Differences of times, in seconds, that are roundings.
SAME_S = 1e-3
#: Seconds from which on a stretch is skipped rather than decoded: several key frames' worth.
_FAR_S = 15.0
#: Shortest sound that goes with a window, in samples: 10 ms or less gives the model nothing.
_AUDIBLE = SAMPLE_RATE // 50


class Film:
    """One video stream, read once from its start or on; moments must be asked for in order.

    Raises RowError("corrupt") if there is no frame.
    """

    def __init__(self, container: Any, stream: Any, reading: Reading) -> None:
        self.account = account_of(container, stream, reading)
        self.path, self.index = container.name, stream.index
        self._container, self._stream, self._reading = container, stream, reading
        self.fps = max(float(stream.average_rate or stream.guessed_rate or _RATE), reading.fps)
        self.end_s = 0.0  # of the frames decoded so far
        self._frames = self._timed(-1.0)
        self._next = next(self._frames, None)
        if self._next is None:
            raise RowError("corrupt", "no frame of the video could be decoded")
        self.last = self._next  # (time, frame) that is or was last on the screen

    def close(self) -> None:
        """End the reading. Film and reading know each other, and with them all that decoded
        would stay in memory until Python looks for such circles, dozens of films later."""
        self._frames = iter(())

    def number(self, at_s: float) -> int:
        """The number of the frame at a time, on the grid of the stream's mean rate."""
        return round(at_s * self.fps)

    def at(self, moment_s: float) -> tuple[float, Any] | None:
        """(time, frame) on the screen at a moment; None after the film's end.

        The first frame also stands for what is before it.
        """
        while self._next is not None and self._next[0] <= max(moment_s + SAME_S, self.last[0]):
            self.last = self._next
            self._next = next(self._frames, None)
        return self.last if not self.ended or moment_s < self.end_s - SAME_S else None

    def step(self, until_s: float) -> tuple[float, Any] | None:
        """(time, frame) of the next frame; None if it comes after `until_s`, or none does."""
        if self._next is None or self._next[0] > until_s:
            return None
        self.last = self._next
        self._next = next(self._frames, None)
        return self.last

    def skip(self, to_s: float) -> None:
        """Go on at a later moment without decoding what lies between, if that is far."""
        if self._next is None or to_s - self._next[0] < _FAR_S:
            return
        before_s = self._next[0]
        # A second early: a key frame's own time may be rounded upwards.
        if not self._seek(to_s - 1.0, before_s):
            return
        if self._next is not None and self._next[0] <= to_s + SAME_S:
            self.last = self._next
        elif not self._seek(0.0, before_s):  # some formats seek by guesses
            raise RowError("corrupt", f"the video cannot be read from its start again at {to_s} s")

    def _seek(self, to_s: float, after_s: float) -> bool:
        """Go to the key frame before `to_s`; gives whether the container can.

        The next frame is then the first one from there that is past `after_s`.
        """
        if not seek(self._container, to_s):
            return False
        self._frames = self._timed(after_s)
        self._next = next(self._frames, None)
        return True

    @property
    def ended(self) -> bool:
        """Whether all frames have been decoded."""
        return self._next is None

    def view(self, frame: Any) -> View:
        """How the frame is shown. Raises RowError("too_large") over `max_pixels`."""
        found = view(frame, self._stream.codec_context.sample_aspect_ratio)
        if found.width * found.height > self._reading.max_pixels:
            size, most = f"{found.width}x{found.height}", self._reading.max_pixels
            raise RowError("too_large", f"a video of {size} pixels; the limit is {most}")
        return found

    def _timed(self, last: float) -> Iterator[tuple[float, Any]]:
        """The frames with their times, from where the container is, past `last` seconds."""
        origin = origin_s(self._container)
        step = 1 / self.fps
        for frame in frames(self._container, self._stream, self.account):
            timed = frame.pts is not None and frame.time_base
            at_s = float(frame.pts * frame.time_base) - origin if timed else self.end_s
            if frame.is_corrupt:
                self.account.lose(step)
            if at_s <= last:  # twice the same moment: a field, or a broken clock
                continue
            lasts_s = float(frame.duration * frame.time_base) if timed and frame.duration else step
            last, self.end_s = at_s, at_s + lasts_s
            self.account.reached_s = self.end_s
            if min(at_s, self.account.end_s) - self.account.begin_s > self._reading.max_duration_s:
                limit = f"the limit of {self._reading.max_duration_s:.0f} s"
                raise RowError("too_large", f"the video is longer than {limit}")
            yield at_s, frame


class Track:
    """The sound of a video, read from a container of its own: streams need not keep step."""

    def __init__(self, container: Any, stream: Any, reading: Reading) -> None:
        self.account = account_of(container, stream, reading)
        self._blocks = sound(container, stream, self.account, reading.max_duration_s)
        self._tape = Tape(round(reading.start_s * SAMPLE_RATE))

    def until(self, end_s: float) -> float:
        """Read on until `end_s`; gives where the sound read so far ends, in seconds."""
        while self._tape.end < end_s * SAMPLE_RATE:
            block = next(self._blocks, None)
            if block is None:
                break
            self._tape.append(block)
        return self._tape.end / SAMPLE_RATE

    def cut(self, start_s: float, end_s: float) -> tuple[Floats, ...]:
        """The sound between two times, one of float32 at 16 kHz; none where it has ended.

        Nothing before `start_s` may be asked for later.
        """
        self.until(end_s)
        start = round(start_s * SAMPLE_RATE)
        self._tape.forget(start)
        count = round((end_s - start_s) * SAMPLE_RATE)
        samples = self._tape.cut(start, start + count)
        return (samples,) if len(samples) >= _AUDIBLE else ()

    def finish(self) -> list[str]:
        """Read to the end and settle; gives the warnings. Raises RowError("corrupt")."""
        for _ in self._blocks:
            pass
        return self.account.settle()
