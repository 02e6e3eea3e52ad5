"""How much may be under way at once in a worker, over all of its open shards."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future

Amounts = tuple[int, ...]


class Budget:
    """Room in several measures at once (say, tokens and bytes), first come, first served.

    Thread-safe, and awaited from any event loop: every open shard has its own loop
    and takes from the same budget. What is larger than the whole budget is admitted
    once nothing else is, so that it is slow but never stuck.
    """

    def __init__(self, *limits: int) -> None:
        self._limits = limits
        self._used = [0] * len(limits)
        self._holders = 0
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Amounts, Future[None]]] = deque()
        self._moved_at = time.monotonic()

    async def acquire(self, *amounts: int) -> None:
        """Wait for room for these amounts and take it; `release` must follow."""
        ticket: Future[None] = Future()
        with self._lock:
            self._waiting.append((amounts, ticket))
            self._admit()
        # Most find room at once: to wait for those as well would wake a loop for each.
        if ticket.done():
            return
        try:
            await asyncio.wrap_future(ticket)
        except asyncio.CancelledError:
            if ticket.cancel():
                with self._lock:
                    # Those behind it need wait for it no longer.
                    self._admit()
            else:
                # It was admitted while the cancellation came.
                self.release(*amounts)
            raise

    def release(self, *amounts: int) -> None:
        """Give back what `acquire` took."""
        with self._lock:
            self._holders -= 1
            self._used = [used - a for used, a in zip(self._used, amounts, strict=True)]
            self._moved_at = time.monotonic()
            self._admit()

    @property
    def holders(self) -> int:
        """How many hold a part of it now."""
        return self._holders

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    @property
    def share(self) -> float:
        """How much of it is taken, by the measure of which the most is; 1.0 is all."""
        return max(used / limit for used, limit in zip(self._used, self._limits, strict=True))

    def still_s(self) -> float:
        """Seconds for which there were holders and none came or went."""
        return time.monotonic() - self._moved_at if self._holders else 0.0

    def _admit(self) -> None:
        while self._waiting:
            amounts, ticket = self._waiting[0]
            if ticket.cancelled():
                self._waiting.popleft()
                continue
            fits = all(
                used + a <= limit
                for used, a, limit in zip(self._used, amounts, self._limits, strict=True)
            )
            if self._holders and not fits:
                return
            self._waiting.popleft()
            # From here the ticket can no longer be cancelled, or it was and holds nothing.
            if not ticket.set_running_or_notify_cancel():
                continue
            self._holders += 1
            self._used = [used + a for used, a in zip(self._used, amounts, strict=True)]
            self._moved_at = time.monotonic()
            ticket.set_result(None)
