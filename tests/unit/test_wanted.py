"""What is wanted of a job: one look serves every open shard of a worker."""

from __future__ import annotations

import pytest

from jobs.control import CONTROL_KEY, write_control
from tests.unit.fakes import MemoryStore
from tests.unit.mortal import images, worker
from tests.unit.scripted import plan_job
from workers.outcome import Outcome
from workers.wanted import Wanted


def test_a_look_is_due_once_in_its_time_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("workers.wanted.time.monotonic", lambda: clock[0])
    store = MemoryStore()
    wanted = Wanted(store, 5.0)
    assert [wanted.due() for _ in range(8)] == [True] + [False] * 7, "eight open shards"
    write_control(store, "pause")
    assert wanted.goes_on, "not looked at yet"
    clock[0] += 5
    assert wanted.due()
    assert not wanted.look()
    assert not wanted.goes_on
    # What begins a shard looks in any case, and others need not for a while.
    clock[0] += 4
    write_control(store, "run")
    assert wanted.look()
    clock[0] += 4
    assert not wanted.due()
    clock[0] += 1
    assert wanted.due()


def test_a_shard_begun_by_a_job_that_goes_on_again_is_not_held_to_an_old_look() -> None:
    store = MemoryStore()
    job = plan_job(store, images(1))
    with worker(store, job) as w:
        write_control(store, "pause")
        assert w.run(0) is Outcome.HALTED
        store.delete(CONTROL_KEY)
        assert w.run(0) is Outcome.COMMITTED
