"""The notice board of one process, for the embedded default."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from orchestration.board import Standing


class LocalBoard:
    """A `Board` in memory. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queued: dict[str, dict[int, None]] = {}
        self._under_way: dict[str, set[int]] = {}
        self._next: dict[str, int] = {}
        self._jobs: dict[str, set[str]] = {}

    def queued(self, job_id: str) -> set[int]:
        """See Board."""
        with self._lock:
            return set(self._queued.get(job_id, ()))

    def under_way(self, job_id: str, lease_s: float) -> set[int]:
        """See Board. This process knows what it works on, however long ago that came."""
        del lease_s
        with self._lock:
            return set(self._under_way.get(job_id, ()))

    def post(self, job_id: str, shards: Sequence[int], course: str) -> None:
        """See Board."""
        with self._lock:
            self._queued.setdefault(job_id, {}).update(dict.fromkeys(shards))
            self._next[course] = max(self._next.get(course, 0), shards[-1] + 1)

    def standing(self, queue: str, job_id: str, course: str) -> Standing:
        """See Board."""
        messages = self.length(queue)
        with self._lock:
            return Standing(messages, len(self._queued.get(job_id, ())), self._next.get(course))

    def take(self, job_id: str, shard: int) -> None:
        """See Board. Messages are not lost here, so no more than the shard itself is taken."""
        with self._lock:
            self._queued.get(job_id, {}).pop(shard, None)
            self._under_way.setdefault(job_id, set()).add(shard)

    def finish(self, job_id: str, shard: int) -> None:
        """See Board."""
        with self._lock:
            self._under_way.get(job_id, set()).discard(shard)

    def clear(self, job_id: str, older_s: float = 0.0) -> None:
        """See Board. What is posted here is published at once."""
        del older_s
        with self._lock:
            self._queued.pop(job_id, None)

    def add_job(self, queue: str, out: str) -> None:
        """See Board."""
        with self._lock:
            self._jobs.setdefault(queue, set()).add(out)

    def drop_job(self, queue: str, out: str, course: str | None = None) -> None:
        """See Board."""
        with self._lock:
            self._jobs.get(queue, set()).discard(out)
            if course is not None:
                self._next.pop(course, None)

    def jobs(self, queue: str) -> set[str]:
        """See Board."""
        with self._lock:
            return set(self._jobs.get(queue, ()))

    def length(self, *queues: str) -> int:
        """See Board: what was posted waits until it is taken."""
        del queues
        with self._lock:
            return sum(len(shards) for shards in self._queued.values())

    def turn(self, job_id: str, ttl_s: float) -> bool:
        """See Board: there is but one feeder."""
        del job_id, ttl_s
        return True

    def beat(self, worker: str, facts: dict[str, Any], ttl_s: float) -> None:
        """See Board: nobody else reads it."""

    def workers(self) -> list[dict[str, Any]]:
        """See Board."""
        return []
