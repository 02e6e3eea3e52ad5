"""Keeps a small window of a job in the queue; brings back every shard that got lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice

from jobs.control import read_control
from jobs.progress import Done, JobView
from jobs.retries import Retry
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
    """A job as this process feeds it."""

    store: Store
    job: StoredJob
    view: JobView
    round_at: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def course(self) -> str:
        """What the board knows the way over its shards by: a retry begins a new one.

        By the plan's token, for the same job may be submitted again with another plan.
        """
        retries = self.view.retries
        return f"{self.job.plan.token}:{retries[-1].generation if retries else 0}"


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
        self._board.drop_job(fed.job.queue, fed.store.uri, fed.course)

    def round(self, fed: Fed) -> bool:
        """Go over the whole job by listings and fill its window; False once nothing is due."""
        with fed.lock:
            # Here and not in `know`: a delivered shard is worked also while Redis is away.
            self._board.add_job(fed.job.queue, fed.store.uri)
            fed.round_at = time.monotonic()
            fed.view.refresh()
            if fed.view.complete:
                write_summary(fed.store, fed.job, fed.view.status())
                return False
            if read_control(fed.store).wanted == "run":
                self._fill(fed)
        return True

    def round_in_turn(self, fed: Fed) -> bool:
        """A round, unless another process makes them: its listings serve all.

        False once nothing is due, by what is known here or by whoever had the turn.
        """
        # Longer than from one round to the next, and no longer than the leases of a dead maker.
        if self._board.turn(fed.job.plan.token, 2 * self._tempo.feed_s):
            return self.round(fed)
        return fed.store.uri in self._board.jobs(fed.job.queue)

    def committed(self, fed: Fed, footer: Footer, retries: Sequence[Retry]) -> None:
        """A shard ended here: enqueue the next ones of its course, if few are left waiting.

        `retries` are those that there were when it was begun.
        """
        with fed.lock:
            fed.view.note(footer.shard, Done.of(footer))
            if len(retries) > len(fed.view.retries):
                fed.view.retries = list(retries)
            if fed.view.complete:
                write_summary(fed.store, fed.job, fed.view.status())
                return
            self._feed_on(fed)

    def feed_on(self, fed: Fed) -> bool:
        """Enqueue the next shards of a job's course, if few are left waiting.

        Whether more of them are to come after these.
        """
        with fed.lock:
            if fed.view.complete:
                return False
            self._feed_on(fed)
            following = self._board.standing(fed.job.queue, fed.job.job_id, fed.course).next
            return following is not None and following < fed.job.plan.shards

    def round_if_idle(self, fed: Fed) -> None:
        """An early round when nothing of the job waits anywhere: a retry, or lost messages."""
        if time.monotonic() - fed.round_at >= self._tempo.feed_s / 6 and not self._board.queued(
            fed.job.job_id
        ):
            self.round(fed)

    def _fill(self, fed: Fed) -> None:
        """Fill the window with whatever is due and neither queued nor under way."""
        job_id = fed.job.job_id
        if self._board.length(fed.job.queue) == 0:
            self._lost(fed)
        queued = self._board.queued(job_id)
        room = self._window(fed) - len(queued)
        if room <= 0:
            return
        live = fed.view.live() | set(fed.view.ledger.given_up())
        # A shard that left the queue is in somebody's hands before its first heartbeat.
        taken = queued | live | self._board.under_way(job_id, self._tempo.lease_s)
        self._enqueue(fed, room, first=0, taken=taken)

    def _feed_on(self, fed: Fed) -> None:
        """Fill the window with shards that nobody ever enqueued: by no look at the others.

        What others have committed since this process made a round is not known here. A pause
        lets open shards end, and opens no others.
        """
        if self._room(fed) is None or read_control(fed.store).wanted != "run":
            return
        # Anew: others feed as well, and reading may have taken long.
        if (found := self._room(fed)) is not None:
            room, first = found
            self._enqueue(fed, room, first=first, taken=())

    def _room(self, fed: Fed) -> tuple[int, int] | None:
        """How many shards may be enqueued, and the first of them; None if none."""
        standing = self._board.standing(fed.job.queue, fed.job.job_id, fed.course)
        if standing.next is None:
            return None  # Redis was wiped, or a retry has just begun: the next round knows better
        if standing.messages == 0:
            self._lost(fed)
        room = self._window(fed) - standing.queued
        return (room, standing.next) if room > 0 and standing.next < fed.job.plan.shards else None

    def _lost(self, fed: Fed) -> None:
        """The queue is empty: whatever the board thinks waits, it does not."""
        # But what was posted not long ago may be about to come: workers can take messages as
        # fast as they are published, and a window for thousands takes seconds.
        self._board.clear(fed.job.job_id, older_s=self._tempo.feed_s)

    def _window(self, fed: Fed) -> int:
        # A shard takes minutes: one that waits for each slot is enough, and Redis holds it all.
        return max(MIN_WINDOW, self._slots(fed.job))

    def _enqueue(self, fed: Fed, room: int, *, first: int, taken: Collection[int]) -> None:
        due = (shard for shard in fed.view.due(first) if shard not in taken)
        chosen = list(islice(due, room))
        if not chosen:
            return
        # Posted first, and all: a worker may take a message before the next line runs, and
        # another begin a round, which would enqueue what it does not find posted.
        self._board.post(fed.job.job_id, chosen, fed.course)
        for shard in chosen:
            self._publish(fed.job, shard)
