"""Requests on their way into an engine, let in a group at a time.

A step that begins a request encodes its media in eager mode and reads its prompt, and what
runs already goes on by no whole CUDA graph meanwhile. With 256 requests of 200 tokens each
step begins one; let in by sixteens, twelve of thirteen steps only go on (benchmarks/NOTES.md).
"""

from __future__ import annotations

import sys
from typing import Generic, TypeVar

T = TypeVar("T")

#: How many are let in together where it is not said.
TOGETHER = 16
#: How long a request waits for others to come, in seconds: no longer than a few steps.
WITHIN_S = 0.2


class Groups(Generic[T]):
    """Holds requests by key until there are `size` of them and room for as many.

    No more than `most` run at once, None for any number. Fewer than `size` go in together once
    one of them has waited for `within_s`. Times are of any clock that only goes forward, in
    seconds. Not thread-safe.
    """

    def __init__(self, size: int, most: int | None = None, within_s: float = WITHIN_S) -> None:
        self._most = sys.maxsize if most is None else most
        self._size = min(size, self._most)
        self._within_s = within_s
        #: Each with the time at which it came, in that order.
        self._held: dict[str, tuple[float, T]] = {}

    def put(self, key: str, item: T, now: float) -> None:
        """Hold one more."""
        self._held[key] = now, item

    def drop(self, key: str) -> bool:
        """Let go of one; False if it is not held."""
        return self._held.pop(key, None) is not None

    def take(self, running: int, now: float) -> list[tuple[str, T]]:
        """Those that go in now, while so many run."""
        room = self._most - running
        wanted = min(len(self._held), self._size)
        if wanted < self._size and (self.wait_s(now) or 0.0) > 0.0:
            return []
        # Where it is nearly full, a group waits until a group has ended.
        count = min(len(self._held), room) if room >= wanted else 0
        keys = list(self._held)[:count]
        return [(key, self._held.pop(key)[1]) for key in keys]

    def wait_s(self, now: float) -> float | None:
        """After how many seconds those that are held need wait for no others; None if none are."""
        first = next(iter(self._held.values()), None)
        return None if first is None else max(0.0, first[0] + self._within_s - now)
