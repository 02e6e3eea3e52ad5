"""Every kind of fault by name, and how it is made (`tests.chaos.scene`)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Literal

import psutil

from jobs.tempo import Tempo
from orchestration.app import make_app, make_publisher
from storage.errors import BrokerUnavailable
from tests.chaos import beside
from tests.chaos.fleet import Broker
from tests.chaos.orders import STEPS
from tests.chaos.proxy import Fault, Order
from tests.chaos.scene import Make, Scene, Waiting, until, wait


def _ordered(step: str, what: str) -> Make:
    def make(scene: Scene) -> Waiting:
        path = scene.fleet.orders.give(step, what)
        taken = yield from until(lambda: not path.exists())
        path.unlink(missing_ok=True)
        return taken

    return make


def _random_kill(whom: Literal["child", "parent"], what: signal.Signals) -> Make:
    def found(scene: Scene) -> list[psutil.Process]:
        if whom == "parent":
            return scene.fleet.parents()
        return [c for p in scene.fleet.parents() for c in p.children()]

    def make(scene: Scene) -> Waiting:
        yield from wait(scene.draw.uniform(0.05, 1))
        return (yield from _to_one_of(scene, found, lambda process: process.send_signal(what)))

    return make


def _decoder(what: signal.Signals) -> Make:
    """A decode process is ended; its row is to be decoded again."""
    return lambda scene: _to_one_of(
        scene, Scene.decoders, lambda process: process.send_signal(what)
    )


def _to_one_of(
    scene: Scene,
    found: Callable[[Scene], list[psutil.Process]],
    do: Callable[[psutil.Process], object],
) -> Waiting:
    """Do it to one of the processes, as soon as there is one."""

    def done() -> bool:
        try:
            if some := found(scene):
                do(scene.draw.choice(some))
            return bool(some)
        except psutil.NoSuchProcess:
            return False

    return until(done)


def _s3(fault: Fault, method: str, *, key: str = "*", seconds: float = 0.0) -> Make:
    def make(scene: Scene) -> Waiting:
        times = scene.draw.randint(1, 3)
        order = scene.proxy.order(
            Order(fault, method=method, key=key, times=times, seconds=seconds)
        )
        yield from until(lambda: order.done >= times)
        scene.proxy.withdraw(order)
        return order.done > 0

    return make


def _cut(scene: Scene) -> Waiting:
    """Neither the store nor Redis is to be reached."""
    seconds = scene.draw.uniform(0.5, 2)
    scene.broker.cut(seconds)
    with scene.proxy.network_cut():
        yield from wait(seconds)
    return True


def _at_once(do: Callable[[Broker], object]) -> Make:
    def make(scene: Scene) -> Waiting:
        do(scene.broker)
        yield
        return True

    return make


def _pause(scene: Scene) -> Waiting:
    # Longer than the visibility timeout, which is never under 5 s.
    scene.broker.pause(6)
    yield from wait(6.5)
    return True


def _starve(scene: Scene) -> Waiting:
    scene.broker.starve(True)
    yield from wait(2)
    scene.broker.starve(False)
    return True


def _again(times: int) -> Make:
    """One shard is delivered so often at once."""

    def make(scene: Scene) -> Waiting:
        job = scene.job()
        publish = make_publisher(make_app(scene.broker.url, Tempo()))
        shard = scene.draw.randrange(job.plan.shards)
        for _ in range(times):
            try:
                publish(job, shard)
            except BrokerUnavailable:  # another fault's doing
                return False
        yield
        return True

    return make


#: What ends processes from outside, or asks them to end. Of these the issue is the step.
_ENDINGS: dict[str, Make] = {
    **{f"kill at {step}": _ordered(step, "kill") for step in STEPS},
    **{f"machine gone at {step}": _ordered(step, "machine") for step in STEPS},
    **{f"term at {step}": _ordered(step, "term") for step in STEPS},
    "kill": _random_kill("child", signal.SIGKILL),
    "machine gone": _random_kill("parent", signal.SIGKILL),
    "term": _random_kill("parent", signal.SIGTERM),
}

_OTHERS: dict[str, Make] = {
    "decoder killed": _decoder(signal.SIGKILL),
    "decoder crashes": _decoder(signal.SIGSEGV),
    "decoder out of memory": beside.starved_decoder,
    "engine dies": _ordered("generate", "die"),
    "engine killed": _ordered("generate next door", "kill"),
    "engine hangs": _ordered("generate", "hang"),
    "engine stalls": _ordered("generate", "stall"),
    "redis restarted": _at_once(Broker.restart),
    "redis wiped": _at_once(Broker.wipe),
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
    "scratch full": beside.full("fetch", large=True),
    "output full": beside.full("local", local=True),
    "submit killed": beside.submit_killed,
    "retry killed": beside.retry_killed,
    "submitters at once": beside.competing,
    "spec changed": beside.other_spec,
    "store ignores conditions": beside.deaf_store,
    "delivered twice": _again(2),
    "delivered three times": _again(3),
}

FAULTS: dict[str, Make] = {**_ENDINGS, **_OTHERS}

#: How often a kind is drawn beside others: there are many ways to be killed.
SHARES: dict[str, int] = {name: 1 if name in _ENDINGS else 3 for name in FAULTS}

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
