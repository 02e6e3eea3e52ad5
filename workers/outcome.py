"""How a delivery of a shard ended."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """All but STOPPED acknowledge the message."""

    COMMITTED = "committed"
    ALREADY = "already"  # somebody committed it before
    BUSY = "busy"  # another attempt is live, or has to be waited for
    HALTED = "halted"  # the job is paused or cancelled
    GIVEN_UP = "given_up"  # ended too often with one error
    REPLACED = "replaced"  # the place was emptied meanwhile, or holds another job
    STOPPED = "stopped"  # this worker goes down; the message goes back
