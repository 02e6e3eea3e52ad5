"""A worker process: engine and services started once, messages taken, drained on SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from kombu.transport.redis import Channel

from jobs.models import Model, local_path, resolve
from orchestration.app import MillApp, make_app
from orchestration.appetite import Appetite
from orchestration.board import RedisBoard
from orchestration.choices import Choices
from orchestration.consumer import Consumer
from orchestration.parent import READY, WHY
from orchestration.runtime import Runtime, advice
from orchestration.settings import Settings
from storage.media import MediaSource
from storage.urls import UrlRules
from workers.engine import engine_options
from workers.loading import load
from workers.profiles import table
from workers.services import Services, warm_up

_log = logging.getLogger(__name__)

#: Characters that are told of why the process ended itself.
_MOST_WHY = 500
#: Seconds between two looks of a caretaker at the clock.
_TICK_S = 0.5
#: Seconds within which a second signal is the first one's echo.
_ECHO_S = 1.0


def start_services(
    settings: Settings, model: Model, *, local_roots: list[Path] | None, in_hand: Path
) -> Services:
    """Load the model and start what every open shard shares; takes as long as the engine does.

    `local_roots` None lets media come from wherever this user may read. In the folder
    `in_hand` the rows in hand are noted, for who outlives this process.
    """
    choices = Choices(settings)
    _open_files()

    def tell(engines: int, arguments: Mapping[str, Any]) -> None:
        shown = table(choices.all(engines, arguments))
        _log.info("settings of %s:\n%s", model.key, shown, extra={"action": "worker_settings"})

    warm_up()
    engine = load(
        local_path(model),
        model.key,
        engine_options(settings.engine_options),
        device=choices.device,
        engines=choices.engines,
        profile=choices.profile,
        mps=settings.mps,
        tell=tell,
    )
    rules = UrlRules(
        allow_private=settings.allow_private_urls,
        hosts=settings.hosts,
        headers=settings.url_headers,
    )
    media = MediaSource(local_roots=local_roots, rules=rules, outage_s=settings.tempo.outage_s)
    return Services(
        engine,
        media,
        worker=f"{socket.gethostname()}-{os.getpid()}",
        tempo=settings.tempo,
        fetchers=choices.fetchers(engine.capacity.sequences),
        decoders=choices.decoders,
        in_hand=in_hand,
    )


def _open_files() -> None:
    """Have as many files open as this process may: four for each open shard, and more beside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS gives a hard limit that it then refuses.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Worker:
    """One worker process on Redis, below a parent (`orchestration.parent`).

    `in_hand` is the folder for its rows in hand, where it also tells of itself.
    """

    def __init__(self, settings: Settings, in_hand: Path) -> None:
        self.settings = settings
        self.in_hand = in_hand
        self.tempo = settings.tempo
        self.board = RedisBoard(settings.broker_url)
        self.app: MillApp = make_app(settings.broker_url, self.tempo)
        self._asked_at: float | None = None
        self._asked = threading.Event()
        self._ended = threading.Event()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises BrokerUnavailable, InvalidJob at the start."""
        self.board.ping()
        model = resolve(self.settings.model, base=True)
        _log.info("loading %s", model.key, extra={"action": "engine_loading"})
        services = start_services(
            self.settings, model, local_roots=self.settings.roots, in_hand=self.in_hand
        )
        choices = Choices(self.settings)
        slots = choices.slots(services.engine.capacity.sequences)
        most = choices.most_slots(slots)
        runtime = Runtime(
            self.app,
            self.board,
            services,
            model,
            self.tempo,
            slots=slots,
            dead=self._die,
        )
        self.app.runtime = runtime
        name = f"mediamill@{services.worker}"
        consumer = Consumer(self.app, runtime.queues, slots, name, most=most)
        appetite = Appetite(runtime, consumer, most)

        def stop(signum: int, frame: FrameType | None) -> None:
            del frame
            if self._first(signum):
                services.stop.set()
                consumer.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        # Three of them, since feeding may be waiting for a store.
        for name, care in (
            ("pulse", lambda: self._beat(runtime)),
            ("feeder", lambda: self._feed(runtime, appetite)),
            ("leaver", self._leave),
        ):
            threading.Thread(target=self._watch, args=(care,), name=name, daemon=True).start()
        (self.in_hand / READY).touch()
        _log.info(
            "serving %s with %d open shards",
            model.key,
            slots,
            extra={"action": "worker_ready", "worker": services.worker},
        )
        consumer.run()
        self._ended.set()
        services.close()
        _log.info("worker left", extra={"action": "worker_left", "worker": services.worker})
        # Threads of libraries may still hang about; everything of ours is done.
        os._exit(0)

    def _first(self, signum: int) -> bool:
        """Whether this is the first signal that asks it to stop; a later one ends it at once."""
        if self._asked_at is None:
            # Before the event, whose lock a second signal would find held by the first.
            self._asked_at = time.monotonic()
            self._asked.set()
            return True
        # Sent to a whole service it comes twice, once from the parent.
        if time.monotonic() - self._asked_at > _ECHO_S:
            os._exit(128 + signum)
        return False

    def _die(self, error: BaseException) -> None:
        """The engine is dead, or nothing moves: the process ends, and its parent tells of it."""
        _log.critical("worker dies: %s", error, extra={"action": "worker_died"})
        with contextlib.suppress(OSError):  # of a full disk, say: it dies all the same
            (self.in_hand / WHY).write_text(str(error)[:_MOST_WHY])
        os._exit(1)

    def _leave(self) -> None:
        """Be out in time once that is asked for, whatever still holds on."""
        self._asked.wait()
        time.sleep(self.tempo.exit_s)
        if self._ended.is_set():
            os._exit(0)  # all is given back, and what is slow to close goes with the process
        _log.error("not drained in time", extra={"action": "worker_left"})
        os._exit(1)

    def _watch(self, care: Callable[[], None]) -> None:
        try:
            care()
        except Exception as error:
            # A worker without its caretakers would look alive to its shards and dead to Redis.
            self._die(error)

    def _beat(self, runtime: Runtime) -> None:
        """Heartbeats, renewals, and the watch over requests that hang."""
        beat_at = 0.0
        while not self._ended.wait(_TICK_S):
            if runtime.services.in_engine.still_s() > self.tempo.stuck_s:
                self._die(TimeoutError("requests are in flight and none has finished"))
            if self._asked.is_set() or time.monotonic() < beat_at:
                continue
            beat_at = time.monotonic() + self.tempo.heartbeat_s
            with advice():
                runtime.beat()
                self._renew(runtime)

    def _feed(self, runtime: Runtime, appetite: Appetite) -> None:
        """Rounds of the feeder, and the appetite for what it enqueues."""
        feed_at = 0.0
        waiting_since: float | None = None
        while not self._ended.wait(_TICK_S):
            if self._asked.is_set():
                continue
            with advice():
                if time.monotonic() >= feed_at:
                    runtime.feed()
                    feed_at = time.monotonic() + self.tempo.feed_s
                    waiting_since = self._watch_queue(runtime, waiting_since)
                appetite.look()

    def _renew(self, runtime: Runtime) -> None:
        """Keep deliveries that are being worked invisible to others (see Celery's pitfalls)."""
        tags = list(runtime.deliveries)
        if tags:
            self.board.renew(Channel.unacked_index_key, tags)

    def _watch_queue(self, runtime: Runtime, since: float | None) -> float | None:
        """Celery can go silent after a reconnect: then messages wait and none is delivered."""
        if runtime.deliveries or not self.board.length(*runtime.queues):
            return None
        if since is not None and time.monotonic() - since > 4 * self.tempo.feed_s:
            self._die(TimeoutError("messages wait in the queue and none is delivered"))
        return since if since is not None else time.monotonic()
