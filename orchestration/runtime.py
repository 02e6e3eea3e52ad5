"""What a worker process does with a delivery: open the job, run the shard, feed the next."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from jobs.models import Model
from jobs.spec import PRIORITIES, SPEC_KEY, StoredJob, load_job, queue_name
from jobs.tempo import Tempo
from orchestration.app import MillApp, make_publisher
from orchestration.board import Board, Crew, crew
from orchestration.feeder import Fed, Feeder
from storage.dataset import Footer
from storage.errors import BrokerUnavailable, EngineDead, MediamillError, NoSuchJob
from storage.objects import Store, open_store
from storage.patience import PatientStore
from workers.outcome import Outcome
from workers.runner import OpenJob
from workers.services import Services

_log = logging.getLogger(__name__)


class Runtime:
    """Serves one model with one set of services. Its methods are called from many threads.

    `dead` is called when the engine has died: the process is to end.
    """

    def __init__(
        self,
        app: MillApp,
        board: Board,
        services: Services,
        model: Model,
        tempo: Tempo,
        *,
        slots: int,
        dead: Callable[[BaseException], None],
    ) -> None:
        self.app = app
        self.board = board
        self.services = services
        self.model = model
        self.tempo = tempo
        self.slots = slots
        self.dead = dead
        self.feeder = Feeder(board, make_publisher(app), self._slots_of, tempo)
        #: Open jobs by place, each with the tag of the spec it was read from.
        self._open: dict[str, tuple[OpenJob, str]] = {}
        self._lock = threading.Lock()
        #: Delivery tags of what is under way: renewed in Redis while it is.
        self.deliveries: set[str] = set()
        #: Who serves a model, as counted not long ago, and until when that holds.
        self._counted: dict[str, tuple[Crew, float]] = {}

    def open_job(self, out: str) -> tuple[OpenJob, Fed]:
        """The job that lies at `out` now, read again only if another was put there.

        Raises NoSuchJob, StoreUnavailable, InvalidJob.
        """
        with self._lock:
            known = self._open.get(out)
        opened, tag = known or (None, "")
        store = opened.store if opened is not None else self._patient(open_store(out))
        # Places are emptied and used again while workers live; a spec itself never changes.
        found = store.head(SPEC_KEY)
        if opened is None or found is None or found.etag != tag:
            job = load_job(store)
            store = self._patient(open_store(out, job.traits))
            opened = OpenJob(self.services, store, job)
            with self._lock:
                if self._open.get(out) in (None, known):
                    self._open[out] = (opened, found.etag if found is not None else "")
                opened = self._open[out][0]
        return opened, self.feeder.know(opened.store, opened.job)

    def deliver(self, out: str, shard: int, tag: str) -> Outcome:
        """Run one delivery of a shard. Never raises for what another delivery may mend."""
        if self.services.stop.is_set():
            return Outcome.STOPPED
        self.deliveries.add(tag)
        try:
            opened, fed = self.open_job(out)
            if opened.job.model.key != self.model.key:
                _log.warning(
                    "shard of another model left alone",
                    extra={"action": "wrong_model", "job": opened.job.job_id},
                )
                return Outcome.BUSY
            if shard >= opened.job.plan.shards:
                # Of another job in this place, or nobody's: nothing of it may be written.
                _log.warning(
                    "no shard %d in a plan of %d",
                    shard,
                    opened.job.plan.shards,
                    extra={"action": "no_such_shard", "job": opened.job.job_id},
                )
                return Outcome.BUSY
            return self._run(opened, fed, shard)
        except EngineDead as error:
            self.dead(error)
            return Outcome.STOPPED
        except MediamillError as error:
            # The attempt's end says why; the feeder brings the shard back, or gives it up.
            _log.error(
                "shard %d of %s not done: %s",
                shard,
                out,
                error,
                extra={"action": "shard_failed", "shard": shard, "out": out},
            )
            return Outcome.STOPPED if self.services.stop.is_set() else Outcome.BUSY
        finally:
            self.deliveries.discard(tag)

    def _run(self, opened: OpenJob, fed: Fed, shard: int) -> Outcome:
        job_id = opened.job.job_id
        footers: list[Footer] = []
        with advice():
            self.board.take(job_id, shard)
        try:
            outcome = opened.run_shard(shard, footers.append)
        finally:
            with advice():
                self.board.finish(job_id, shard)
        for footer in footers:
            with advice():
                self.feeder.committed(fed, footer, opened.known_retries)
        return outcome

    def feed(self) -> None:
        """One round over every job that this process or its board knows."""
        for out in {fed.store.uri for fed in self.feeder.known()} | self._posted():
            with _one_job(out):
                try:
                    fed = self.open_job(out)[1]
                    if not self.feeder.round_in_turn(fed):
                        self._forget(out)
                except NoSuchJob:
                    self._forget(out)

    def _posted(self) -> set[str]:
        return {out for queue in self.queues for out in self.board.jobs(queue)}

    def _forget(self, out: str) -> None:
        """Nothing of the job at `out` is due, or it is gone."""
        with self._lock:
            self._open.pop(out, None)
        for fed in self.feeder.known():
            if fed.store.uri == out:
                self.feeder.forget(fed)
        for queue in self.queues:
            self.board.drop_job(queue, out)

    @property
    def queues(self) -> list[str]:
        """The queues this worker serves: its model's, one a priority."""
        return [queue_name(self.model, priority) for priority in PRIORITIES]

    def beat(self) -> None:
        """Say on the board that this worker lives."""
        counters = self.services.counters
        facts = {
            "worker": self.services.worker,
            "model": self.model.key,
            "slots": self.slots,
            "rows": counters.rows,
            "failed": counters.failed,
            "prompt_tokens": counters.prompt_tokens,
            "output_tokens": counters.output_tokens,
            "refused": self.app.refused,
        }
        self.board.beat(self.services.worker, facts, ttl_s=3 * self.tempo.heartbeat_s)

    def waiting(self) -> int:
        """Shards that wait in this worker's queues for one that has no rows for its engines.

        The last of all jobs are not for it: taken by one of several, they would keep it busy
        when the others have nothing more to do.
        """
        more_to_come = False
        for fed in self.feeder.known():
            with _one_job(fed.store.uri):
                more_to_come |= self.feeder.feed_on(fed)
        if self.neighbours > 1 and not more_to_come:
            return 0
        return self.board.length(*self.queues)

    @property
    def neighbours(self) -> int:
        """Workers that serve this model, this one too."""
        return max(1, self._crew(self.model).workers)

    def _slots_of(self, job: StoredJob) -> int:
        return max(self.slots, self._crew(job.model).slots)

    def _crew(self, model: Model) -> Crew:
        """Asked at each commit; counting reads what every worker last said."""
        found, until = self._counted.get(model.key, (Crew(0, 0), 0.0))
        if time.monotonic() >= until:
            found = crew(self.board, model)
            self._counted[model.key] = found, time.monotonic() + self.tempo.heartbeat_s
        return found

    def _patient(self, store: Store) -> PatientStore:
        return PatientStore(store, self.tempo.outage_s, self.services.stop)


@contextlib.contextmanager
def _one_job(out: str) -> Iterator[None]:
    """One job's trouble must not keep the caretaker from the others."""
    try:
        yield
    except Exception as error:
        _log.warning(
            "cannot feed %s: %s",
            out,
            error,
            exc_info=None if isinstance(error, MediamillError) else error,
            extra={"action": "feed"},
        )


@contextlib.contextmanager
def advice() -> Iterator[None]:
    """Redis holds advice alone: a shard that was delivered is worked with or without it."""
    try:
        yield
    except BrokerUnavailable as error:
        _log.warning("%s", error, extra={"action": "redis_away"})
