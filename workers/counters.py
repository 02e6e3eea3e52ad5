"""What a worker has finished since it started."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Read by progress bars and heartbeats. `failed` rows are among `rows`. Thread-safe."""

    rows: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add_row(self, *, failed: bool) -> None:
        """Count one finished row."""
        with self._lock:
            self.rows += 1
            self.failed += failed

    def add_tokens(self, prompt_tokens: int, output_tokens: int) -> None:
        """Count one finished request; a long row has many, and its end may be far."""
        with self._lock:
            self.prompt_tokens += prompt_tokens
            self.output_tokens += output_tokens
