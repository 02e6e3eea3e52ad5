"""Where shards begin and end: consecutive rows by cost, decided as the rows stream by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Seconds of one engine that a shard is to take: at least, about, and at most.
MIN_S = 120.0
AIM_S = 210.0
MAX_S = 300.0
#: Rows of a shard at most, and what small jobs keep a shard.
MAX_ROWS = 1024
KEEP_ROWS = 8
#: Shards of a job at least (while they keep `KEEP_ROWS`) where no slots are known.
_FEWEST = 16
#: Rows held back at most until it is known whether a job is small.
_HELD_ROWS = 262_144

_MICRO = 1_000_000
#: A row takes no longer than this, so that sums of absurd lengths stay whole numbers.
_LONGEST_S = 1e7
_MIN, _AIM, _MAX = (int(s * _MICRO) for s in (MIN_S, AIM_S, MAX_S))

Costs = npt.NDArray[np.int64]


class Cutter:
    """Decides the lengths of shards, in rows, from the seconds that each row will take.

    Costs are counted in whole microseconds, so that cuts depend on the rows alone and
    not on how they came in blocks.
    """

    def __init__(self, slots: int) -> None:
        """`slots` is the number of shards that can be open at once; 0 if unknown."""
        self._fewest = 2 * slots if slots > 0 else _FEWEST
        self._held: list[Costs] = []
        self._small = True

    def add(self, seconds: npt.NDArray[np.float64], *, full: bool = False) -> list[int]:
        """Take rows; give the lengths of the shards that are decided now.

        `full` says that the rows held back take too much memory to wait any longer.
        """
        bounded = np.clip(seconds, 0.0, _LONGEST_S)
        self._held.append(np.rint(bounded * _MICRO).astype(np.int64))
        if self._small:
            costs = self._all()
            lengths, _ = natural(costs, last=False)
            if len(lengths) < self._fewest:
                if not full and len(costs) < _HELD_ROWS:
                    return []
                # A large job in so many slots that its first rows make its first round.
                lengths = spread(costs, self._fewest)
            self._small = False
            return self._cut(costs, lengths)
        costs = self._all()
        return self._cut(costs, natural(costs, last=False)[0])

    def finish(self) -> list[int]:
        """No more rows: the lengths of the remaining shards."""
        costs = self._all()
        if not len(costs):
            return []
        lengths, _ = natural(costs, last=True)
        if self._small and len(lengths) < self._fewest:
            lengths = spread(costs, self._fewest)
        self._held = []
        return lengths

    def _all(self) -> Costs:
        costs = np.concatenate(self._held) if self._held else np.empty(0, dtype=np.int64)
        self._held = [costs]
        return costs

    def _cut(self, costs: Costs, lengths: list[int]) -> list[int]:
        self._held = [costs[sum(lengths) :]]
        return lengths


def natural(costs: Costs, *, last: bool) -> tuple[list[int], int]:
    """Lengths of the shards that these rows make by cost, and the rows left over.

    A shard takes rows while it stays under `AIM_S`, one more if it is under `MIN_S`
    still, and never passes `MAX_S` or `MAX_ROWS`; a row over `MAX_S` is a shard alone.
    Unless these are the `last` rows, those of the shard that may still grow are left.
    """
    total = np.concatenate(([0], np.cumsum(costs)))
    count = len(costs)
    lengths: list[int] = []
    start = 0
    while start < count:
        base = total[start]
        within = total[start : min(count, start + MAX_ROWS) + 1]
        enough, aim, most = np.searchsorted(within, [base + _MIN, base + _AIM + 1, base + _MAX + 1])
        # `aim - 1` rows are under the aim; the first row past it comes along if needed.
        length = max(int(aim) - 1, min(int(enough), int(most) - 1), 1)
        if not last and start + length == count and length < MAX_ROWS:
            break
        lengths.append(length)
        start += length
    return lengths, count - start


def spread(costs: Costs, fewest: int) -> list[int]:
    """Lengths of at least `fewest` shards of about the same cost, while each keeps 8 rows."""
    count = len(costs)
    shards = max(1, min(fewest, count // KEEP_ROWS))
    total = np.cumsum(costs)
    # Rows that cost nothing are spread by number.
    if not total[-1]:
        total = np.arange(1, count + 1)
    lengths: list[int] = []
    start = 0
    for n in range(1, shards + 1):
        goal = int(total[-1]) * n // shards
        end = int(np.searchsorted(total, goal)) + 1
        end = min(max(end, start + KEEP_ROWS), count - KEEP_ROWS * (shards - n))
        end = count if n == shards else end
        lengths += natural(costs[start:end], last=True)[0]
        start = end
    return lengths


def shard_bounds(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of each of consecutive shards."""
    ends = np.cumsum(lengths).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
