"""One record for every row, whatever happens: random histories of workers on one store.

Workers claim, save, die at any call to the store (also between commit and marker), are
delivered a shard twice or while another is at it, and lose leases; boards are wiped, jobs
are paused, rows retried. What a reader sees is checked after each step, and in the end
the feeder alone has to bring the job home.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from jobs.control import write_control
from jobs.ledger import Ledger
from jobs.progress import JobView
from jobs.retries import generation_of, load_retries, rows_to_redo
from jobs.selection import Selection, add_retry
from jobs.spec import StoredJob
from orchestration.feeder import Feeder
from orchestration.local_board import LocalBoard
from storage.dataset import committed, read_footer, read_shard, read_tables
from storage.errors import RowError
from tests.unit.fakes import MemoryStore
from tests.unit.mortal import TEMPO, Worker, worker
from tests.unit.scripted import ScriptedEngine, completion, plan_job
from workers.engine import Request
from workers.outcome import Outcome

SIZES = [3, 2, 2]
SHARD = st.integers(0, len(SIZES) - 1)
#: A delivery makes about 25 calls to the store, each seen before and after.
CALL = st.integers(0, 60)


class Protocol(RuleBasedStateMachine):
    """Two workers on one store, and everything that may come between them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        # Each finished row goes into a checkpoint of its own.
        self.patch.setattr("workers.shard_work._CHECKPOINT_ROWS", 1)
        self.store = MemoryStore()
        rows = [[f"image:{i}"] for i in range(sum(SIZES))]
        self.job = plan_job(self.store, rows, sizes=SIZES, options={"prompt": "p0"})
        self.stack = ExitStack()
        self.failing: set[int] = set()
        self.queue: list[int] = []
        self.seen: dict[str, Any] = {}
        self.workers = [self._worker(name) for name in ("w1", "w2")]

    def _worker(self, name: str) -> Worker:
        engine = ScriptedEngine()
        made = self.stack.enter_context(worker(self.store, self.job, engine, name))

        def answer(request: Request) -> Any:
            shard, place = map(int, request.id.split("/")[1:3])
            if (row := sum(SIZES[:shard]) + place) in self.failing:
                return RowError("engine", "not today")
            if place == SIZES[shard] - 1:
                # The last row waits until the others had time to be saved.
                return engine.hold(request)
            return f"r{row} {request.prompt.text}"

        engine.answer = answer
        return made

    def _release(self, held_by: Worker) -> None:
        held, held_by.engine.held = held_by.engine.held, []
        for request, future in held:
            shard, place = map(int, request.id.split("/")[1:3])
            text = f"r{sum(SIZES[:shard]) + place} {request.prompt.text}"
            if not future.done():
                future.set_result(completion(request, text))

    def _deliver(self, by: Worker, shard: int, at: int | None, act: Any) -> Outcome | None:
        """A delivery; `act` comes at call `at`. What was saved before is not asked again."""
        retries = load_retries(self.store)
        generation = generation_of(shard, retries)
        footer = read_footer(self.store, shard)
        saved = set(Ledger(self.store, TEMPO).progress(shard, generation).records)
        by.engine.asked.clear()
        by.engine.held.clear()
        calls = iter(range(10**6))

        def watch(when: str, method: str, key: str) -> None:
            if next(calls) == at:
                act()
            # The second checkpoint of an attempt, and every later one.
            if when == "after" and "/checkpoints/" in key and not key.endswith("-000000.parquet"):
                self._release(by)

        by.watch = watch
        outcome = by.run(shard)
        again = saved & {int(r.id.split("/")[2]) for r in by.engine.asked}
        # But a retry that came meanwhile redoes them; and whoever came second, once a lease had
        # run out, may find that the first has committed and removed what was saved.
        redone = generation_of(shard, load_retries(self.store)) != generation
        if not redone and outcome is not Outcome.ALREADY:
            assert not again, f"rows {again} of shard {shard} were saved, and are asked again"
        if footer is not None and outcome is Outcome.COMMITTED:
            redo = rows_to_redo(shard, footer.generation, load_retries(self.store))
            assert {int(r.id.split("/")[2]) for r in by.engine.asked} <= set(redo)
        return outcome

    @rule(who=st.integers(0, 1), shard=SHARD)
    def deliver(self, who: int, shard: int) -> None:
        self._deliver(self.workers[who], shard, None, None)

    @rule(who=st.integers(0, 1), shard=SHARD, at=CALL)
    def deliver_and_die(self, who: int, shard: int, at: int) -> None:
        by = self.workers[who]
        self._deliver(by, shard, at, by.die)

    @rule(shard=SHARD, at=CALL, lost=st.booleans(), dies_at=st.none() | CALL)
    def deliver_to_both(self, shard: int, at: int, lost: bool, dies_at: int | None) -> None:
        first, second = self.workers

        def inner() -> None:
            if lost:
                self.store.tick(TEMPO.lease_s)
            self._deliver(second, shard, dies_at, second.die)

        self._deliver(first, shard, at, inner)

    @rule(shard=SHARD, at=CALL, what=st.sampled_from(["pause", "cancel", "stop", "retry"]))
    def deliver_and_interfere(self, shard: int, at: int, what: Any) -> None:
        by = self.workers[0]
        acts = {"stop": by.services.stop.set, "retry": lambda: self.retry([])}
        self._deliver(by, shard, at, acts.get(what, lambda: write_control(self.store, what)))
        if what in ("pause", "cancel"):
            write_control(self.store, "run")

    @rule(seconds=st.sampled_from([0.3, 0.9, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.store.tick(seconds * TEMPO.lease_s)

    @rule(rows=st.sets(st.integers(0, sum(SIZES) - 1), max_size=4))
    def rows_fail(self, rows: set[int]) -> None:
        self.failing = rows

    @rule(kinds=st.sampled_from([[], ["engine"]]))
    def retry(self, kinds: list[str]) -> None:
        generation = len(load_retries(self.store)) + 1
        options = {"prompt": f"p{generation}"}
        add_retry(JobView(self.store, self.job, TEMPO), Selection(kinds=tuple(kinds)), options)

    @rule(nth=st.integers(0, 20))
    def a_marker_vanishes(self, nth: int) -> None:
        markers = [found.key for found in self.store.list("_job/done/")]
        if markers:
            self.store.delete(markers[nth % len(markers)])

    @invariant()
    def a_reader_sees_each_row_at_most_once(self) -> None:
        retries = load_retries(self.store)
        seen: dict[str, Any] = {}
        for shard, table in zip(committed(self.store), read_tables(self.store), strict=True):
            first = sum(SIZES[:shard])
            expected = [f"r{first + i}" for i in range(SIZES[shard])]
            assert table.column("row_id").to_pylist() == expected, "whole, and in its place"
            named = {p for retry in retries for p in retry.rows.get(shard, ())}
            for place, row in enumerate(table.to_pylist()):
                assert row["row_id"] not in seen
                seen[row["row_id"]] = row
                if row["status"] == "ok":
                    assert row["text"].split()[0] == row["row_id"]
                if place not in named and row["row_id"] in self.seen:
                    assert row == self.seen[row["row_id"]], "no retry named it, and it changed"
        assert seen.keys() >= self.seen.keys(), "what was committed stays"
        self.seen = seen

    def teardown(self) -> None:
        try:
            self._bring_home()
            self._check_the_end()
        finally:
            self.stack.close()
            self.patch.undo()

    def _bring_home(self) -> None:
        """Rounds of feeders that know nothing, each on a wiped board, until nothing is due."""
        self.failing = set()
        for _ in range(4):
            queue: list[int] = []

            def publish(job: StoredJob, shard: int, queue: list[int] = queue) -> None:
                queue.append(shard)

            feeder = Feeder(LocalBoard(), publish, lambda job: 1, TEMPO)
            if not feeder.round(feeder.know(self.store, self.job)):
                return
            assert len(queue) == len(set(queue))
            for at, shard in enumerate(queue):
                self._deliver(self.workers[at % 2], shard, None, None)
            self.store.tick(TEMPO.lease_s)
        raise AssertionError("shards stay due")

    def _check_the_end(self) -> None:
        self.a_reader_sees_each_row_at_most_once()
        assert len(self.seen) == sum(SIZES)
        view = JobView(self.store, self.job, TEMPO)
        view.refresh()
        status = view.status()
        assert (status.state, status.rows["remaining"]) == ("done", 0)
        counts = [row["status"] for row in self.seen.values()]
        assert status.rows["ok"] == counts.count("ok")
        assert status.rows["error"] == counts.count("error")
        retries = load_retries(self.store)
        for shard in range(len(SIZES)):
            table, footer, _ = read_shard(self.store, shard)
            assert footer.generation == generation_of(shard, retries)
            for place, row in enumerate(table.to_pylist()):
                naming = [r for r in retries if place in r.rows.get(shard, ())]
                prompt = naming[-1].options["prompt"] if naming else "p0"
                if row["status"] == "ok":
                    assert row["text"] == f"{row['row_id']} {prompt}"


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def test_random_histories() -> None:
    few = settings(
        max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=QUIET
    )
    run_state_machine_as_test(Protocol, settings=few)


@pytest.mark.full
def test_many_random_histories() -> None:
    many = settings(
        max_examples=300, stateful_step_count=30, deadline=None, suppress_health_check=QUIET
    )
    run_state_machine_as_test(Protocol, settings=many)
