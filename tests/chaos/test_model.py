"""Any order of several workers' calls to the store, with faults at any of them: one record a row.

Hypothesis chooses who goes on, how far, and what befalls the call that comes next; what has to
hold is looked at after every step, and in the end the job has to come home by itself.
"""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.ledger import Ledger
from jobs.marker import read_marker
from jobs.progress import JobView
from jobs.retries import Retry, generation_of, load_retries, write_retry
from storage.dataset import committed, data_key, read_footer, read_tables
from storage.errors import StoreUnavailable
from tests.chaos.model import Commit, Delivery, Fault, ModelWork, WorkerProcess
from tests.unit.fakes import MemoryStore
from tests.unit.mortal import TEMPO
from tests.unit.scripted import ScriptedEngine, plan_job, services
from workers.outcome import Outcome

SIZES = [2, 1]
ROWS = sum(SIZES)
SHARD = st.integers(0, len(SIZES) - 1)
PLACES = st.sets(st.integers(0, ROWS - 1))
NTH = st.integers(0, 3)
#: Parts of the keys of the protocol's steps.
STEPS = ("/attempts/", "/checkpoints/", "data/", "/done/", ".end.json")
#: Mostly one, at the call that comes next.
FAULT = st.sampled_from((None, "fails", "lost", "dies", "dies_after"))
FAULTS = st.sampled_from(("fails", "lost", "dies", "dies_after"))
#: No delivery of these shards makes so many calls.
_MOST_CALLS = 300


