"""Faults that are made on small jobs of their own, beside the one under way."""

from __future__ import annotations

import contextlib
import time

import psutil

from storage.errors import JobConflict
from tests.chaos.proxy import Order
from tests.chaos.scene import PATIENCE_S, Make, Scene, Waiting, until

#: Bytes of address space that are too few for a decoder to take in a large picture.
_DECODER_BYTES = 64 << 20
#: Seconds until another decoder is starved, where nobody came to the one before.
_STARVED_S = 1.0


def starved_decoder(scene: Scene) -> Waiting:
    """What a decoder holds is all that it gets: as where a medium wants more than it may.

    One at a time, for a row is begun once more in another, and is not to die there too.
    """
    scene.side(large=True).submit()
    starved: list[tuple[psutil.Process, tuple[int, int], float]] = []

    def give_back() -> None:
        for process, limits, _ in starved:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_AS, limits)
        starved.clear()

    def died() -> bool:
        if any(_gone(process) for process, _, _ in starved):
            return True
        if starved and time.monotonic() < starved[0][2]:
            return False
        # Nobody came to this one.
        give_back()
        if alive := scene.decoders():
            process = scene.draw.choice(alive)
            with contextlib.suppress(psutil.NoSuchProcess):
                limits = process.rlimit(psutil.RLIMIT_AS)
                process.rlimit(psutil.RLIMIT_AS, (_DECODER_BYTES, limits[1]))
                starved.append((process, limits, time.monotonic() + _STARVED_S))
        return False

    made = yield from until(died)
    give_back()
    return made


def _gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def submit_killed(scene: Scene) -> Waiting:
    side = scene.side()
    side.half("submit")
    yield
    side.submit()
    return True


def retry_killed(scene: Scene) -> Waiting:
    """Half a retry, then no Redis that would know of it, then the retry again."""
    side = scene.side()
    side.submit()
    if not (yield from until(side.done, 4 * PATIENCE_S)):
        return False
    side.half("retry")
    scene.broker.wipe()
    side.retry()
    return True


def other_spec(scene: Scene) -> Waiting:
    """Another job for a place that is taken: refused."""
    side = scene.side()
    side.submit()
    yield
    try:
        side.submit(prompt="What else?")
    except JobConflict:
        return True
    raise AssertionError("a job was put over another")


def competing(scene: Scene) -> Waiting:
    scene.side().compete()
    yield
    return True


def deaf_store(scene: Scene) -> Waiting:
    """A store that ignores conditions: refused, and then the same store as it should be."""
    side = scene.side()
    order = scene.proxy.order(Order("deaf", method="PUT", key=side.key, times=None))
    refused = side.refused(scene.proxy.endpoint.url)
    scene.proxy.withdraw(order)
    yield
    if not refused:
        # It may not have been reached at all, while the network was cut.
        return False
    side.submit()
    return order.done > 0


def full(step: str, *, local: bool = False, large: bool = False) -> Make:
    """A disk is full where a job of its own has to write."""

    def make(scene: Scene) -> Waiting:
        path = scene.fleet.orders.give(step, "disk")
        scene.side(local=local, large=large).submit()
        taken = yield from until(lambda: not path.exists())
        path.unlink(missing_ok=True)
        return taken

    return make
