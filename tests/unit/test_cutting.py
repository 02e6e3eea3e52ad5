"""Cutting into shards: every row once, within limits, and the finer the nearer the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.cutting import KEEP_ROWS, LAST_S, MAX_ROWS, MAX_S, MIN_S, Cutter, taper

seconds_of_rows = st.lists(
    st.one_of(st.floats(0, 1), st.floats(0, 400), st.just(0.0)), min_size=1, max_size=400
)


def cut(seconds: list[float], slots: int, parts: int) -> list[int]:
    cutter = Cutter(slots)
    lengths: list[int] = []
    for part in np.array_split(np.array(seconds), parts):
        lengths += cutter.add(part)
    return lengths + cutter.finish()


@settings(deadline=None)
@given(seconds_of_rows, st.integers(0, 40), st.integers(1, 7))
def test_cuts_cover_every_row_within_limits(seconds: list[float], slots: int, parts: int) -> None:
    lengths = cut(seconds, slots, parts)
    assert sum(lengths) == len(seconds)
    start = 0
    for length in lengths:
        assert 1 <= length <= MAX_ROWS
        assert length == 1 or sum(seconds[start : start + length]) <= MAX_S + 1e-3
        start += length
    wanted = min(2 * slots or 16, len(seconds) // KEEP_ROWS)
    assert len(lengths) >= wanted


@settings(deadline=None)
@given(seconds_of_rows, st.integers(0, 40), st.integers(1, 7))
def test_cuts_do_not_depend_on_how_rows_came(seconds: list[float], slots: int, parts: int) -> None:
    assert cut(seconds, slots, parts) == cut(seconds, slots, 1)


@pytest.mark.parametrize(("rows", "shards"), [(100, 12), (20, 2), (7, 1), (128, 16), (1200, 16)])
def test_a_small_job_gets_many_shards_of_eight_rows_at_least(rows: int, shards: int) -> None:
    # Less than a second each: cut no finer than there have to be shards.
    lengths = cut([0.01] * rows, 0, 1)
    assert len(lengths) == shards
    assert min(lengths) >= min(KEEP_ROWS, rows)
    assert max(lengths) - min(lengths) <= max(lengths) // 2


def test_the_last_shards_are_the_smallest() -> None:
    lengths = cut([0.01] * 10_000, 0, 1)
    assert lengths[0] == 10_000 // 16
    assert lengths == sorted(lengths, reverse=True)
    assert {*lengths[-16:-1]} == {round(LAST_S / 0.01)}, "and no smaller than they need to be"
    # Each is at most half of what falls to a slot of what is left.
    left = 10_000
    for length in lengths[:-16]:
        assert length <= -(-left // 16)
        left -= length
    # Most rows lie in large ones: no more than five times the fewest there could be.
    assert len(lengths) < 5 * 16


def test_a_large_job_is_cut_by_seconds_until_its_end() -> None:
    lengths = cut([1.0] * 40_000, 0, 3)
    assert {*lengths[:-70]} == {210}
    assert lengths[-1] <= 2 * KEEP_ROWS
    # Rows so long that a shard has no eight of them are cut by seconds alone.
    lengths = cut([100.0] * 500, 0, 1)
    assert all(MIN_S <= 100.0 * n <= MAX_S for n in lengths)
    # 115 s and 299 s do not fit together: short of the least is better than past the most.
    assert cut([115.0, 299.0] * 100, 0, 1) == [1] * 200


def test_cheap_rows_are_cut_by_number_until_the_end() -> None:
    lengths = cut([0.001] * 102_400, 0, 5)
    assert {*lengths[:85]} == {MAX_ROWS}
    assert len(lengths) < 110
    assert lengths[-2] == round(LAST_S / 0.001)


def test_the_end_is_cut_alike_however_long_the_job_is() -> None:
    # What lies before changes nothing of it: the end is found as the rows stream by.
    short, long = cut([0.03] * 102_400, 4, 1), cut([0.03] * 1_024_000, 4, 99)
    assert short[-60:] == long[-60:]
    assert {*long[:-60]} == {MAX_ROWS}


def test_engines_end_together() -> None:
    """Workers that take the next shard when one of theirs is done, each second of an engine
    worth one row: the first that has nothing left waits for no more than a shard or two."""
    slots, workers, row_s = 4, 10, 1 / 27.9
    lengths = cut([row_s] * 25_000, slots * workers, 7)
    ends = [0.0] * workers
    open_shards = [[0.0] * slots for _ in range(workers)]
    for length in lengths:
        # An engine works its shards in the order in which it was given them.
        taker = min(range(workers), key=lambda w: min(open_shards[w]))
        began = min(open_shards[taker])
        ends[taker] = max(ends[taker], began) + length * row_s
        open_shards[taker].remove(began)
        open_shards[taker].append(ends[taker])
    idle = sum(max(ends) - end for end in ends) / (workers * max(ends))
    assert idle < 0.01
    assert max(ends) - min(ends) <= 2.5 * LAST_S


def test_a_job_of_more_slots_than_can_be_seen_ahead_begins_with_small_shards() -> None:
    lengths = cut([0.01] * 1_000_000, 800, 50)
    assert lengths[0] == pytest.approx(262_144 / 1600, abs=1)
    before = 0
    for length in lengths[:-1600]:
        # No larger than half of what fell to a slot so far, or will at least.
        assert length <= max(before, 262_144) / 1600 + 1
        before += length
    assert max(lengths) > 2 * lengths[0]
    assert {*lengths[-1600:-1]} == {round(LAST_S / 0.01)}


def test_a_small_job_is_cut_by_cost() -> None:
    lengths = taper(np.array([1_000_000] * 100 + [9_000_000] * 100), 10)
    # 1,000 s in ten parts: the cheap hundred fill one of them.
    assert lengths[0] >= 90
    assert max(lengths[1:]) <= 20


def test_cheap_rows_first_leave_enough_for_the_other_shards() -> None:
    assert cut([0.0] * 120 + [1.0] * 8, 0, 1) == [8] * 16


@given(st.lists(st.floats(0, 0.1), min_size=8, max_size=300), st.integers(1, 40))
def test_shards_of_a_small_job_keep_eight_rows(seconds: list[float], slots: int) -> None:
    # All of it is less than one shard takes, however unevenly: seconds force no cut.
    uneven = [s * (30 if i % 50 == 0 else 1) for i, s in enumerate(seconds)]
    assert min(cut(uneven, slots, 1)) >= KEEP_ROWS


def test_rows_held_back_are_bounded_and_still_make_enough_shards() -> None:
    cutter = Cutter(1000)
    lengths: list[int] = []
    for rows in range(10_000, 400_001, 10_000):
        lengths += cutter.add(np.full(10_000, 0.001))
        assert rows - sum(lengths) <= 400_000
    lengths += cutter.finish()
    assert len(lengths) >= 2000
    assert sum(lengths) == 400_000


def test_rows_that_take_much_memory_are_held_back_for_less_long() -> None:
    cutter = Cutter(4)
    lengths: list[int] = []
    for rows in range(100, 10_001, 100):
        lengths += cutter.add(np.full(100, 0.001), most=300)
        assert rows - sum(lengths) < 300
    assert lengths[0] == -(-300 // 8), "as if no more came"
    assert max(lengths[:-1]) >= 300, "much came before, but no shard is waited for any longer"
    assert sum(lengths) + sum(cutter.finish()) == 10_000


def test_absurd_lengths_do_not_overflow() -> None:
    assert cut([1e300, 0.5, float("inf"), 0.5], 0, 1) == [1, 1, 1, 1]
