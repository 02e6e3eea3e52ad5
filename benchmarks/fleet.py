"""Many workers in one process, for `benchmarks.simulation`: the real code around clocks."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import kombu
from kombu.transport.redis import Channel

from benchmarks.clock import E2B_LATENCY_S, E2B_ROWS_PER_S, Clock, ClockEngine, clock_services
from jobs.models import Model
from jobs.tempo import Tempo
from orchestration.app import MillApp, make_app
from orchestration.appetite import Appetite
from orchestration.board import RedisBoard
from orchestration.choices import STRETCH
from orchestration.runtime import Runtime
from storage.media import MediaSource
from storage.objects import Names, Object, Store
from storage.patience import PatientStore
from workers.outcome import Outcome
from workers.services import warm_up

T = TypeVar("T")

#: Objects that S3 gives in one answer to a listing.
_PAGE = 1_000
#: Seconds that a consumer waits for a message before it looks whether it is to end.
_POLL_S = 2.0
#: Seconds between two looks of a caretaker at the clock, as a worker's.
_TICK_S = 0.5


@dataclass(slots=True)
class Counts:
    """What a process' workers did; times are in real seconds. Thread-safe.

    `calls` to storage by kind and folder, `commits` how long each conditional PUT of a
    result took, `closings` how long from a shard's last answer to the end of its delivery.
    """

    calls: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    commits: list[float] = field(default_factory=list)
    closings: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, kind: str, key: str, seconds: float) -> None:
        """Note a call to storage."""
        folder = key.removeprefix("_job/").partition("/")[0]
        with self._lock:
            self.calls[f"{kind} {folder}"] += 1
            if kind == "PUT" and folder == "data":
                self.commits.append(seconds)

    def delivery(self, outcome: Outcome, closing: float | None) -> None:
        """Note the end of a delivery."""
        with self._lock:
            self.outcomes[outcome.value] += 1
            if closing is not None and outcome is Outcome.COMMITTED:
                self.closings.append(closing)


class CountedStore:
    """A store whose calls are counted as S3 would count them, each `latency_s` longer."""

    def __init__(self, store: Store, counts: Counts, latency_s: float) -> None:
        self._store = store
        self._counts = counts
        self._latency_s = latency_s
        self.uri = store.uri

    def _timed(self, kind: str, key: str, call: Callable[[], T]) -> T:
        began = time.monotonic()
        if self._latency_s:
            time.sleep(self._latency_s)
        try:
            return call()
        finally:
            self._counts.call(kind, key, time.monotonic() - began)

    def get(self, key: str) -> bytes:
        """See Store."""
        return self._timed("GET", key, lambda: self._store.get(key))

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """See Store."""
        return self._timed("GET", key, lambda: self._store.get_tagged(key))

    def head(self, key: str) -> Object | None:
        """See Store."""
        return self._timed("HEAD", key, lambda: self._store.head(key))

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        """See Store."""
        return self._timed("GET", key, lambda: self._store.read(key, start, end, etag=etag))

    def put(self, key: str, data: bytes) -> None:
        """See Store."""
        self._timed("PUT", key, lambda: self._store.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """See Store."""
        return self._timed("PUT", key, lambda: self._store.put_if_absent(key, data))

    def put_if_match(self, key: str, data: bytes, etag: str) -> bool:
        """See Store."""
        return self._timed("PUT", key, lambda: self._store.put_if_match(key, data, etag))

    def delete(self, key: str) -> None:
        """See Store."""
        self._timed("DELETE", key, lambda: self._store.delete(key))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        """See Store; a call for each thousand."""
        listing = self._store.list(prefix, after=after)
        given = _PAGE
        while given == _PAGE:
            page = self._timed(
                "LIST", prefix, lambda: list(zip(range(_PAGE), listing, strict=False))
            )
            given = len(page)
            yield from (found for _, found in page)

    def folders(self, prefix: str) -> Names:
        """See Store."""
        return self._timed("LIST", prefix, lambda: self._store.folders(prefix))

    def now(self) -> float:
        """See Store: S3 tells it with every answer, so that it is no call."""
        return self._store.now()


class CountedRuntime(Runtime):
    """A worker's runtime whose storage is counted."""

    counts: Counts
    latency_s: float

    def _patient(self, store: Store) -> PatientStore:
        return super()._patient(CountedStore(store, self.counts, self.latency_s))


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
        services = clock_services(self.engine, name, fleet.tempo, fleet.media)
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
        if self.failed:
            raise self.failed[0]
