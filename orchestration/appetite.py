"""How many shards a worker has open: more than usual while its engines lack rows."""

from __future__ import annotations

from typing import Protocol

from orchestration.runtime import Runtime


class Consumes(Protocol):
    """What takes messages."""

    @property
    def allowed(self) -> int:
        """How many it may have in hand at once; what it took before it reconnected is extra."""
        ...

    def allow(self, slots: int) -> None:
        """Have so many in hand at once, from now on."""
        ...


class Appetite:
    """Lets a worker open more shards than usual while its engines have room and shards wait.

    The last shards of a plan are small, and so are all shards of a small job: the usual number
    of them does not fill engines that run a thousand requests at once, and a row takes as
    long among few others as among many. Of what waits a worker takes its part, so that
    others find theirs.
    """

    def __init__(self, runtime: Runtime, consumer: Consumes, most: int) -> None:
        """`most` shards may be open at once; what is usual is the runtime's `slots`."""
        self._runtime = runtime
        self._consumer = consumer
        self._most = most

    def look(self) -> None:
        """Allow as many shards as are to be open until the next look.

        To be called a few times a second. Raises BrokerUnavailable.
        """
        runtime, allowed = self._runtime, self._consumer.allowed
        usual, open_now = runtime.slots, len(runtime.deliveries)
        if usual <= open_now < allowed:
            # What has ended makes room for no other.
            self._consumer.allow(open_now)
        elif open_now < usual < allowed:
            self._consumer.allow(usual)
        elif allowed <= open_now < self._most and runtime.services.hungry:
            more = runtime.waiting(usual) // runtime.neighbours
            if more:
                self._consumer.allow(min(self._most, allowed + more))
