"""Doubles that several tests share: an object store in memory, a shard's footer."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from storage.dataset import Footer
from storage.errors import NotFound
from storage.objects import Object
from storage.ranges import FileRanges


@dataclass
class MemoryStore:
    """A `Store` in memory. Thread-safe; its clock is `clock`, moved on by hand with `tick`."""

    uri: str = "memory://test"
    clock: float = 1_000_000.0
    #: Calls by method and key, in order, for tests that count round trips.
    calls: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[str, tuple[bytes, Object]] = {}
        self._versions = itertools.count(1)

    def get(self, key: str) -> bytes:
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        with self._lock:
            self.calls.append(("get", key))
            data, found = self._find(key)
            return data, found.etag

    def head(self, key: str) -> Object | None:
        with self._lock:
            self.calls.append(("head", key))
            entry = self._objects.get(key)
            return entry[1] if entry else None

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        with self._lock:
            self.calls.append(("read", key))
            data, found = self._find(key)
            if etag and etag != found.etag:
                raise NotFound(f"{self.uri}/{key}: replaced while it was read")
            return data[start:end]

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self.calls.append(("put", key))
            # As on S3 the tag follows the content; a version keeps replaced content apart.
            version = next(self._versions)
            tag = f'"{hashlib.sha256(data).hexdigest()[:32]}-{version}"'
            self._objects[key] = (bytes(data), Object(key, len(data), tag, self.clock))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._lock:
            if key in self._objects:
                return False
            self.put(key, data)
            return True

    def put_if_match(self, key: str, data: bytes, etag: str) -> bool:
        with self._lock:
            entry = self._objects.get(key)
            if entry is None or entry[1].etag != etag:
                return False
            self.put(key, data)
            return True

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)

    def folders(self, prefix: str) -> list[str]:
        rest = (found.key[len(prefix) :] for found in self.list(prefix))
        return sorted({name.partition("/")[0] for name in rest if "/" in name})

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        with self._lock:
            found = [self._objects[k][1] for k in sorted(self._objects)]
        yield from (f for f in found if f.key.startswith(prefix) and f.key > after)

    def now(self) -> float:
        return self.clock

    def tick(self, seconds: float) -> None:
        """Move the store's clock on."""
        with self._lock:
            self.clock += seconds

    def _find(self, key: str) -> tuple[bytes, Object]:
        entry = self._objects.get(key)
        if entry is None:
            raise NotFound(f"{self.uri}/{key}: no such object")
        return entry


def footer(
    shard: int, generation: int = 0, *, ok: int = 1, error: int = 0, finished_at: float = 0.0
) -> Footer:
    """What a shard's file says of itself, as far as views and feeders look."""
    return Footer(
        job_id="j",
        shard=shard,
        generation=generation,
        attempt=0,
        worker="w",
        ok=ok,
        error=error,
        quarantined=0,
        started_at=0.0,
        finished_at=finished_at,
        prompt_tokens=0,
        output_tokens=0,
    )


def counting_ranges() -> tuple[type[FileRanges], list[int]]:
    """Files read in ranges, and the bytes of each read."""
    reads: list[int] = []

    class Counting(FileRanges):
        def read(self, start: int, end: int) -> bytes:
            reads.append(end - start)
            return super().read(start, end)

    return Counting, reads
