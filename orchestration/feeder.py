"""Keeps a small window of a job in the queue; brings back every shard that got lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jobs.control import read_control
from jobs.progress import Done, JobView
from jobs.spec import StoredJob
from jobs.summary import write_summary
from jobs.tempo import Tempo
from orchestration.board import Board
from storage.dataset import Footer
from storage.objects import Store

#: Fewest shards that a job has in the queue, while it has so many to do.
MIN_WINDOW = 16


@dataclass(slots=True)
class Fed:
    """A job as this process feeds it. `next` is the first shard never enqueued from here."""

    store: Store
    job: StoredJob
    view: JobView
    next: int = 0
    round_at: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


class Feeder:
    """Feeds jobs into their queues. Thread-safe.

    `publish` sends one message; `slots` says how many open shards the live workers of a
    queue have.
    """

    def __init__(
        self,
        board: Board,
        publish: Callable[[StoredJob, int], None],
        slots: Callable[[StoredJob], int],
        tempo: Tempo,
    ) -> None:
        self._board = board
        self._publish = publish
        self._slots = slots
        self._tempo = tempo
        self._jobs: dict[str, Fed] = {}
        self._lock = threading.Lock()

    def know(self, store: Store, job: StoredJob) -> Fed:
        """Take charge of a job; the same object for the same place every time."""
        with self._lock:
            fed = self._jobs.get(store.uri)
            # Not by the id alone: the same job may be submitted again, with another plan.
            if fed is None or fed.job != job:
                fed = Fed(store, job, JobView(store, job, self._tempo))
                self._jobs[store.uri] = fed
        return fed

    def known(self) -> list[Fed]:
        """Every job in charge."""
        with self._lock:
            return list(self._jobs.values())

    def forget(self, fed: Fed) -> None:
        """The job needs no feeding any more, or is gone."""
        with self._lock:
            self._jobs.pop(fed.store.uri, None)
        self._board.drop_job(fed.job.queue, fed.store.uri)

    def round(self, fed: Fed) -> bool:
        """Go over the whole job by listings and fill its window; False once nothing is due."""
        with fed.lock:
            fed.round_at = time.monotonic()
            fed.view.refresh()
            if fed.view.complete:
                write_summary(fed.store, fed.job, fed.view.status())
                return False
            # Here and not in `know`: a delivered shard is worked also while Redis is away.
            self._board.add_job(fed.job.queue, fed.store.uri)
            if read_control(fed.store).wanted != "run":
                return True
            with self._board.lock(fed.job.job_id, self._tempo.feed_s) as mine:
                if mine:
                    self._fill(fed, first=0, live=fed.view.live() | set(fed.view.ledger.given_up()))
        return True

    def committed(self, fed: Fed, footer: Footer | None) -> None:
        """A shard ended here: enqueue the next ones, if few are left waiting."""
        with fed.lock:
            if footer is not None:
                fed.view.note(footer.shard, Done.of(footer))
            if fed.view.complete:
                write_summary(fed.store, fed.job, fed.view.status())
                return
            # A pause lets open shards end; what they end with must not open others.
            if read_control(fed.store).wanted != "run":
                return
            self._fill(fed, first=fed.next, live=set())

    def round_if_idle(self, fed: Fed) -> None:
        """An early round when nothing of the job waits anywhere: a retry, or lost messages."""
        if time.monotonic() - fed.round_at >= self._tempo.feed_s / 6 and not self._board.queued(
            fed.job.job_id
        ):
            self.round(fed)

    def _fill(self, fed: Fed, *, first: int, live: set[int]) -> None:
        job_id = fed.job.job_id
        if self._board.length(fed.job.queue) == 0:
            # Whatever the board thinks waits, it does not: messages were lost.
            self._board.clear(job_id)
        queued = self._board.queued(job_id)
        window = max(MIN_WINDOW, 2 * self._slots(fed.job))
        room = window - len(queued)
        if room <= 0:
            return
        # A shard that left the queue is in somebody's hands before its first heartbeat.
        taken = queued | live | self._board.under_way(job_id, self._tempo.lease_s)
        chosen: list[int] = []
        for shard in fed.view.due(first):
            if len(chosen) >= room:
                break
            if shard not in taken:
                chosen.append(shard)
        if not chosen:
            return
        # Posted first: a worker may take a message before the next line runs.
        self._board.post(job_id, chosen)
        for shard in chosen:
            self._publish(fed.job, shard)
        fed.next = max(fed.next, chosen[-1] + 1)
