"""`mediamill worker` on an engine that writes down what it is asked, and when it answered.

    python -m tests.chaos.counted FOLDER worker --model tiny ...

Everything else is the real thing: command, parent, Celery, storage, decode processes. FOLDER
holds what is told, and the pace of the engine, which may be changed while it runs. Requests
are answered side by side; an image may kill the process (`tests.chaos.worker.POISON`), or all
of its worker's.
"""

from __future__ import annotations

import hashlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.chaos.worker import POISON
from workers.engine import Capacity, Completion, Request

#: First pixel of an image that takes its whole machine along.
MACHINE = (255, 0, 3)
#: Requests that the engine has in hand at once; as many again wait for it.
SEQUENCES = 8
#: Seconds between two looks at the pace.
_LOOK_S = 0.02
_TOLD, _PACE = "told", "pace"


@dataclass(frozen=True, slots=True)
class Told:
    """One line of an engine: a request came or was answered, when, and in which process.

    `at` is by the machine's monotonic clock, which all processes share. `end` is the sample
    after the request's last in a sound, and 1 of an image.
    """

    at: float
    what: Literal["asked", "answered"]
    process: int
    job: str
    shard: int
    place: int
    start: int
    end: int

    @property
    def row(self) -> tuple[str, int, int]:
        """The row of the request."""
        return self.job, self.shard, self.place

    @property
    def request(self) -> tuple[str, int, int, int, int]:
        """What was asked about."""
        return *self.row, self.start, self.end


def told(folder: Path) -> Iterator[Told]:
    """All that engines have told so far, in order."""
    path = folder / _TOLD
    if not path.exists():
        return
    # A line that is being written has no end yet.
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            at, what, process, name, end = line.split()
            job, shard, place, _, start = name.split("/")
            yield Told(
                float(at),
                "asked" if what == "asked" else "answered",
                int(process),
                job,
                int(shard),
                int(place),
                int(start),
                int(end),
            )


def set_pace(folder: Path, seconds: float) -> None:
    """An answer takes so long from now on, times the first pixel's red of an image."""
    beside = folder / f"{_PACE}.new"
    beside.write_text(str(seconds))
    beside.replace(folder / _PACE)


class CountedEngine:
    """An `Engine` that works on `SEQUENCES` requests at once."""

    name = "counted"
    version = "1"
    capacity = Capacity(tokens=100_000, sequences=SEQUENCES, context=8192)

    def __init__(self, model: str, folder: Path) -> None:
        self.model = model
        self._folder = folder
        # Unbuffered and for appending: lines of several processes come whole, and those of
        # one that is killed are there.
        self._told = (folder / _TOLD).open("ab", buffering=0)
        self._waiting: queue.SimpleQueue[tuple[Request, Future[Completion]]] = queue.SimpleQueue()
        for number in range(SEQUENCES):
            threading.Thread(target=self._run, name=f"engine-{number}", daemon=True).start()

    def measure(self, request: Request) -> int:
        """The same for every request."""
        del request
        return 100

    def submit(self, request: Request) -> Future[Completion]:
        """See Engine."""
        self._tell("asked", request)
        future: Future[Completion] = Future()
        self._waiting.put((request, future))
        return future

    def close(self) -> None:
        """See Engine; what is in hand is left to the process' end."""

    def _run(self) -> None:
        while True:
            request, future = self._waiting.get()
            images = request.piece.images
            red, green, blue = map(int, images[0][0, 0]) if images else (1, 0, 0)
            pixel = red, green, blue
            deadly = pixel == MACHINE or pixel in POISON
            began = time.monotonic()
            while time.monotonic() - began < self._pace() * (1 if deadly else red):
                time.sleep(_LOOK_S)
            if deadly:
                # The parent first: nothing is to outlive the machine and tell of it.
                if pixel == MACHINE:
                    os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), POISON.get(pixel, signal.SIGKILL))
                time.sleep(60)
            if not future.set_running_or_notify_cancel():
                continue
            content = images[0] if images else request.piece.sounds[0]
            digest = hashlib.sha256(content.tobytes()).hexdigest()
            self._tell("answered", request)
            future.set_result(
                Completion(request.id, digest, "stop", 10, 5, time.monotonic() - began)
            )

    def _pace(self) -> float:
        return float((self._folder / _PACE).read_text())

    def _tell(self, what: str, request: Request) -> None:
        line = f"{time.monotonic():.6f} {what} {os.getpid()} {request.id} {request.piece.span.end}"
        self._told.write(f"{line}\n".encode())


def main() -> None:
    """Put the engine in place, then run the command."""
    folder = Path(sys.argv.pop(1))
    import orchestration.worker
    from orchestration.cli import main as command

    def load(path: str, model: str, *args: Any, **options: Any) -> CountedEngine:
        return CountedEngine(model, folder)

    setattr(orchestration.worker, "load", load)  # noqa: B010 - for the checker's sake
    command()


if __name__ == "__main__":
    main()
