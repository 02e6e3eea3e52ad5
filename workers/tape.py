"""The part of a long sound that is still needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobs.pieces import SAMPLE_RATE

Floats = npt.NDArray[np.float32]


class Tape:
    """Sound that grows at its end and is forgotten at its start.

    Positions count from the medium's start; nothing is told of what is before `first`.
    """

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._samples: Floats = np.zeros(0, np.float32)

    @property
    def end(self) -> int:
        """The position after the last sample."""
        return self._first + len(self._samples)

    def append(self, block: Floats) -> None:
        """Add sound at the end."""
        self._samples = np.concatenate([self._samples, block])

    def cut(self, start: int, end: int) -> Floats:
        """A copy of the samples from `start` to `end`, float32 [end - start]."""
        return self._samples[max(start - self._first, 0) : max(end - self._first, 0)].copy()

    def forget(self, before: int) -> None:
        """Drop what lies before a sample, a second or more at a time."""
        before = min(before, self.end)
        if before - self._first > SAMPLE_RATE:
            self._samples = self._samples[before - self._first :].copy()
            self._first = before
