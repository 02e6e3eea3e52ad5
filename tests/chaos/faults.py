"""Every kind of fault by name, and how it is made."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import psutil

from jobs.spec import StoredJob
from jobs.tempo import Tempo
from orchestration.app import make_app, make_publisher
from storage.errors import JobConflict
from tests.chaos.fleet import Broker, Fleet
from tests.chaos.orders import STEPS
from tests.chaos.proxy import Fault, FaultProxy, Order


class Side(Protocol):
    """A small job of its own, beside the one under way; one of its rows has no medium."""

    def half(self, *command: str) -> None:
        """Run the command on it, and kill it within its first seconds."""
        ...

    def submit(self, **options: object) -> None:
        """Submit it, with these options of the task."""
        ...

    def retry(self) -> None:
        """Have its failed row redone."""
        ...

    def done(self) -> bool:
        """Whether it is."""
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """What faults are made on; `job` is the one under way, `tend` keeps everything going."""

    fleet: Fleet
    broker: Broker
    proxy: FaultProxy
    draw: random.Random
    job: Callable[[], StoredJob]
    tend: Callable[[], None]
    side: Callable[[], Side]

    def until(self, done: Callable[[], bool], within_s: float) -> bool:
        """Tend until it is done; False if it was not in time."""
        deadline = time.monotonic() + within_s
        while not done():
            if time.monotonic() > deadline:
                return False
            self.tend()
        return True


Make = Callable[[Scene], bool]

#: Seconds that a fault may wait for somebody to come to its step.
_PATIENCE_S = 30.0


def _ordered(step: str, what: str) -> Make:
    def make(scene: Scene) -> bool:
        path = scene.fleet.orders.give(step, what)
        taken = scene.until(lambda: not path.exists(), _PATIENCE_S)
        path.unlink(missing_ok=True)
        return taken

    return make


def _random_kill(whom: Literal["child", "parent"], what: signal.Signals) -> Make:
    def make(scene: Scene) -> bool:
        pause = time.monotonic() + scene.draw.uniform(0, 1)
        scene.until(lambda: time.monotonic() > pause, 2)
        if whom == "parent":
            return _to_one_of(scene, scene.fleet.parents, what)
        return _to_one_of(
            scene, lambda: [c for p in scene.fleet.parents() for c in p.children()], what
        )

    return make


def _decoder(what: signal.Signals) -> Make:
    """A decode process is ended; its row is to be decoded again."""

    def decoders(scene: Scene) -> list[psutil.Process]:
        below = [c for p in scene.fleet.parents() for c in p.children(recursive=True)]
        return [c for c in below if "workers.decoder" in " ".join(c.cmdline())]

    return lambda scene: _to_one_of(scene, lambda: decoders(scene), what)


def _to_one_of(
    scene: Scene, found: Callable[[], list[psutil.Process]], what: signal.Signals
) -> bool:
    """Signal one of the processes, as soon as there is one."""

    def signalled() -> bool:
        try:
            if some := found():
                scene.draw.choice(some).send_signal(what)
            return bool(some)
        except psutil.NoSuchProcess:
            return False

    return scene.until(signalled, _PATIENCE_S)


def _s3(fault: Fault, method: str, *, key: str = "*", seconds: float = 0.0) -> Make:
    def make(scene: Scene) -> bool:
        times = scene.draw.randint(1, 3)
        order = scene.proxy.order(
            Order(fault, method=method, key=key, times=times, seconds=seconds)
        )
        scene.until(lambda: order.done >= times, _PATIENCE_S)
        scene.proxy.clear()
        return order.done > 0

    return make


def _cut(scene: Scene) -> bool:
    with scene.proxy.network_cut():
        end = time.monotonic() + scene.draw.uniform(0.5, 2)
        scene.until(lambda: time.monotonic() > end, 5)
    return True


def _restart(scene: Scene) -> bool:
    scene.broker.restart()
    return True


def _wipe(scene: Scene) -> bool:
    scene.broker.wipe()
    return True


def _pause(scene: Scene) -> bool:
    # Longer than the visibility timeout, which is never under 5 s.
    scene.broker.pause(6)
    end = time.monotonic() + 6.5
    scene.until(lambda: time.monotonic() > end, 10)
    return True


def _starve(scene: Scene) -> bool:
    scene.broker.starve(True)
    end = time.monotonic() + 2
    scene.until(lambda: time.monotonic() > end, 5)
    scene.broker.starve(False)
    return True


def _again(times: int) -> Make:
    """One shard is delivered so often at once."""

    def make(scene: Scene) -> bool:
        job = scene.job()
        publish = make_publisher(make_app(scene.broker.url, Tempo()))
        shard = scene.draw.randrange(job.plan.shards)
        for _ in range(times):
            publish(job, shard)
        return True

    return make


def _submit_killed(scene: Scene) -> bool:
    side = scene.side()
    side.half("submit")
    side.submit()
    return True


def _retry_killed(scene: Scene) -> bool:
    """Half a retry, then no Redis that would know of it, then the retry again."""
    side = scene.side()
    side.submit()
    if not scene.until(side.done, 4 * _PATIENCE_S):
        return False
    side.half("retry")
    scene.broker.wipe()
    side.retry()
    return True


def _other_spec(scene: Scene) -> bool:
    """Another job for a place that is taken: refused."""
    side = scene.side()
    side.submit()
    try:
        side.submit(prompt="What else?")
    except JobConflict:
        return True
    raise AssertionError("a job was put over another")


FAULTS: dict[str, Make] = {
    **{f"kill at {step}": _ordered(step, "kill") for step in STEPS},
    **{f"machine gone at {step}": _ordered(step, "machine") for step in STEPS},
    "kill": _random_kill("child", signal.SIGKILL),
    "machine gone": _random_kill("parent", signal.SIGKILL),
    "term": _random_kill("parent", signal.SIGTERM),
    "term at generate": _ordered("generate", "term"),
    "decoder killed": _decoder(signal.SIGKILL),
    "decoder crashes": _decoder(signal.SIGSEGV),
    "engine dies": _ordered("generate", "die"),
    "engine hangs": _ordered("generate", "hang"),
    "engine stalls": _ordered("generate", "stall"),
    "redis restarted": _restart,
    "redis wiped": _wipe,
    "redis paused": _pause,
    "redis out of memory": _starve,
    "s3 500": _s3("500", "*"),
    "s3 503": _s3("503", "*"),
    "s3 403": _s3("403", "*"),
    "s3 reset": _s3("reset", "*"),
    "s3 answer lost": _s3("lost", "PUT"),
    "s3 commit's answer lost": _s3("lost", "PUT", key="*/data/*"),
    "s3 truncated": _s3("truncated", "GET"),
    "s3 short": _s3("short", "GET"),
    "s3 flipped": _s3("flipped", "GET"),
    "s3 slow": _s3("slow", "*", seconds=3),
    "s3 stalled": _s3("stalled", "PUT", seconds=3),
    "network cut": _cut,
    "clock jumps": _ordered("generate", "clock"),
    "disk full": _ordered("claim", "disk"),
    "submit killed": _submit_killed,
    "retry killed": _retry_killed,
    "spec changed": _other_spec,
    "delivered twice": _again(2),
    "delivered three times": _again(3),
}

#: Kinds that the real engine is put to: it takes seconds to start, and knows no orders.
ON_THE_REAL_ENGINE = (
    "kill at claim",
    "kill at decode",
    "kill at checkpoint",
    "kill at commit",
    "kill at marker",
    "kill at ack",
    "kill",
    "machine gone",
    "term",
    "decoder killed",
    "redis wiped",
    "s3 503",
    "s3 commit's answer lost",
    "network cut",
    "delivered three times",
)
