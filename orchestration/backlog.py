"""What waits, is under way and is done of every job on the board: for scaling and for alerts.

Only reads: Redis by a handful of calls a look, storage by what `status` reads of a job.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from jobs.progress import JobView, State, Status
from jobs.retries import rows_to_redo
from jobs.side_by_side import side_by_side
from jobs.spec import StoredJob, load_job
from jobs.tempo import Tempo
from storage.dataset import Footer
from storage.errors import BrokerUnavailable, MediamillError, NoSuchJob
from storage.objects import Store, open_store

_log = logging.getLogger(__name__)

STATES: tuple[State, ...] = get_args(State)


class Watched(Protocol):
    """The part of a board that is looked at."""

    def queues(self) -> set[str]:
        """Queues that have jobs."""
        ...

    def jobs(self, queue: str) -> set[str]:
        """See Board."""
        ...

    def length(self, queue: str) -> int:
        """See Board."""
        ...

    def workers(self) -> list[dict[str, Any]]:
        """See Board."""
        ...


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and what its name says (see `jobs.spec.queue_name`)."""

    name: str
    model: str
    revision: str
    priority: str

    @classmethod
    def named(cls, name: str) -> Queue:
        """The queue of this name."""
        served, _, rank = name.removeprefix("mediamill.").rpartition(".")
        model, _, revision = served.rpartition("@")
        return cls(name, model, revision, rank.partition("-")[2])


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job as it was last read.

    Tokens are estimated (see `outstanding_tokens`), and 0 unless workers are to have them.
    `rows` by status and `shards` by state add up to all there are; `due_rows` are those
    without a record and those that a retry redoes. `committed_at` is by the store's clock.
    """

    queue: Queue
    job_id: str
    out: str
    state: State
    waiting_tokens: int
    running_tokens: int
    rows: Mapping[str, int]
    due_rows: int
    shards: Mapping[str, int]
    committed_at: float | None


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """Messages that wait in a queue, its jobs, and how many of them could not be read."""

    queue: Queue
    messages: int
    jobs: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Look:
    """Everything one look found. `workers` are their last beats, `at` is monotonic."""

    queues: list[QueueFacts]
    jobs: list[JobFacts]
    workers: list[dict[str, Any]]
    at: float


class _ReadOnlyView(JobView):
    """A view that leaves the mending of lost markers, and the reads it takes, to workers."""

    def mend(self, shard: int) -> Footer | None:
        """Nothing is looked at or written."""
        return None


@dataclass(slots=True)
class _Known:
    store: Store
    job: StoredJob
    view: JobView
    facts: JobFacts | None = None


class Watch:
    """Looks at a board and its jobs again and again; `latest` is what it last found.

    `latest` may be read from other threads. It is None before the first look, and while
    Redis does not answer.
    """

    def __init__(self, board: Watched, tempo: Tempo) -> None:
        self._board = board
        self._tempo = tempo
        self._known: dict[str, _Known] = {}
        self.latest: Look | None = None

    def run(self, stop: threading.Event) -> None:
        """Look twice a round of the feeder until `stop`; looks do not wait for readers."""
        while not stop.wait(self._tempo.feed_s / 2):
            self.try_look()

    def try_look(self) -> str | None:
        """Look, and say why not if Redis does not answer."""
        try:
            self.latest = self.look()
        except BrokerUnavailable as error:
            self.latest = None
            _log.warning("%s", error, extra={"action": "redis_away"})
            return str(error)
        return None

    def look(self) -> Look:
        """Read the board, then each of its jobs. Raises BrokerUnavailable."""
        listed = {name: self._board.jobs(name) for name in sorted(self._board.queues())}
        lengths = {name: self._board.length(name) for name in listed}
        workers = self._board.workers()
        # A place that was used again may be listed in two queues; its job is in one.
        outs = sorted(set().union(*listed.values()))
        for gone in self._known.keys() - set(outs):
            del self._known[gone]
        fresh = dict(zip(outs, side_by_side(self._read, outs), strict=True))
        facts = {out: known.facts for out, known in self._known.items() if known.facts is not None}
        queues = []
        for name, places in listed.items():
            own = [out for out in places if out not in facts or facts[out].queue.name == name]
            unreadable = sum(not fresh[out] for out in own)
            queues.append(QueueFacts(Queue.named(name), lengths[name], len(own), unreadable))
        return Look(queues, [facts[out] for out in sorted(facts)], workers, time.monotonic())

    def _read(self, out: str) -> bool:
        """Read a job anew; False, and what was known of it stays, if its place does not answer."""
        try:
            known = self._open(out)
            known.view.refresh()
            known.facts = _facts(out, known.view)
        except MediamillError as error:
            _log.warning("cannot read %s: %s", out, error, extra={"action": "look", "out": out})
            if isinstance(error, NoSuchJob):
                self._known.pop(out, None)
            return False
        return True

    def _open(self, out: str) -> _Known:
        known = self._known.get(out)
        store = known.store if known is not None else open_store(out)
        # Places are emptied and used again, so the spec is read each time.
        job = load_job(store)
        if known is None or known.job != job:
            store = open_store(out, job.traits)
            known = self._known[out] = _Known(store, job, _ReadOnlyView(store, job, self._tempo))
        return known


def outstanding_tokens(view: JobView, given_up: Mapping[int, str]) -> float:
    """Tokens that workers have still to do, from the plan's estimate of the whole job.

    Shards are cut to equal cost, so a shard without a commit counts for its share of the
    shards, also where it is half done; one that a retry redoes counts for the share that
    its rows to redo have of all rows. Shards that were given up count for nothing.
    """
    plan = view.job.plan

    def share(shard: int) -> float:
        done = view.done.get(shard)
        if done is None:
            return 1 / plan.shards
        return len(rows_to_redo(shard, done.generation, view.retries)) / plan.rows

    redone = {shard for retry in view.retries for shard in retry.rows} & view.done.keys()
    due = (plan.shards - len(view.done)) / plan.shards + sum(map(share, redone))
    return plan.tokens * max(0.0, due - sum(map(share, given_up)))


def _facts(out: str, view: JobView) -> JobFacts:
    status: Status = view.status()
    given_up = sum(not view.is_done(shard) for shard in status.given_up)
    workable = status.shards["due"] - given_up
    # A shard that was just given up may still show a young checkpoint.
    live = min(status.shards["live"], workable)
    wanted = status.state in ("planned", "running")
    tokens = round(outstanding_tokens(view, status.given_up)) if wanted else 0
    running = round(tokens * live / workable) if workable else 0
    return JobFacts(
        queue=Queue.named(view.job.queue),
        job_id=status.job_id,
        out=out,
        state=status.state,
        waiting_tokens=tokens - running,
        running_tokens=running,
        rows={name: status.rows[name] for name in ("ok", "error", "quarantined", "remaining")},
        due_rows=status.rows["due"],
        shards={
            "done": status.shards["done"],
            "running": live,
            "waiting": workable - live,
            "given_up": given_up,
        },
        committed_at=max((done.at for done in view.done.values()), default=None),
    )
