"""What faults are made on, and how they wait.

A fault is a generator, so that several can be under way at once: it yields while it waits, and
returns whether it was made.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import psutil

from jobs.spec import StoredJob
from tests.chaos.fleet import Broker, Fleet
from tests.chaos.proxy import FaultProxy

Waiting = Generator[None, None, bool]


class Side(Protocol):
    """A small job of its own, beside the one under way; one of its rows has no medium."""

    @property
    def key(self) -> str:
        """A pattern for its objects, as the proxy sees them."""
        ...

    def half(self, *command: str) -> None:
        """Run the command on it, and kill it within its first seconds."""
        ...

    def refused(self, endpoint: str) -> bool:
        """Run the command that submits it over another endpoint: whether that was refused,
        and left nothing."""
        ...

    def submit(self, **options: object) -> None:
        """Submit it, with these options of the task."""
        ...

    def compete(self) -> None:
        """Submit it twice at once, and another job for its place at the same time."""
        ...

    def retry(self) -> None:
        """Have its failed row redone."""
        ...

    def done(self) -> bool:
        """Whether it is."""
        ...


class MakeSide(Protocol):
    """Makes a `Side`: its output in a local folder or not, one of its media large or none."""

    def __call__(self, *, local: bool = False, large: bool = False) -> Side: ...


@dataclass(frozen=True, slots=True)
class Scene:
    """What faults are made on; `job` is the one under way."""

    fleet: Fleet
    broker: Broker
    proxy: FaultProxy
    draw: random.Random
    job: Callable[[], StoredJob]
    side: MakeSide

    def decoders(self) -> list[psutil.Process]:
        """Every decode process of every worker."""
        found = []
        for parent in self.fleet.parents(spared=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                for below in parent.children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if "workers.decoder" in " ".join(below.cmdline()):
                            found.append(below)
        return found


Make = Callable[[Scene], Waiting]

#: Seconds that a fault may wait for somebody to come to its step.
PATIENCE_S = 30.0


def until(done: Callable[[], bool], within_s: float = PATIENCE_S) -> Waiting:
    """Wait until it is done; False if it was not in time."""
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            return False
        yield
    return True


def wait(seconds: float) -> Waiting:
    end = time.monotonic() + seconds
    return until(lambda: time.monotonic() > end, 2 * seconds)
