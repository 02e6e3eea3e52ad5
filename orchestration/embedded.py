"""One machine and no services: the same app, task and runtime on Celery's in-memory transport."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from jobs.control import read_control
from jobs.models import Model
from jobs.progress import Status
from jobs.spec import StoredJob
from jobs.summary import look_up, write_summary
from jobs.tempo import Tempo
from orchestration.app import MEMORY_URL, make_app
from orchestration.appetite import Appetite
from orchestration.choices import Choices
from orchestration.consumer import Consumer
from orchestration.deaths import report
from orchestration.feeder import Fed
from orchestration.local_board import LocalBoard
from orchestration.parent import PREFIX
from orchestration.runtime import Runtime
from orchestration.settings import Settings
from orchestration.worker import start_services
from storage.errors import EngineDead, MediamillError, NoSuchJob, StoreUnavailable
from storage.living import LivingFolder
from storage.objects import open_store
from workers.counters import Counters

#: Seconds between two looks: at how far a job is by what this process knows, at whether the
#: engine has enough to do, and at storage.
_LOOK_S = 0.1
_LOOK_HUNGRY_S = 0.5
_LOOK_STORE_S = 2.0


class Stopped(MediamillError):
    """Raised when the user interrupted a run, after what was in flight was drained."""


class ShardsGivenUp(MediamillError):
    """Raised when shards ended too often with one error, and nothing else is left to do."""


def finished(job: StoredJob, tempo: Tempo) -> Status | None:
    """How a job ended of which nothing is left to do: no engine need be loaded for it."""
    store = open_store(job.spec.out, job.traits)
    status = look_up(store, job, tempo)
    if status.state != "done":
        return None
    # Whoever ended it may have died before this.
    write_summary(store, job, status)
    return status


class Embedded:
    """A worker inside this process. A context manager; one engine serves all jobs run in it."""

    def __init__(self, settings: Settings, model: Model) -> None:
        self.settings = settings
        self.model = model
        self._folder: LivingFolder | None = None
        self._dead: BaseException | None = None
        self._interrupted = threading.Event()
        self._runtime: Runtime | None = None
        self._consumer: Consumer | None = None
        self._appetite: Appetite | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Embedded:
        """Load the model; this takes as long as the engine does."""
        settings = self.settings
        self._folder = LivingFolder(PREFIX)
        in_hand = self._folder.path
        services = start_services(settings, self.model, local_roots=None, in_hand=in_hand)
        app = make_app(MEMORY_URL, settings.tempo)
        choices = Choices(settings)
        slots = choices.slots(services.engine.capacity.sequences)
        most = choices.most_slots(slots)
        self._runtime = app.runtime = Runtime(
            app,
            LocalBoard(),
            services,
            self.model,
            settings.tempo,
            slots=slots,
            dead=self._die,
        )
        queues = self._runtime.queues
        self._consumer = Consumer(app, queues, slots, "mediamill@embedded", most=most)
        self._appetite = Appetite(self._runtime, self._consumer, most)
        self._thread = self._consumer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Drain and end everything that was started."""
        if self._runtime is None or self._consumer is None or self._thread is None:
            return
        self._runtime.services.stop.set()
        self._consumer.stop()
        self._thread.join(self.settings.tempo.exit_s)
        # Before the engine is ended: what that does to rows is no death.
        dead = self._dead
        self._runtime.services.close()
        if dead is not None:
            report(self._runtime.services.in_hand.folder, f"ended itself: {dead}")
        if self._folder is not None:
            self._folder.close()

    @property
    def counters(self) -> Counters:
        """What this process has finished so far, over all jobs."""
        return self._running.services.counters

    def interrupt(self) -> None:
        """Let `run` drain and raise Stopped, and wait for no store meanwhile.

        Not for signal handlers: the thread they break into may hold the events' locks.
        """
        self._interrupted.set()
        if self._runtime is not None:
            self._runtime.services.stop.set()

    def interrupt_on(self, *signals: signal.Signals) -> None:
        """Have these signals interrupt the run; a second one leaves at once."""

        seen: list[int] = []

        def handle(signum: int, frame: FrameType | None) -> None:
            del frame
            if seen:
                # Not an exception: what it passes on its way out drains, and waits for threads.
                os._exit(128 + signum)
            seen.append(signum)
            threading.Thread(target=self.interrupt, name="interrupt", daemon=True).start()

        for number in signals:
            signal.signal(number, handle)

    def begin(self, job: StoredJob) -> Status:
        """Take charge of the job and say how far it is."""
        fed = self._fed(job)
        with fed.lock:
            # What is due now may be a retry's: look again, whatever an earlier run knew.
            fed.view.refresh()
            return fed.view.status()

    def run(self, job: StoredJob, on_look: Callable[[Counters], None] | None = None) -> Status:
        """Bring the job to its end, or until it is paused or cancelled.

        `on_look` is told ten times a second what this process has finished. Raises
        Stopped, ShardsGivenUp, EngineDead, NoSuchJob if the place is emptied meanwhile, and
        what the store raises.
        """
        try:
            return self._followed(job, on_look)
        except StoreUnavailable:
            if not self._interrupted.is_set():
                raise
            self.__exit__()
            raise Stopped(job.spec.out) from None

    def _followed(self, job: StoredJob, on_look: Callable[[Counters], None] | None) -> Status:
        runtime = self._running
        fed = self._fed(job)
        runtime.feeder.round(fed)
        look_at = hungry_at = 0.0
        while True:
            if self._dead is not None:
                raise EngineDead(f"the engine died: {self._dead}")
            if self._interrupted.is_set():
                self.__exit__()
                raise Stopped(job.spec.out)
            if on_look is not None:
                on_look(self.counters)
            with fed.lock:
                ended = fed.view.complete
            if not ended and time.monotonic() >= look_at:
                if self._fed(job) is not fed:
                    raise NoSuchJob(f"{fed.store.uri}: emptied, and used for another job meanwhile")
                runtime.feeder.round_if_idle(fed)
                self._refuse_given_up(fed)
                ended = read_control(fed.store).wanted != "run" and not runtime.deliveries
                look_at = time.monotonic() + _LOOK_STORE_S
            if self._appetite is not None and time.monotonic() >= hungry_at:
                self._appetite.look()
                hungry_at = time.monotonic() + _LOOK_HUNGRY_S
            if ended:
                runtime.feeder.forget(fed)
                with fed.lock:
                    fed.view.refresh()
                    return fed.view.status()
            self._interrupted.wait(_LOOK_S)

    @property
    def _running(self) -> Runtime:
        if self._runtime is None:
            raise RuntimeError("Embedded is a context manager: use `with Embedded(...) as it`")
        return self._runtime

    def _fed(self, job: StoredJob) -> Fed:
        return self._running.open_job(job.spec.out)[1]

    def _refuse_given_up(self, fed: Fed) -> None:
        if self._running.deliveries:
            return
        given_up = fed.view.ledger.given_up()
        due = set(fed.view.due())
        if due and due <= set(given_up):
            shard, error = next(iter(given_up.items()))
            raise ShardsGivenUp(
                f"{fed.store.uri}: {len(given_up)} shards ended five times with the same error; "
                f"shard {shard}: {error}. Mend the cause, then `mediamill resume {fed.store.uri}`"
            )

    def _die(self, error: BaseException) -> None:
        self._dead = error
