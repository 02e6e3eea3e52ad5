"""Workers on one store that die at a chosen call to it, and what others do meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from jobs.ledger import Ledger
from jobs.spec import StoredJob
from jobs.tempo import Tempo
from jobs.witness import write_death
from storage.dataset import read_shard
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import HookedStore, ScriptedEngine, services
from workers.engine import Request
from workers.in_hand import Left, left_in
from workers.outcome import Outcome
from workers.runner import OpenJob
from workers.services import Services

#: Two thousand times as fast: a checkpoint each 10 ms, and a lease of 30 ms that only `tick` ends.
TEMPO = Tempo(0.0005)


class Death(BaseException):
    """The process is gone: nothing that is caught, and nothing of it is ever written again."""


class Worker:
    """A worker process. `watch` is told of every call to the store, and may die or meddle."""

    def __init__(self, made: Services, store: MemoryStore, job: StoredJob) -> None:
        self.services = made
        self.engine = cast("ScriptedEngine", made.engine)
        self.store = store
        self.watch: Callable[[str, str, str], None] = lambda when, method, key: None
        self._dead = False
        self._lock = threading.Lock()
        self._open = OpenJob(made, HookedStore(store, self._hook), job)

    def run(self, shard: int) -> Outcome | None:
        """One delivery; None if the worker died of it. A new process stands in afterwards."""
        self._dead = False
        try:
            return self._open.run_shard(shard)
        except Death:
            return None
        finally:
            self.services.stop.clear()

    def die(self) -> None:
        """Be gone, from within `watch`."""
        self._dead = True
        raise Death

    def _hook(self, when: str, method: str, key: str) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise AssertionError(f"{method} {key}: a store call that holds up the event loop")
        with self._lock:
            if self._dead:
                raise Death
        self.watch(when, method, key)

    def on(self, method: str, key: str, act: Callable[[], None], *, when: str = "after") -> None:
        """Act once, at the first such call whose key has this in it."""
        acted = threading.Event()

        def watch(at: str, called: str, of: str) -> None:
            if (at, called) == (when, method) and key in of and not acted.is_set():
                acted.set()
                act()

        self.watch = watch


@contextmanager
def worker(
    store: MemoryStore, job: StoredJob, engine: ScriptedEngine | None = None, name: str = "w1"
) -> Iterator[Worker]:
    """A worker; when it ends nothing may be held."""
    with services(engine or ScriptedEngine(), worker=name, tempo=TEMPO) as made:
        yield Worker(made, store, job)


def tell(w: Worker, cause: str) -> list[Left]:
    """What outlives a dead worker does: it says what that had in hand."""
    folder = w.services.in_hand.folder
    found = left_in(folder)
    for left in found:
        write_death(
            w.store,
            left.generation,
            left.shard,
            left.attempt,
            rows=left.rows,
            alone=left.alone,
            cause=cause,
        )
    for path in folder.iterdir():
        path.unlink()
    return found


def place(request: Request) -> int:
    """The row's place in its shard."""
    return int(request.id.split("/")[2])


def asked(w: Worker) -> list[int]:
    """Places of the rows that were asked about since the last call."""
    places = sorted(place(request) for request in w.engine.asked)
    w.engine.asked.clear()
    return places


def texts(store: MemoryStore, shard: int = 0) -> list[Any]:
    """Column `text` of a committed shard."""
    return list(read_shard(store, shard)[0].column("text").to_pylist())


def hold_from(w: Worker, first: int) -> None:
    """Rows before `first` are answered; the others wait until the worker gives them up."""
    engine = w.engine
    engine.answer = lambda r: f"a{place(r)}" if place(r) < first else engine.hold(r)


def answer_all(w: Worker) -> None:
    """Every row is answered, and in other words."""
    w.engine.answer = lambda r: f"b{place(r)}"


def when_saved(w: Worker, records: int, act: Callable[[], object]) -> None:
    """Act once so many records of shard 0 lie in checkpoints."""
    acted: list[bool] = []

    def watch(when: str, method: str, key: str) -> None:
        saving = (when, method) == ("after", "put") and "/checkpoints/" in key
        if saving and not acted and len(saved(w.store)) >= records:
            acted.append(True)
            act()

    w.watch = watch


def saved(store: MemoryStore) -> set[int]:
    """Rows of shard 0 whose records lie in checkpoints."""
    return set(Ledger(store, TEMPO).progress(0, 0).records)


def images(count: int, fault: Sequence[int] = ()) -> list[list[str]]:
    """So many rows of an image each; those at `fault` cannot be fetched."""
    return [[f"image:{i}" + ("!timeout" if i in fault else "")] for i in range(count)]
