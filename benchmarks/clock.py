"""An engine that is a clock: it answers each request when E2B on an H100 would have.

What it stands for is one vLLM engine as measured (`benchmarks/NOTES.md`): requests leave it
at a steady rate while there are enough of them, and none earlier than a lone one would. All
engines of a process share one thread, which answers in steps, as an engine does.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from jobs.models import Model
from jobs.tempo import Tempo
from storage.media import MediaSource
from workers.engine import Capacity, Completion, Request
from workers.services import Services

#: Images a second that one engine takes to captions of 128 tokens (E2B, one H100).
E2B_ROWS_PER_S = 27.9
#: Seconds that a lone request takes: its image and 128 steps.
E2B_LATENCY_S = 1.5
#: Tokens of the shortest and the longest answer, drawn for each request from its id.
SPREAD = (32, 400)
_MEAN = sum(SPREAD) / 2
#: Tokens of KV cache that a request takes.
_REQUEST_TOKENS = 512
_SEQUENCES = 256
#: Seconds between two looks at which answers are due.
_STEP_S = 0.01


class Clock:
    """Calls what is due, in one thread, a step's worth at a time. Ends by `close`."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
        self._thread.start()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Have it called at this monotonic time, or up to a step later."""
        with self._lock:
            heapq.heappush(self._due, (when, next(self._numbers), call))

    def close(self) -> None:
        """Call nothing more."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_STEP_S):
            now = time.monotonic()
            calls: list[Callable[[], None]] = []
            with self._lock:
                while self._due and self._due[0][0] <= now:
                    calls.append(heapq.heappop(self._due)[2])
            for call in calls:
                call()


@dataclass(slots=True)
class Idle:
    """Seconds for which an engine could have worked and had nothing to do, by monotonic time."""

    #: From the beginning to its first request, and between requests after that.
    start_s: float = 0.0
    middle_s: float = 0.0
    requests: int = 0
    #: Until when it has work, as far as it knows.
    busy_until: float = 0.0


@dataclass(slots=True)
class ClockEngine:
    """See the module. `rows_per_s` and `latency_s` are in real seconds: divide and multiply
    E2B's by how many times slower than the world the simulation runs."""

    model: str
    clock: Clock
    rows_per_s: float = E2B_ROWS_PER_S
    latency_s: float = E2B_LATENCY_S
    name: str = "clock"
    version: str = "1"
    capacity: Capacity = field(
        default_factory=lambda: Capacity(_SEQUENCES * _REQUEST_TOKENS, _SEQUENCES, 8192)
    )
    began: float = field(default_factory=time.monotonic)
    idle: Idle = field(default_factory=Idle)
    #: When the newest answer was given, by shard, until whoever times them takes it out.
    answered: dict[int, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def measure(self, request: Request) -> int:
        """The same for every request."""
        del request
        return _REQUEST_TOKENS

    def submit(self, request: Request) -> Future[Completion]:
        """Answered once the engine has had the time for it, after all that came before."""
        future: Future[Completion] = Future()
        tokens = SPREAD[0] + zlib.crc32(request.id.encode()) % (SPREAD[1] - SPREAD[0] + 1)
        shard = int(request.id.split("/")[1])
        now = time.monotonic()
        with self._lock:
            idle = self.idle
            if not idle.requests:
                idle.start_s = now - self.began
            elif now > idle.busy_until:
                idle.middle_s += now - idle.busy_until
            idle.requests += 1
            idle.busy_until = max(now, idle.busy_until) + tokens / _MEAN / self.rows_per_s
            leaves = max(idle.busy_until, now + self.latency_s * tokens / _MEAN)

        def answer() -> None:
            if not future.set_running_or_notify_cancel():
                return
            self.answered[shard] = time.monotonic()
            text = "word " * (tokens // 2)
            future.set_result(
                Completion(request.id, text, "stop", 310, tokens, time.monotonic() - now)
            )

        self.clock.at(leaves, answer)
        return future

    def close(self) -> None:
        """Nothing is to be ended: the clock is its owner's."""


def clock_services(
    engine: ClockEngine, worker: str, tempo: Tempo, media: MediaSource, in_hand: Path
) -> Services:
    """What a worker's open shards share, with as few threads and processes as there can be."""
    return Services(
        engine, media, worker=worker, tempo=tempo, fetchers=16, decoders=1, in_hand=in_hand
    )


def text_manifest(path: Path, rows: int) -> None:
    """Rows of text alone, of a length between 20 and 200 words, by their number."""
    with path.open("w") as lines:
        for number in range(rows):
            words = "word " * (20 + zlib.crc32(b"%d" % number) % 181)
            lines.write(f'{{"id": "row-{number:09d}", "words": "{words}"}}\n')


def text_job(manifest: Path, out: Path | str, model: Model | None = None) -> dict[str, object]:
    """The fields of a job over `text_manifest`'s rows."""
    return {
        "manifest": str(manifest),
        "task": "chat",
        "out": str(out),
        "model": "tiny" if model is None else model.name,
        "options": {"prompt": "Sum up: {words}", "max_tokens": 400},
    }
