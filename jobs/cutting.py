"""Where shards begin and end: consecutive rows by cost, decided as the rows stream by.

The last rows are held back until it is known that they are the last, and cut the finer the
fewer are left: engines that have nothing more to do wait for the others' last shards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Seconds of one engine that a shard is to take: at least, about, and at most.
MIN_S = 120.0
AIM_S = 210.0
MAX_S = 300.0
#: Seconds that the last shards of a plan are cut down to. Beginning and ending a shard takes
#: three seconds, in which a worker's other open shards, four or more, have to fill its engine.
LAST_S = 0.75
#: Rows of a shard at most, and what small jobs and the last shards keep.
MAX_ROWS = 1024
KEEP_ROWS = 8
#: Shards of a job at least (while they keep `KEEP_ROWS`) where no slots are known.
_FEWEST = 16
#: Rows that may be held back to know that as many more come; half as many again wait to be cut.
_HELD_ROWS = 262_144

_MICRO = 1_000_000
#: A row takes no longer than this, so that sums of absurd lengths stay whole numbers.
_LONGEST_S = 1e7
_MIN, _AIM, _MAX, _LAST = (int(s * _MICRO) for s in (MIN_S, AIM_S, MAX_S, LAST_S))

Costs = npt.NDArray[np.int64]


class Cutter:
    """Decides the lengths of shards, in rows, from the seconds that each row will take.

    A shard is at most half of what falls to each slot of the rows that are left, as in guided
    self-scheduling (Polychronopoulos and Kuck, 1987). While rows still come, it is not known
    how many are left: as many as are held back at least, and what came before stands for the
    rest. So only jobs of more slots than the rows held back can serve begin with small shards.

    Costs are counted in whole microseconds, at least one a row, so that cuts depend on the
    rows alone and not on how they came in blocks.
    """

    def __init__(self, slots: int) -> None:
        """`slots` is the number of shards that can be open at once; 0 if unknown."""
        self._fewest = 2 * slots if slots > 0 else _FEWEST
        # Twice what the fewest shards can have: rows enough that, with as many more to come,
        # none is cut smaller than it would be by seconds and rows.
        self._reserve = min(_HELD_ROWS, 2 * self._fewest * MAX_ROWS)
        self._held: list[Costs] = []
        #: Cost of the rows that are cut.
        self._before = 0

    def add(self, seconds: npt.NDArray[np.float64], *, most: int | None = None) -> list[int]:
        """Take rows; give the lengths of the shards that are decided now.

        `most` is how many rows may be held back now, where they take much memory.
        """
        bounded = np.clip(seconds, 1 / _MICRO, _LONGEST_S)
        self._held.append(np.rint(bounded * _MICRO).astype(np.int64))
        reserve = self._reserve if most is None else max(1, min(self._reserve, most))
        # Not at each block: what is held is summed up anew each time.
        batch = 0 if most is not None else reserve // 2
        if sum(map(len, self._held)) < reserve + batch:
            return []
        return self._decided(reserve)

    def finish(self) -> list[int]:
        """No more rows: the lengths of the remaining shards."""
        if not self._held:
            return []
        lengths = self._decided(self._reserve)
        costs, self._held = self._held[0], []
        return lengths + taper(costs, self._fewest)

    def _decided(self, reserve: int) -> list[int]:
        """Cut off the shards behind whose first row so many more are held back."""
        costs = np.concatenate(self._held)
        total = _sums(costs)
        lengths: list[int] = []
        start = 0
        while start + reserve <= len(costs):
            known = int(total[start + reserve] - total[start])
            goal = max(self._before, known) // self._fewest
            length = min(_natural(total, start), _reaching(total, start, goal))
            self._before += int(total[start + length] - total[start])
            lengths.append(length)
            start += length
        self._held = [costs[start:]]
        return lengths


def taper(costs: Costs, fewest: int) -> list[int]:
    """Lengths of at least `fewest` shards, while each keeps 8 rows, that get smaller to the end.

    Each takes the `fewest`-th part of what is left, as far as it may; none less than `LAST_S`
    unless there would be too few of them.
    """
    count = len(costs)
    total = _sums(costs)
    least = min(_LAST, int(total[-1]) // fewest)
    wanted = min(fewest, count // KEEP_ROWS)
    lengths: list[int] = []
    start = 0
    while start < count:
        goal = max(int(total[-1] - total[start]) // fewest, least)
        length = _reaching(total, start, goal)
        # However rows differ, enough are left for the shards that there have to be.
        length = min(length, count - start - KEEP_ROWS * max(0, wanted - len(lengths) - 1))
        if count - start - length < KEEP_ROWS:
            length = count - start
        length = min(length, _natural(total, start))
        lengths.append(length)
        start += length
    return lengths


def _sums(costs: Costs) -> Costs:
    """What lies before each row, and at the end all."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(costs)))


def _natural(total: Costs, start: int) -> int:
    """Rows of the shard from `start` on that seconds and numbers allow.

    It takes rows while it stays under `AIM_S`, one more if it is under `MIN_S` still, and
    never passes `MAX_S` or `MAX_ROWS`; a row over `MAX_S` is a shard alone.
    """
    base = total[start]
    within = total[start : start + MAX_ROWS + 1]
    enough, aim, most = np.searchsorted(within, [base + _MIN, base + _AIM + 1, base + _MAX + 1])
    # `aim - 1` rows are under the aim; the first row past it comes along if needed.
    return max(int(aim) - 1, min(int(enough), int(most) - 1), 1)


def _reaching(total: Costs, start: int, goal: int) -> int:
    """Rows from `start` on that cost so much together; `KEEP_ROWS` at least."""
    within = total[start : start + MAX_ROWS + 1]
    return max(int(np.searchsorted(within, within[0] + goal)), KEEP_ROWS)


def shard_bounds(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of each of consecutive shards."""
    ends = np.cumsum(lengths).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
