"""Rows that take their worker down: each is found, alone, and no other is condemned with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.ledger import Ledger
from jobs.witness import LONE_LOSSES, VANISHED, Verdict, judge, name_suspect, write_death
from storage.dataset import read_shard
from storage.errors import EngineDead
from tests.unit.fakes import MemoryStore
from tests.unit.mortal import TEMPO, Worker, images, place, tell, worker
from tests.unit.scripted import plan_job
from workers.engine import Request
from workers.in_hand import InHand, left_in
from workers.outcome import Outcome


def machine_gone(w: Worker) -> None:
    """Nothing outlived: no word of the rows in hand, and the lease runs out."""
    for path in w.services.in_hand.folder.iterdir():
        path.unlink()
    w.store.tick(TEMPO.lease_s)


def until_committed(
    w: Worker, kills: Callable[[int], bool], after: Callable[[Worker], object], shard: int = 0
) -> Counter[int]:
    """Deliver the shard until it is committed; how often each row was asked about."""
    started: Counter[int] = Counter()

    def answer(request: Request) -> str | EngineDead:
        row = place(request)
        started[row] += 1
        if kills(row):
            w.engine.die()
            return EngineDead("out of memory")
        return f"a{row}"

    w.engine.answer = answer
    for _ in range(60):
        try:
            assert w.run(shard) is Outcome.COMMITTED
        except EngineDead:
            after(w)
            w.engine.dead = False
        else:
            return started
    raise AssertionError("the shard does not end")


def statuses(store: MemoryStore, shard: int = 0) -> list[str]:
    return list(read_shard(store, shard)[0].column("status").to_pylist())


@pytest.mark.parametrize("killers", [{3}, {0}, {2, 5}, {0, 1, 7}])
def test_rows_that_kill_are_quarantined_and_no_others(killers: set[int]) -> None:
    store = MemoryStore()
    job = plan_job(store, images(8))
    with worker(store, job) as w:
        started = until_committed(
            w, lambda row: row in killers, lambda w: tell(w, "was killed by SIGSEGV")
        )
    assert statuses(store) == ["quarantined" if row in killers else "ok" for row in range(8)]
    assert max(started[row] for row in killers) <= 3
    table, footer, _ = read_shard(store, 0)
    assert (footer.ok, footer.error, footer.quarantined) == (8 - len(killers), 0, len(killers))
    error = table.column("error").to_pylist()[min(killers)]
    assert error["kind"] == "quarantined"
    assert "was killed by SIGSEGV" in error["message"]
    assert not error["retryable"]


def test_a_row_that_takes_its_machine_is_quarantined_too() -> None:
    store = MemoryStore()
    with worker(store, plan_job(store, images(6))) as w:
        started = until_committed(w, lambda row: row == 4, machine_gone)
    assert statuses(store) == ["ok"] * 4 + ["quarantined"] + ["ok"]
    assert started[4] <= VANISHED + LONE_LOSSES


def test_twenty_machines_taken_away_condemn_nobody() -> None:
    store = MemoryStore()
    taken = iter(range(20))
    with worker(store, plan_job(store, images(8))) as w:
        until_committed(w, lambda row: next(taken, None) is not None, machine_gone)
    assert statuses(store) == ["ok"] * 8
    assert next(taken, None) is None


def test_a_neighbour_in_another_shard_is_not_alone() -> None:
    """Two shards open, one row each in hand: neither is alone, whichever did it."""
    store = MemoryStore()
    job = plan_job(store, images(2), sizes=[1, 1])
    with worker(store, job) as w:
        other = Ledger(store, TEMPO).claim(1, 0, 0, "w1")
        assert other is not None
        hand = w.services.in_hand.open(store.uri, other, 1)
        hand.take(0)
        w.engine.answer = lambda r: EngineDead("gone")
        with pytest.raises(EngineDead):
            w.run(0)
        assert [(left.shard, left.rows, left.alone) for left in tell(w, "ended")] == [
            (1, (0,), False),
            (0, (0,), False),
        ]
    assert judge(store, 0, 0, 1, [0]) == Verdict(suspects=(0,))


def test_a_retry_of_a_quarantined_row_begins_anew() -> None:
    store = MemoryStore()
    plan_job(store, images(1))
    for number in range(3):
        write_death(store, 0, 0, number, rows=[0], alone=True, cause="ended")
        assert (0 in judge(store, 0, 0, number + 1, [0]).condemned) is (number == 2)
    assert judge(store, 1, 0, 3, [0]) == Verdict()


def test_an_end_that_was_asked_for_is_no_loss() -> None:
    store = MemoryStore()
    ledger = Ledger(store, TEMPO)
    for number in range(9):
        attempt = ledger.claim(0, 0, number, "w1")
        assert attempt is not None
        name_suspect(attempt, 0)
        attempt.end()
    assert judge(store, 0, 0, 9, [0, 1]) == Verdict()


def test_a_suspect_with_a_record_is_nobody_s_fault() -> None:
    store = MemoryStore()
    attempt = Ledger(store, TEMPO).claim(0, 0, 0, "w1")
    assert attempt is not None
    name_suspect(attempt, 3)
    assert judge(store, 0, 0, 1, [4, 5]) == Verdict()
    assert judge(store, 0, 0, 1, [3, 4]) == Verdict(suspects=(3,))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    killers=st.sets(st.integers(0, 8), max_size=3),
    bystanders=st.lists(st.sampled_from(["dies", "vanishes", "lives"]), max_size=6),
)
def test_whatever_comes_between(rows: int, killers: set[int], bystanders: list[str]) -> None:
    """Deaths told and untold in any order: every row has a record, and killers alone are out.

    Deaths that no row caused come first, each at another row's request.
    """
    killers = {row for row in killers if row < rows}
    fates = iter(bystanders)
    told: list[str] = []

    def kills(row: int) -> bool:
        fate = next(fates, "own")
        told.append("vanishes" if fate == "vanishes" else "dies")
        return row in killers or fate in ("dies", "vanishes")

    store = MemoryStore()
    with worker(store, plan_job(store, images(rows))) as w:
        until_committed(
            w,
            kills,
            lambda w: machine_gone(w) if told[-1] == "vanishes" else tell(w, "ended"),
        )
    found = statuses(store)
    assert len(found) == rows
    assert all(found[row] == "quarantined" for row in killers)
    # One that was alone at deaths of others' making, and at enough of them, looks like a killer.
    innocent = [row for row in range(rows) if row not in killers and found[row] != "ok"]
    assert len(innocent) <= len([fate for fate in bystanders if fate != "lives"]) // 2


def test_files_of_a_process_that_was_killed_are_true(tmp_path: Path) -> None:

    store = MemoryStore()
    attempt = Ledger(store, TEMPO).claim(5, 2, 0, "w1")
    assert attempt is not None
    hands = InHand(tmp_path)
    first, second = (hands.open("s3://b/out", attempt, 100) for _ in range(2))
    first.take(7)
    first.take(99)
    first.drop(7)
    [left, nothing] = left_in(tmp_path)
    assert (left.out, left.shard, left.generation, left.attempt) == ("s3://b/out", 5, 2, 0)
    assert (left.rows, left.alone, nothing.rows) == ((99,), True, ())
    second.take(0)
    assert [left.alone for left in left_in(tmp_path)] == [False, False]
    first.close()
    second.close()
    assert left_in(tmp_path) == []
