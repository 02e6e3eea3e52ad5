"""Many workers in one process, for `benchmarks.simulation`: the real code around clocks."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kombu
from kombu.transport.redis import Channel

from benchmarks.clock import E2B_LATENCY_S, E2B_ROWS_PER_S, Clock, ClockEngine, clock_services
from benchmarks.counts import CountedRuntime, Counts
from jobs.models import Model
from jobs.tempo import Tempo
from orchestration.app import MillApp, make_app
from orchestration.appetite import Appetite
from orchestration.board import RedisBoard
from orchestration.choices import STRETCH
from storage.media import MediaSource
from workers.services import warm_up

#: Seconds that a consumer waits for a message before it looks whether it is to end. Each time it
#: also looks for messages that were not acknowledged: as often as a real worker does.
_POLL_S = 10.0
#: Seconds between two looks of a caretaker at the clock, as a worker's.
_TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """How a fleet runs: shards open a worker, and how many times slower than the world.

    `latency_s` is what a call to storage takes, in simulated seconds.
    """

    slots: int
    slow: float
    latency_s: float


class Member:
    """One worker: engine, services and runtime of its own, and a thread that takes messages."""

    def __init__(
        self, fleet: Fleet, name: str, app: MillApp, board: RedisBoard, model: Model, phase: float
    ) -> None:
        pace = fleet.pace
        self.fleet = fleet
        self._board = board
        self.engine = ClockEngine(
            model.key,
            fleet.clock,
            rows_per_s=E2B_ROWS_PER_S / pace.slow,
            latency_s=E2B_LATENCY_S * pace.slow,
        )
        in_hand = fleet.folder / name
        in_hand.mkdir()
        services = clock_services(self.engine, name, fleet.tempo, fleet.media, in_hand)
        self.runtime = CountedRuntime(
            app, board, services, model, fleet.tempo, slots=pace.slots, dead=fleet.fail
        )
        self.runtime.counts = fleet.counts
        self.runtime.latency_s = pace.latency_s * pace.slow
        most = STRETCH * pace.slots
        self._appetite = Appetite(self.runtime, self, most)
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)
        self._consumer: kombu.Consumer | None = None
        self.allowed = pace.slots
        self._phase = phase
        self._threads = [
            threading.Thread(target=fleet.guarded, args=(part,), daemon=True)
            for part in (self._consume, self._care)
        ]

    def start(self) -> None:
        """Take messages, from now on."""
        self.engine.began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def allow(self, slots: int) -> None:
        """See `orchestration.appetite`."""
        if self._consumer is not None:
            self.allowed = slots
            self._consumer.qos(prefetch_count=slots)

    def close(self) -> None:
        """Wait for what is under way, and end."""
        for thread in self._threads:
            thread.join()
        self._pool.shutdown()
        self.runtime.services.close()

    def _consume(self) -> None:
        app = self.runtime.app
        queues = [app.amqp.queues[name] for name in self.runtime.queues]
        with app.connection_for_read() as connection, connection.channel() as channel:
            consumer = kombu.Consumer(
                channel,
                queues,
                callbacks=[self._taken],
                accept=["json"],
                prefetch_count=self.fleet.pace.slots,
            )
            self._consumer = consumer
            with consumer:
                while not self.fleet.ended.is_set():
                    try:
                        connection.drain_events(timeout=_POLL_S)
                    except TimeoutError:
                        continue

    def _taken(self, body: Any, message: Any) -> None:
        self._pool.submit(self.fleet.guarded, lambda: self._deliver(body, message))

    def _deliver(self, body: Any, message: Any) -> None:
        out, shard = body[0]
        outcome = self.runtime.deliver(out, shard, message.delivery_tag)
        last = self.engine.answered.pop(shard, None)
        closing = None if last is None else time.monotonic() - last
        self.fleet.counts.delivery(outcome, closing)
        message.ack()

    def _care(self) -> None:
        """What a worker's caretaker does on its rounds, begun at another time in each."""
        tempo, ended = self.fleet.tempo, self.fleet.ended
        now = time.monotonic()
        beat_at = now + self._phase * tempo.heartbeat_s
        feed_at = now + self._phase * tempo.feed_s
        while not ended.wait(_TICK_S * self.fleet.pace.slow):
            now = time.monotonic()
            if now >= beat_at:
                beat_at = now + tempo.heartbeat_s
                self.runtime.beat()
                tags = list(self.runtime.deliveries)
                if tags:
                    self._board.renew(Channel.unacked_index_key, tags)
            if now >= feed_at:
                self.runtime.feed()
                feed_at = time.monotonic() + tempo.feed_s
            self._appetite.look()


class Fleet:
    """The workers of one process. What fails in any of them ends the process."""

    def __init__(self, broker: str, model: Model, pace: Pace, numbers: range, of: int) -> None:
        warm_up()
        self.pace = pace
        self.tempo = Tempo(pace.slow)
        self.counts = Counts()
        self.clock = Clock()
        self.media = MediaSource(local_roots=[])
        self._folder = tempfile.TemporaryDirectory(prefix="mediamill-simulation-")
        self.folder = Path(self._folder.name)
        self.ended = threading.Event()
        self.failed: list[BaseException] = []
        app = make_app(broker, self.tempo)
        self.members = [
            # A board each: by it a worker is known to the others.
            Member(self, f"worker-{n:04d}", app, RedisBoard(broker), model, n / of)
            for n in numbers
        ]
        for member in self.members:
            member.runtime.beat()

    def fail(self, error: BaseException) -> None:
        """Remember what failed, and end."""
        self.failed.append(error)
        self.ended.set()

    def guarded(self, part: Callable[[], None]) -> None:
        """Run a part of a worker, and remember if it fails."""
        try:
            part()
        except Exception as error:
            self.fail(error)

    def start(self) -> None:
        """Begin all at once."""
        for member in self.members:
            member.start()

    def close(self) -> None:
        """End every worker. Raises what failed in one of them."""
        self.ended.set()
        for member in self.members:
            member.close()
        self.clock.close()
        self._folder.cleanup()
        if self.failed:
            raise self.failed[0]
