"""A worker opens more shards than usual while its engines lack rows, and no more than its part."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.control import write_control
from orchestration.appetite import Appetite
from orchestration.runtime import Runtime
from tests.unit.scripted import ScriptedEngine, services
from tests.unit.test_feeder import Scene
from workers.services import Services

USUAL, MOST = 4, 20


class Allows:
    """A consumer that only remembers."""

    def __init__(self) -> None:
        self.slots = USUAL

    def allow(self, slots: int) -> None:
        self.slots = slots


def look(*, open_now: int, hungry: bool, waiting: int, neighbours: int = 1) -> int:
    """How many shards the worker may have open after a look."""
    consumer = Allows()
    runtime = SimpleNamespace(
        slots=USUAL,
        deliveries=set(range(open_now)),
        services=SimpleNamespace(hungry=hungry),
        waiting=lambda few: waiting,
        neighbours=neighbours,
    )
    Appetite(cast("Runtime", runtime), consumer, MOST).look()
    return consumer.slots


@pytest.mark.parametrize(
    ("open_now", "hungry", "waiting", "neighbours", "allowed"),
    [
        (4, True, 6, 1, 10),
        (4, True, 100, 1, MOST),
        (4, False, 6, 1, USUAL),
        # What is not taken yet comes by itself.
        (3, True, 6, 1, USUAL),
        # Its part: the others find theirs, and the last few are for whoever has a slot free.
        (4, True, 6, 3, 6),
        (4, True, 6, 7, USUAL),
        # What is open stays, and makes no room for others.
        (9, False, 6, 1, 9),
        (9, True, 0, 1, 9),
        (MOST, True, 6, 1, MOST),
        (0, True, 6, 1, USUAL),
    ],
)
def test_more_are_opened_while_engines_lack_rows_and_shards_wait(
    open_now: int, hungry: bool, waiting: int, neighbours: int, allowed: int
) -> None:
    seen = look(open_now=open_now, hungry=hungry, waiting=waiting, neighbours=neighbours)
    assert seen == allowed


def hold(made: Services, budget: str, shares: Sequence[int]) -> bool:
    """Whether the worker is hungry while so much is taken, by one holder each."""

    async def held() -> bool:
        stage: Any = getattr(made, budget)
        amounts = [(share, *([0] * (len(stage._limits) - 1))) for share in shares]
        takers = [asyncio.create_task(stage.acquire(*amount)) for amount in amounts]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        hungry = made.hungry
        for taker in takers:
            taker.cancel()
        done = await asyncio.gather(*takers, return_exceptions=True)
        for amount, end in zip(amounts, done, strict=True):
            if end is None:
                stage.release(*amount)
        return hungry

    return asyncio.run(held())


def test_a_worker_is_hungry_until_its_engines_are_full_or_rows_wait() -> None:
    with services(ScriptedEngine(lambda request: "")) as made:
        tokens = made.engine.capacity.tokens
        assert made.hungry
        assert hold(made, "in_engine", [tokens // 2]), "half of what it runs"
        assert not hold(made, "in_engine", [tokens]), "all of it: the next only wait"
        assert hold(made, "ahead", [1])
        assert not hold(made, "ahead", [10**6, 1]), "a row waits for a fetcher"
        assert not hold(made, "floor", [10**6, 1])
        made.stop.set()
        assert not made.hungry


def test_a_hungry_worker_has_the_next_shards_enqueued_unless_its_job_is_paused() -> None:
    scene = Scene()
    assert len(scene.round()) == 16
    for shard in range(16):
        scene.board.take(scene.job.job_id, shard)
    write_control(scene.store, "pause")
    scene.feeder.feed_on(scene.fed)
    assert len(scene.queue) == 16
    write_control(scene.store, "run")
    scene.feeder.feed_on(scene.fed)
    assert scene.queue[16:] == list(range(16, 32)), "a window, and nothing twice"
    scene.feeder.feed_on(scene.fed)
    assert len(scene.queue) == 32
