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


#: Looks in a row at which a worker must be hungry: shards that were just opened bring their rows
#: within a second.
_LOOKS = 3
#: Looks in a row at which it has not what it may: then others are to have what comes next.
_UNUSED_LOOKS = 10


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
        self._looks = 0
        self._unused = 0

    def look(self) -> None:
        """Allow more where it is hungry, and less where it is not and has more than usual.

        To be called a few times a second. Raises BrokerUnavailable.
        """
        runtime, allowed = self._runtime, self._consumer.allowed
        taken = len(runtime.deliveries)
        if taken < allowed:
            # It waits for messages: those come without this. With none allowed, one that Redis
            # gives it now would lie unread.
            self._unused += 1
            if self._unused >= _UNUSED_LOOKS and allowed > max(runtime.slots, taken + 1):
                self._consumer.allow(max(runtime.slots, taken + 1))
            return
        self._unused = 0
        if not runtime.services.hungry:
            self._looks = 0
            if allowed > runtime.slots:
                self._consumer.allow(allowed - 1)
            return
        self._looks += 1
        if self._looks >= _LOOKS and allowed < self._most:
            self._looks = 0
            more = runtime.waiting() // runtime.neighbours
            if more:
                self._consumer.allow(min(self._most, allowed + more))
