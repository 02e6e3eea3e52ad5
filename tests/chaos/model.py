"""The protocol as a small model: real deliveries of shards, stepped from store call to store call.

`OpenJob.run_shard` is the real one, and so are the ledger, the commit, the marker and the
retries under it; only the work on rows is a stand-in, which checkpoints each row by itself.
Each delivery stands before every one of its calls to the store until it is told to go on, so
that any order of several workers' calls can be had, and the same one again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.retries import generation_of, load_retries
from jobs.spec import StoredJob
from storage.dataset import Footer
from storage.errors import StoreUnavailable
from storage.objects import Object, Store
from storage.patience import PatientStore
from storage.records import Record, Status
from tests.unit.fakes import MemoryStore
from tests.unit.mortal import Death
from workers.outcome import Outcome
from workers.runner import OpenJob
from workers.services import Services
from workers.shard_work import ShardWork

Fault = Literal[
    "fails",  # the store does not answer, and did nothing
    "lost",  # it did what was asked, and its answer is lost
    "dies",  # the worker's process ends before the call
    "dies_after",  # it ends with the call done and its answer unread
]
#: The worker whose first row of each shard is an error.
FAILING = "w2"
#: A write that is neither of these may not touch a shard's result.
_CONDITIONAL = frozenset({"put_if_absent", "put_if_match"})
#: Real seconds that a step may take; only a delivery that hangs takes more.
_STEP_S = 60.0


class ModelWork(ShardWork):
    """Rows answered at once, by id and prompt, and each checkpointed by itself."""

    def run(self) -> None:
        """Bring every row that has no record to one."""
        for place in self.places:
            if place in self.done.records:
                continue
            prompt = (self.redo or {}).get(place, {}).get("prompt", "p0")
            row_id = self.rows.rows[place].id
            lineage = {
                "job_id": self.job.job_id,
                "model": "m",
                "model_revision": "r",
                "engine": "model",
                "prompt_sha256": prompt,
                "attempt": self.attempt.number,
                "worker": self.services.worker,
                "finished_at": 1.0,
            }
            # So that counts tell whose commit a marker is about.
            failed = place == 0 and self.services.worker == FAILING
            error = {"kind": "engine", "message": "", "retryable": True} if failed else None
            status: Status = "error" if failed else "ok"
            text = f"{row_id} {prompt}"
            record = Record(row_id, "x", "caption", status, lineage, error, text)
            self.done.add(place, record)
            self.attempt.checkpoint([(place, record)])


class Delivery(threading.Thread):
    """One message about a shard in a worker: runs when told to, a store call at a time."""

    def __init__(self, worker: WorkerProcess, shard: int, generation: int) -> None:
        super().__init__(name=f"{worker.name}/{shard}", daemon=True)
        self.worker = worker
        self.shard = shard
        #: The one that the shard was to have when the message came.
        self.generation = generation
        #: The call that it stands before; None once it is over.
        self.before: tuple[str, str] | None = ("", "")
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        #: The key of the attempt that it has won.
        self.attempt: str | None = None
        self._fault: Fault | None = None
        self._dead = False
        self._go = threading.Semaphore(0)
        self._stands = threading.Semaphore(0)

    @property
    def over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.before is None

    def begin(self) -> None:
        """Go up to the first call."""
        self.start()
        self._wait()

    def step(self, fault: Fault | None = None) -> None:
        """Let the call be made, with this fault, and go up to the next one or the end."""
        self._fault = fault
        self._go.release()
        self._wait()

    def die(self) -> None:
        """End here: nothing of it is ever written again."""
        if not self.over:
            self._dead = True
            self.step()

    def run(self) -> None:
        """The thread's own: the real delivery."""
        try:
            self.outcome = self.worker.job.run_shard(self.shard)
        except Death:
            self.error = None
        except BaseException as error:
            self.error = error
        self.before = None
        self._stands.release()

    def stand(self, method: str, key: str) -> Fault | None:
        """Called by the store before each call: wait for the turn."""
        if self._dead:
            raise Death
        self.before = (method, key)
        self._stands.release()
        self._go.acquire()
        if self._dead:
            raise Death
        fault, self._fault = self._fault, None
        if fault in ("dies", "dies_after"):
            self._dead = True
        return fault

    def _wait(self) -> None:
        if not self._stands.acquire(timeout=_STEP_S):
            raise AssertionError(f"{self.name} hangs after {self.before}")