class Model(RuleBasedStateMachine):
    """Three worker processes on one store, of which the first does not wait out outages, and
    the last finds errors where the others find none."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("workers.runner.ShardWork", ModelWork)
        self.store = MemoryStore()
        self.job = plan_job(self.store, [[f"image:{i}"] for i in range(ROWS)], sizes=SIZES)
        self.commits: list[Commit] = []
        self.stack = ExitStack()
        self.workers = [self._worker(f"w{n}", patient=n > 0) for n in range(3)]

    def _worker(self, name: str, *, patient: bool) -> WorkerProcess:
        made = self.stack.enter_context(services(ScriptedEngine(), worker=name, tempo=TEMPO))
        return WorkerProcess(made, self.store, self.job, self.commits, patient=patient)

    def _open(self) -> list[Delivery]:
        return [d for w in self.workers for d in w.deliveries if not d.over]

    def _nth(self, nth: int) -> Delivery:
        found = self._open()
        return found[nth % len(found)]

    @initialize(done=st.booleans())
    def begin(self, done: bool) -> None:
        """Half of the histories begin with a job that is done, since retries need one."""
        if done:
            for shard in range(len(SIZES)):
                self._go(self.workers[1].deliver(shard), _MOST_CALLS)

    @precondition(lambda self: len(self._open()) < 4)
    @rule(who=st.integers(0, 2), shard=SHARD, late=st.booleans())
    def deliver(self, who: int, shard: int, late: bool) -> None:
        """A message, which may be the second or third about the same shard."""
        if late:
            self.store.tick(TEMPO.lease_s)
        self.workers[who].deliver(shard)

    @precondition(lambda self: self._open())
    @rule(nth=NTH, calls=st.sampled_from([1, 2, 4, 8, 60]))
    def go_on(self, nth: int, calls: int) -> None:
        self._go(self._nth(nth), calls)

    @precondition(lambda self: self._open())
    @rule(nth=NTH, step=st.sampled_from(STEPS), fault=FAULT, told=st.booleans())
    def go_to(self, nth: int, step: str, fault: Fault | None, told: bool) -> None:
        """Up to a step of the protocol, and what befalls it there."""
        delivery = self._nth(nth)
        self._go_to(delivery, step)
        self._befall(delivery, fault, told)

    def _go_to(self, delivery: Delivery, step: str) -> None:
        while delivery.before is not None:
            method, key = delivery.before
            if step in key and method.startswith("put"):
                return
            delivery.step()

    @precondition(lambda self: self._open())
    @rule(nth=NTH, calls=st.integers(1, 30), fault=FAULTS, told=st.booleans())
    def go_on_to_a_fault(self, nth: int, calls: int, fault: Fault, told: bool) -> None:
        delivery = self._nth(nth)
        self._go(delivery, calls)
        self._befall(delivery, fault, told)

    @rule(
        who=st.integers(0, 2),
        shard=SHARD,
        calls=st.integers(0, 30),
        fault=FAULT,
        told=st.booleans(),
    )
    def deliver_and_finish(
        self, who: int, shard: int, calls: int, fault: Fault | None, told: bool
    ) -> None:
        """After the leases of all that stand still."""
        self.store.tick(TEMPO.lease_s)
        delivery = self.workers[who].deliver(shard)
        self._go(delivery, calls)
        self._befall(delivery, fault, told)
        self._go(delivery, _MOST_CALLS)
        assert delivery.over

    @precondition(lambda self: len(self._open()) < 3)
    @rule(
        shard=SHARD,
        pair=st.permutations([0, 1, 2]),
        until=st.sampled_from(STEPS) | st.integers(0, 30),
        retried=st.tuples(PLACES, PLACES),
        faults=st.tuples(FAULT, FAULT),
    )
    def compete(
        self,
        shard: int,
        pair: list[int],
        until: str | int,
        retried: tuple[set[int], set[int]],
        faults: tuple[Fault | None, Fault | None],
    ) -> None:
        """One stands still for longer than its lease, a second does the work, the first goes on."""
        first, second = (self.workers[who] for who in pair[:2])
        self.retry(retried[0])
        self.store.tick(TEMPO.lease_s)
        slow = first.deliver(shard)
        if isinstance(until, int):
            self._go(slow, until)
        else:
            self._go_to(slow, until)
        self.retry(retried[1])
        self.store.tick(TEMPO.lease_s)
        quick = second.deliver(shard)
        self._go_to(quick, "data/")
        self._befall(quick, faults[0], told=False)
        self._go(quick, _MOST_CALLS)
        self._befall(slow, faults[1], told=False)
        self._go(slow, _MOST_CALLS)

    def _go(self, delivery: Delivery, calls: int) -> None:
        for _ in range(calls):
            if not delivery.over:
                delivery.step()

    def _befall(self, delivery: Delivery, fault: Fault | None, told: bool) -> None:
        if fault is None or delivery.over:
            return
        delivery.step(fault)
        if fault not in ("dies", "dies_after"):
            return
        for ended in (delivery, *delivery.worker.die()):
            if told and ended.attempt is not None:
                # What the parent of a worker says of its child's end.
                death = {"at": self.store.now(), "rows": [0], "alone": False, "cause": "ended"}
                key = ended.attempt.replace(".json", ".died.json")
                self.store.put_if_absent(key, json.dumps(death).encode())

    @rule(leases=st.sampled_from([0.3, 0.9, 1.0, 50.0]))
    def time_passes(self, leases: float) -> None:
        self.store.tick(leases * TEMPO.lease_s)

    @rule(leases=st.sampled_from([-1000.0, -2.0, 1000.0]))
    def the_clock_jumps(self, leases: float) -> None:
        self.store.tick(leases * TEMPO.lease_s)

    @precondition(lambda self: self.commits)
    @rule(places=PLACES)
    def retry(self, places: set[int]) -> None:
        """Of rows that have a record; a generation for each retry."""
        done = set(committed(self.store))
        rows: dict[int, tuple[int, ...]] = {}
        for shard in done:
            first = sum(SIZES[:shard])
            here = tuple(p for p in range(SIZES[shard]) if first + p in places)
            if here:
                rows[shard] = here
        if rows:
            generation = len(load_retries(self.store)) + 1
            write_retry(self.store, rows, {"prompt": f"p{generation}"})

    @precondition(lambda self: self.commits)
    @rule(nth=st.integers(0, 9))
    def a_marker_vanishes(self, nth: int) -> None:
        markers = [found.key for found in self.store.list("_job/done/")]
        if markers:
            self.store.delete(markers[nth % len(markers)])

    @invariant()
    def a_generation_is_committed_once_and_none_replaces_a_newer(self) -> None:
        for shard in range(len(SIZES)):
            mine = [c for c in self.commits if c.shard == shard]
            generations = [c.footer.generation for c in mine]
            assert generations == sorted(set(generations))
            found = self.store.head(data_key(shard))
            assert (found.etag if found else None) == (mine[-1].etag if mine else None)

    @invariant()
    def a_marker_never_lies(self) -> None:
        for found in self.store.list("_job/done/"):
            _, _, generation, name = found.key.split("/")
            marker = read_marker(name)
            told = (marker.shard, int(generation), marker.ok, marker.error, marker.quarantined)
            assert told in [
                (c.shard, c.footer.generation, c.footer.ok, c.footer.error, c.footer.quarantined)
                for c in self.commits
            ]

    @invariant()
    def a_shard_is_whole_and_its_rows_in_their_place(self) -> None:
        retries = load_retries(self.store)
        for shard, table in zip(committed(self.store), read_tables(self.store), strict=True):
            first = sum(SIZES[:shard])
            footer = read_footer(self.store, shard)
            assert footer is not None
            texts = [
                f"r{first + p} {_prompt(retries, shard, p, footer.generation)}"
                for p in range(SIZES[shard])
            ]
            assert table.column("text").to_pylist() == texts
            assert table.column("row_id").to_pylist() == [text.split()[0] for text in texts]

    @invariant()
    def what_is_acknowledged_as_done_is_done(self) -> None:
        for worker in self.workers:
            for delivery in [d for d in worker.deliveries if d.over]:
                assert delivery.error is None or isinstance(delivery.error, StoreUnavailable)
                if delivery.outcome in (Outcome.COMMITTED, Outcome.ALREADY):
                    footer = read_footer(self.store, delivery.shard)
                    assert footer is not None
                    assert footer.generation >= delivery.generation
                worker.deliveries.remove(delivery)

    def teardown(self) -> None:
        try:
            self._bring_home()
        finally:
            for worker in self.workers:
                worker.die()
            self.stack.close()
            self.patch.undo()

    def _bring_home(self) -> None:
        """Without faults: what is open goes on in turn, then what is due is delivered."""
        for _ in range(_MOST_CALLS):
            for delivery in self._open():
                delivery.step()
        assert self._open() == []
        for _ in range(4):
            view = JobView(self.store, self.job, TEMPO)
            view.refresh()
            due = list(view.due())
            if not due:
                break
            self.store.tick(TEMPO.lease_s)
            for shard in due:
                self._go(self.workers[1].deliver(shard), _MOST_CALLS)
        self._check_the_end()

    def _check_the_end(self) -> None:
        self.a_generation_is_committed_once_and_none_replaces_a_newer()
        self.a_marker_never_lies()
        self.a_shard_is_whole_and_its_rows_in_their_place()
        self.what_is_acknowledged_as_done_is_done()
        view = JobView(self.store, self.job, TEMPO)
        view.refresh()
        status = view.status()
        tables = list(read_tables(self.store))
        ids = [i for table in tables for i in table.column("row_id").to_pylist()]
        assert ids == [f"r{n}" for n in range(ROWS)]
        ok = sum(t.column("status").to_pylist().count("ok") for t in tables)
        assert (status.state, status.rows["remaining"]) == ("done", 0)
        assert (status.rows["ok"], status.rows["error"]) == (ok, ROWS - ok)
        retries = load_retries(self.store)
        for shard in range(len(SIZES)):
            footer = read_footer(self.store, shard)
            assert footer is not None
            assert footer.generation == generation_of(shard, retries)


def _prompt(retries: list[Retry], shard: int, place: int, generation: int) -> str:
    naming = [r for r in retries if r.generation <= generation and place in r.rows.get(shard, ())]
    return str(naming[-1].options["prompt"]) if naming else "p0"


@pytest.mark.parametrize("leases", [-1000.0, 1000.0])
def test_a_clock_that_jumps_holds_no_shard_up(leases: float) -> None:
    """What a dead attempt wrote in the future would be its sign of life until then."""
    store = MemoryStore()
    ledger = Ledger(store, TEMPO)
    dead = ledger.claim(0, 0, 0, "w")
    assert dead is not None
    dead.checkpoint([])
    store.tick(leases * TEMPO.lease_s)
    assert not ledger.look(0, 0).live
    assert ledger.live(ledger.heartbeats([0]), store.now()) == {}
    second = ledger.claim(0, 0, ledger.look(0, 0).next, "w")
    assert second is not None
    assert ledger.look(0, 0).live


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def explore(examples: int, steps: int, *, seeded: bool) -> None:
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=seeded,
            suppress_health_check=QUIET,
        ),
    )


def test_random_orders() -> None:
    explore(40, 25, seeded=True)


@pytest.mark.full
def test_many_random_orders() -> None:
    explore(300, 40, seeded=False)
