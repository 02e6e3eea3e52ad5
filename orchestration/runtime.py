"""What a worker process does with a delivery: open the job, run the shard, feed the next."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from jobs.models import Model
from jobs.spec import PRIORITIES, StoredJob, load_job, queue_name
from jobs.tempo import Tempo
from orchestration.app import MillApp, make_publisher
from orchestration.board import Board, open_slots
from orchestration.feeder import Fed, Feeder
from storage.dataset import read_footer
from storage.errors import BrokerUnavailable, EngineDead, MediamillError
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
        self._open: dict[str, OpenJob] = {}
        self._lock = threading.Lock()
        #: Delivery tags of what is under way: renewed in Redis while it is.
        self.deliveries: set[str] = set()

    def open_job(self, out: str) -> tuple[OpenJob, Fed]:
        """The job at `out`, read once. Raises NoSuchJob, StoreUnavailable, InvalidJob."""
        with self._lock:
            opened = self._open.get(out)
        if opened is None:
            job = load_job(self._patient(open_store(out)))
            store = self._patient(open_store(out, job.traits))
            opened = OpenJob(self.services, store, job)
            with self._lock:
                opened = self._open.setdefault(out, opened)
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
        with _advice():
            self.board.take(job_id, shard)
        try:
            outcome = opened.run_shard(shard)
        finally:
            with _advice():
                self.board.finish(job_id, shard)
        if outcome in (Outcome.COMMITTED, Outcome.ALREADY):
            with _advice():
                self.feeder.committed(fed, read_footer(opened.store, shard))
        return outcome

    def feed(self) -> None:
        """One round over every job that this process or its board knows."""
        for priority_queue in self.queues:
            for out in self.board.jobs(priority_queue):
                try:
                    self.open_job(out)
                except MediamillError as error:
                    _log.warning("cannot feed %s: %s", out, error, extra={"action": "feed"})
        for fed in self.feeder.known():
            try:
                if not self.feeder.round(fed):
                    self.feeder.forget(fed)
            except MediamillError as error:
                # One job's trouble must not keep the caretaker from the others.
                _log.warning("cannot feed %s: %s", fed.store.uri, error, extra={"action": "feed"})

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
        }
        self.board.beat(self.services.worker, facts, ttl_s=3 * self.tempo.heartbeat_s)

    def _slots_of(self, job: StoredJob) -> int:
        return max(self.slots, open_slots(self.board, job.model))

    def _patient(self, store: Store) -> PatientStore:
        return PatientStore(store, self.tempo.outage_s, self.services.stop)


@contextlib.contextmanager
def _advice() -> Iterator[None]:
    """Redis holds advice alone: a shard that was delivered is worked with or without it."""
    try:
        yield
    except BrokerUnavailable as error:
        _log.warning("%s", error, extra={"action": "redis_away"})