@dataclass(frozen=True, slots=True)
class Commit:
    """A write of a shard's result that the store has taken."""

    shard: int
    footer: Footer
    etag: str


class SteppedStore:
    """A worker's way to the store: each call of a delivery waits for its turn."""

    def __init__(self, store: MemoryStore, commits: list[Commit]) -> None:
        self.uri = store.uri
        self._store = store
        self._commits = commits

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        """See Store."""
        found: list[Object] = self._call(
            "list", prefix, lambda: list(self._store.list(prefix, after=after))
        )
        return iter(found)

    def now(self) -> float:
        """See Store; costs no step, since it changes nothing and nothing can be read by it."""
        return self._store.now()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._store, name)
        return lambda key, *args, **more: self._call(name, key, lambda: call(key, *args, **more))

    def _call(self, method: str, key: str, call: Callable[[], Any]) -> Any:
        delivery = threading.current_thread()
        # Plans never change, and are read by threads of pyarrow's.
        if not isinstance(delivery, Delivery) or key.startswith("_job/plan/"):
            return call()
        fault = delivery.stand(method, key)
        if fault == "dies":
            raise Death
        if fault == "fails":
            raise StoreUnavailable(f"{method} {key}: as ordered")
        result = call()
        self._note(delivery, method, key, result)
        if fault == "dies_after":
            raise Death
        if fault == "lost":
            raise StoreUnavailable(f"{method} {key}: the answer is lost")
        return result

    def _note(self, delivery: Delivery, method: str, key: str, result: Any) -> None:
        if method == "put_if_absent" and "/attempts/" in key and result and key.count(".") == 1:
            delivery.attempt = key
        if not key.startswith("data/") or method in ("get", "get_tagged", "head", "read", "list"):
            return
        assert method in _CONDITIONAL, f"{method} {key}: no conditional write"
        if result:
            data, etag = self._store.get_tagged(key)
            metadata = pq.read_metadata(pa.BufferReader(data)).metadata
            footer = Footer.model_validate_json(metadata[b"mediamill"])
            self._commits.append(Commit(footer.shard, footer, etag))


class WorkerProcess:
    """A worker's process. When it dies all its deliveries do, and a new one stands in."""

    def __init__(
        self,
        services: Services,
        store: MemoryStore,
        job: StoredJob,
        commits: list[Commit],
        *,
        patient: bool,
    ) -> None:
        self.name = services.worker
        self.deliveries: list[Delivery] = []
        stepped = cast("Store", SteppedStore(store, commits))
        if patient:
            stepped = PatientStore(stepped, _STEP_S, _Unwaiting())
        self._store = store
        self._new: Callable[[], OpenJob] = lambda: OpenJob(services, stepped, job)
        self.job = self._new()

    def deliver(self, shard: int) -> Delivery:
        """Begin a delivery."""
        delivery = Delivery(self, shard, generation_of(shard, load_retries(self._store)))
        self.deliveries.append(delivery)
        delivery.begin()
        return delivery

    def die(self) -> list[Delivery]:
        """The process ends; gives the deliveries that this ended."""
        ended = [d for d in self.deliveries if not d.over]
        for delivery in ended:
            delivery.die()
            delivery.join()
        self.deliveries.clear()
        self.job = self._new()
        return ended


class _Unwaiting(threading.Event):
    """Never set, and waited for in no time."""

    def wait(self, timeout: float | None = None) -> bool:
        """Say at once that it is not set."""
        del timeout
        return False
