"""What workers ask of storage, counted as S3 would count it, for `benchmarks.simulation`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from orchestration.runtime import Runtime
from storage.objects import Names, Object, Store
from storage.patience import PatientStore
from workers.outcome import Outcome

T = TypeVar("T")

#: Objects that S3 gives in one answer to a listing.
_PAGE = 1_000


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
