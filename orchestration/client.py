"""What a client does with jobs: submit, look, wait, say what is wanted. No engine, no torch."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

from jobs.control import Wanted, write_control
from jobs.ledger import Ledger
from jobs.models import resolve
from jobs.progress import JobView, Status
from jobs.retries import Retry
from jobs.selection import Selection, add_retry
from jobs.spec import JobSpec, StoredJob, load_job
from jobs.submit import Submitted, submit
from jobs.summary import look_up
from orchestration.board import Board, RedisBoard, crew
from orchestration.feeder import Feeder
from orchestration.look import Look, open_place
from orchestration.settings import Settings
from storage.errors import BrokerUnavailable, NoSuchJob
from storage.objects import Store, open_store
from storage.patience import PatientStore

#: Seconds between two looks of `wait` at a job.
_WAIT_LOOK_S = 1.0


class Client:
    """One client process: its settings, and the app and board it made of them when needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._board: RedisBoard | None = None

    @property
    def board(self) -> RedisBoard:
        """The board. Raises BrokerUnavailable if Redis does not answer within seconds."""
        if self._board is None:
            board = RedisBoard(self.settings.broker_url)
            board.ping()
            self._board = board
        return self._board

    def submit(self, spec: JobSpec, on_progress: Callable[[int], None] | None = None) -> Submitted:
        """Put the job there, or find it, and enqueue its first shards."""
        board = self.board
        model = resolve(spec.model, base=spec.options.get("prompt_format") == "raw")
        submitted = submit(spec, slots=crew(board, model).slots, on_progress=on_progress)
        self.feed(submitted.job)
        return submitted

    def feed(self, job: StoredJob, store: Store | None = None) -> None:
        """Fill the job's window in the queue. Raises BrokerUnavailable."""
        store = store or open_store(job.spec.out, job.traits)
        feeder = self._feeder(self.board)
        fed = feeder.know(store, job)
        if not feeder.round(fed):
            feeder.forget(fed)

    def look(self, out: str) -> Look:
        """The job's status. Needs storage alone; says so if Redis does not answer."""
        store, job = open_place(out)
        return self._look(look_up(store, job, self.settings.tempo), job)

    def wait(
        self,
        out: str,
        on_look: Callable[[Look], None] | None = None,
        timeout_s: float | None = None,
    ) -> Look:
        """Follow the job until it is done or cancelled, or nothing but given-up shards is left.

        Feeds the job meanwhile, if Redis answers. Raises TimeoutError after `timeout_s`, and
        NoSuchJob if the place is emptied meanwhile.
        """
        bare, job = open_place(out)
        # As patient as the workers: a night's job is not over because its store was away.
        store = PatientStore(bare, self.settings.tempo.outage_s, threading.Event())
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        feed_at = 0.0
        view = JobView(store, job, self.settings.tempo)
        while True:
            if time.monotonic() >= feed_at:
                feed_at = time.monotonic() + self.settings.tempo.feed_s
                if load_job(store) != job:
                    raise NoSuchJob(f"{out}: emptied, and used for another job meanwhile")
                self.try_feed(job, store)
            view.refresh()
            look = self._look(view.status(), job)
            if on_look is not None:
                on_look(look)
            status = look.status
            stuck = bool(status.given_up) and set(view.due()) <= set(status.given_up)
            if status.state in ("done", "cancelled") or stuck:
                return look
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{out}: still {status.state} after {timeout_s:g} s")
            time.sleep(_WAIT_LOOK_S)

    def want(self, out: str, wanted: Wanted) -> Look:
        """Pause, cancel, or let go on."""
        store, job = open_place(out)
        write_control(store, wanted)
        if wanted == "run":
            Ledger(store, self.settings.tempo).forgive()
            self.try_feed(job)
        return self.look(out)

    def retry(self, out: str, selection: Selection, options: dict[str, Any]) -> Retry | None:
        """Have the selected rows redone; None if there are none."""
        store, job = open_place(out)
        retry = add_retry(JobView(store, job, self.settings.tempo), selection, options)
        if retry is not None:
            self.try_feed(job)
        return retry

    def try_feed(self, job: StoredJob, store: Store | None = None) -> str | None:
        """Feed the job if Redis answers, else say why not: workers feed it in their rounds."""
        try:
            self.feed(job, store)
        except BrokerUnavailable as error:
            return str(error)
        return None

    def _look(self, status: Status, job: StoredJob) -> Look:
        try:
            workers = [w for w in self.board.workers() if w["model"] == job.model.key]
        except BrokerUnavailable as error:
            return Look(status, job, broker=str(error))
        tokens = sum(w["prompt_tokens"] + w["output_tokens"] for w in workers)
        return Look(dataclasses.replace(status, workers_alive=len(workers)), job, tokens=tokens)

    def _feeder(self, board: Board) -> Feeder:
        # Who only looks needs no Celery.
        from orchestration.app import make_app, make_publisher

        app = make_app(self.settings.broker_url, self.settings.tempo)
        return Feeder(
            board,
            make_publisher(app),
            lambda job: crew(board, job.model).slots,
            self.settings.tempo,
        )
