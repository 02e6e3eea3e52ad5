"""A worker opens more shards than usual while its engines lack rows, and no more than its part."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from jobs.control import write_control
from orchestration.appetite import Appetite
from orchestration.runtime import Runtime
from tests.unit.scripted import ScriptedEngine, services
from tests.unit.test_feeder import Scene
from workers.services import Services

USUAL, MOST = 4, 20


class Allows:
    """A consumer that only remembers."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed

    def allow(self, slots: int) -> None:
        self.allowed = slots


def look(
    allowed: int, open_now: int, *, hungry: bool, waiting: int = 6, neighbours: int = 1
) -> int:
    """How many messages the worker may have in hand after a look."""
    consumer = Allows(allowed)
    runtime = SimpleNamespace(
        slots=USUAL,
        deliveries=set(range(open_now)),
        services=SimpleNamespace(hungry=hungry),
        waiting=lambda few: waiting,
        neighbours=neighbours,
    )
    Appetite(cast("Runtime", runtime), consumer, MOST).look()
    return consumer.allowed


def test_more_are_opened_while_engines_lack_rows_and_shards_wait() -> None:
    assert look(4, 4, hungry=True) == 10
    assert look(10, 10, hungry=True) == 16
    assert look(4, 4, hungry=True, waiting=100) == MOST
    assert look(4, 4, hungry=False) == USUAL
    assert look(4, 4, hungry=True, waiting=0) == USUAL
    assert look(MOST, MOST, hungry=True) == MOST
    assert look(4, 3, hungry=True) == USUAL, "what may be taken comes by itself"


def test_a_worker_takes_its_part_of_what_waits() -> None:
    assert look(4, 4, hungry=True, neighbours=3) == 6
    assert look(4, 4, hungry=True, neighbours=7) == USUAL, "for whoever has a slot free"


def test_what_has_ended_makes_room_for_no_other_beyond_the_usual() -> None:
    assert look(10, 9, hungry=True) == 9
    assert look(10, 9, hungry=False) == 9
    assert look(10, 2, hungry=False) == USUAL


def test_after_it_has_reconnected_a_worker_takes_no_more_than_before_unless_it_is_hungry() -> None:
    # Celery begins with fewer than usual where shards are open, and they count no more.
    assert look(1, 12, hungry=False) == 1
    assert look(USUAL, 12, hungry=False) == USUAL
    assert look(USUAL, 12, hungry=True) == 10
    assert look(0, 12, hungry=False) == 0, "not connected"


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
