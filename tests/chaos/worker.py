"""`mediamill worker` on an engine that crashes, hangs and stalls on order.

    python -m tests.chaos.worker ORDERS ENGINE worker --model tiny ...

ENGINE is `scripted`, `next-door` for one that is and has a process of its own, or `real` for the
real one, which dies with the worker's process alone.
Everything else is the real thing: command, parent, Celery, storage, decode processes. An
image is answered by its pixels; one that begins with a colour of `POISON` ends the process.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import signal
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

from storage.errors import EngineDead
from storage.media import Media, MediaSource
from storage.objects import Store, open_store
from tests.chaos.orders import Orders
from tests.unit.scripted import HookedStore
from workers.decode import Decoders
from workers.engine import Capacity, Completion, Engine, Request

#: First pixels of images that end the process in which they are asked about, and by what.
POISON = {(255, 0, 1): signal.SIGKILL, (255, 0, 2): signal.SIGSEGV}
#: Seconds that an answer takes, and that a stalled engine stands still.
ANSWER_S, STALL_S = 0.02, 2.0
#: Tokens of every request.
TOKENS = 100


class ChaosEngine:
    """Answers one request after the other, in a thread."""

    name = "chaos"
    version = "1"

    def __init__(self, model: str, orders: Orders, *, step: str = "generate") -> None:
        self.model = model
        self._step = step
        self.capacity = Capacity(tokens=100_000, sequences=16, context=8192)
        self._orders = orders
        self._waiting: list[tuple[Request, Future[Completion]]] = []
        self._dead: EngineDead | None = None
        self._hangs = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def measure(self, request: Request) -> int:
        """The same for every request."""
        del request
        return TOKENS

    def submit(self, request: Request) -> Future[Completion]:
        """See Engine."""
        future: Future[Completion] = Future()
        with self._changed:
            if self._dead is None:
                self._waiting.append((request, future))
                self._changed.notify()
                return future
        future.set_exception(self._dead)
        return future

    def close(self) -> None:
        """See Engine."""
        self._die("closed")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) and not self._hangs)
                request, future = self._waiting[0]
            time.sleep(ANSWER_S)
            pixel = tuple(int(value) for value in request.piece.images[0][0, 0])
            if pixel in POISON:
                os.kill(os.getpid(), POISON[pixel])
                time.sleep(60)
            # A row that is alone at deaths is to be condemned for them: those are for others.
            match act(self._orders, self._step) if len(self._waiting) > 1 else None:
                case "die":
                    return self._die("out of memory")
                case "hang":
                    self._hangs = True
                    continue
                case "stall":
                    time.sleep(STALL_S)
            with self._changed:
                if not self._waiting or self._waiting[0][1] is not future:
                    continue
                self._waiting.pop(0)
            if future.set_running_or_notify_cancel():
                digest = hashlib.sha256(request.piece.images[0].tobytes()).hexdigest()
                future.set_result(Completion(request.id, digest, "stop", 10, 5, ANSWER_S))

    def _die(self, reason: str) -> None:
        with self._changed:
            self._dead = EngineDead(f"the engine ended: {reason}")
            waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._dead)


def act(orders: Orders, step: str) -> str | None:
    """Do what is ordered for this step; what it is, where somebody else has to do it."""
    what = orders.take(step)
    match what:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "machine":  # nothing outlives it
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        case "term":
            os.kill(os.getppid(), signal.SIGTERM)
        case "clock":  # of this process alone: its machine thinks that it is later, or earlier
            real, jump = time.time, random.choice((-1, 1)) * random.uniform(60, 86_400)
            setattr(time, "time", lambda: real() + jump)  # noqa: B010 - for the checker's sake
        case "disk":  # no file can be written, for as long as a cleaner takes
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
            give_back = (resource.RLIMIT_FSIZE, (hard, hard))
            threading.Timer(STALL_S, resource.setrlimit, give_back).start()
    return what


def watched(store: Store, orders: Orders) -> Store:
    """The store, where the steps of the protocol are heeded."""

    def hook(when: str, method: str, key: str) -> None:
        new = method in ("put_if_absent", "put", "put_if_match")
        if not new:
            return
        folder = key.removeprefix("_job/").partition("/")[0]
        if when == "before" and not store.uri.startswith("s3:"):
            act(orders, "local")
        step = {
            ("before", "attempts"): "claim",
            ("after", "checkpoints"): "checkpoint",
            ("before", "data"): "commit",
            ("before", "done"): "marker",
            ("after", "done"): "ack",
        }.get((when, folder))
        if step is not None:
            act(orders, step)

    hooked: Store = cast("Any", HookedStore(store, hook))
    return hooked


def main() -> None:
    """Put the doubles in place, then run the command."""
    folder, engine = Path(sys.argv.pop(1)), sys.argv.pop(1)
    orders = Orders(folder)
    import orchestration.runtime
    import orchestration.worker
    from orchestration.cli import main as command

    def load(path: str, model: str, *args: Any, **options: Any) -> Engine:
        if engine == "next-door":
            from tests.chaos.host import next_door

            return next_door(model, folder)
        return ChaosEngine(model, orders)

    def open_watched(uri: str, *args: Any) -> Store:
        return watched(open_store(uri, *args), orders)

    fetch = MediaSource.fetch

    def fetch_watched(self: MediaSource, uri: str, **options: Any) -> Media:
        # What lies here is read where it lies.
        if uri.startswith("s3:"):
            act(orders, "fetch")
        return fetch(self, uri, **options)

    decode = Decoders.decode

    def decode_watched(self: Decoders, *args: Any) -> Any:
        act(orders, "decode")
        return decode(self, *args)

    if engine != "real":
        setattr(orchestration.worker, "load", load)  # noqa: B010 - for the checker's sake
    for place, name, double in (
        (orchestration.runtime, "open_store", open_watched),
        (Decoders, "decode", decode_watched),
        (MediaSource, "fetch", fetch_watched),
    ):
        setattr(place, name, double)
    command()


if __name__ == "__main__":
    main()
