"""What is wanted of a job, looked at for all of its open shards in a worker by one of them."""

from __future__ import annotations

import threading
import time

from jobs.control import read_control
from storage.objects import Store


class Wanted:
    """Whether the job is to go on. Thread-safe; `look` is due once in `every_s` seconds."""

    def __init__(self, store: Store, every_s: float) -> None:
        self._store = store
        self._every_s = every_s
        self._lock = threading.Lock()
        self._look_at = float("-inf")
        #: By the last look: the job was neither paused nor cancelled.
        self.goes_on = True

    def due(self) -> bool:
        """Whether the caller is to look now; others are told no meanwhile."""
        with self._lock:
            now = time.monotonic()
            if now < self._look_at:
                return False
            self._look_at = now + self._every_s
            return True

    def look(self) -> bool:
        """Read what is wanted now: whether the job goes on."""
        self.goes_on = read_control(self._store).wanted == "run"
        with self._lock:
            self._look_at = time.monotonic() + self._every_s
        return self.goes_on
