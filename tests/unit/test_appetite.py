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
    allowed: int,
    open_now: int,
    *,
    hungry: bool,
    waiting: int = 6,
    neighbours: int = 1,
    looks: int = 3,
) -> int:
    """How many messages the worker may have in hand after so many looks."""
    consumer = Allows(allowed)
    runtime = SimpleNamespace(
        slots=USUAL,
        deliveries=set(range(open_now)),
        services=SimpleNamespace(hungry=hungry),
        waiting=lambda: waiting,
        neighbours=neighbours,
    )
    appetite = Appetite(cast("Runtime", runtime), consumer, MOST)
    for _ in range(looks):
        appetite.look()
    return consumer.allowed


def test_more_are_opened_while_engines_lack_rows_and_shards_wait() -> None:
    assert look(4, 4, hungry=True) == 10
    assert look(10, 10, hungry=True) == 16
    assert look(4, 4, hungry=True, waiting=100) == MOST
    assert look(4, 4, hungry=True, waiting=0) == USUAL
    assert look(MOST, MOST, hungry=True) == MOST
    assert look(4, 3, hungry=True) == USUAL, "what may be taken comes by itself"


def test_shards_that_were_just_opened_are_given_the_time_to_bring_their_rows() -> None:
    assert look(4, 4, hungry=True, looks=2) == USUAL
    assert look(4, 10, hungry=True, looks=5) == 10
    assert look(4, 16, hungry=True, looks=6) == 16


def test_a_worker_takes_its_part_of_what_waits() -> None:
    assert look(4, 4, hungry=True, neighbours=3) == 6
    assert look(4, 4, hungry=True, neighbours=7) == USUAL, "for whoever has a slot free"


def test_once_it_is_full_a_worker_goes_back_to_the_usual_bit_by_bit() -> None:
    assert look(10, 10, hungry=False, looks=1) == 9
    assert look(10, 10, hungry=False, looks=20) == USUAL
    assert look(4, 4, hungry=False) == USUAL
    assert look(10, 9, hungry=False) == 10, "with less allowed, what comes now would lie unread"


def test_what_a_worker_does_not_use_is_left_to_others() -> None:
    # Else the next job's shards, large ones, would go to who was hungry at the last one's end.
    assert look(MOST, 0, hungry=False, looks=20) == USUAL
    assert look(MOST, 8, hungry=False, looks=20) == 9, "one that comes now is read"
    assert look(MOST, 8, hungry=False, looks=5) == MOST, "more may come in a moment"


def test_after_it_has_reconnected_a_worker_takes_no_more_than_before_unless_it_is_hungry() -> None:
    # Celery begins with fewer than usual where shards are open, and they count no more.
    assert look(1, 12, hungry=False) == 1
    assert look(USUAL, 12, hungry=False) == USUAL
    assert look(USUAL, 12, hungry=True) == 10


def hungry_with(made: Services, **taken: Sequence[int]) -> bool:
    """Whether the worker is hungry while so much of its budgets is taken, by one holder each."""

    async def held() -> bool:
        takers: list[tuple[Any, tuple[int, ...], asyncio.Task[None]]] = []
        for budget, shares in taken.items():
            stage: Any = getattr(made, budget)
            for share in shares:
                amounts = (share, *([0] * (len(stage._limits) - 1)))
                takers.append((stage, amounts, asyncio.create_task(stage.acquire(*amounts))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        hungry = made.hungry
        for stage, amounts, taker in takers:
            taker.cancel()
            if (await asyncio.gather(taker, return_exceptions=True)) == [None]:
                stage.release(*amounts)
        return hungry

    return asyncio.run(held())


def test_a_worker_is_hungry_until_its_engines_are_full_or_rows_wait() -> None:
    with services(ScriptedEngine(lambda request: "")) as made:
        tokens = made.engine.capacity.tokens
        assert not made.hungry, "something else keeps rows from the engines"
        assert hungry_with(made, in_engine=[tokens // 2]), "half of what it runs"
        assert not hungry_with(made, in_engine=[tokens]), "all of it: the next only wait"
        assert hungry_with(made, in_engine=[1], ahead=[1])
        assert not hungry_with(made, in_engine=[1], ahead=[10**6, 1]), "a row waits for a fetcher"
        assert not hungry_with(made, in_engine=[1], floor=[10**6, 1])
        made.stop.set()
        assert not hungry_with(made, in_engine=[1])


def test_a_hungry_worker_has_the_next_shards_enqueued_unless_its_job_is_paused() -> None:
    scene = Scene()
    assert len(scene.round()) == 16
    for shard in range(16):
        scene.board.take(scene.job.job_id, shard)
    write_control(scene.store, "pause")
    assert scene.feeder.feed_on(scene.fed)
    assert len(scene.queue) == 16
    write_control(scene.store, "run")
    assert scene.feeder.feed_on(scene.fed)
    assert scene.queue[16:] == list(range(16, 32)), "a window, and nothing twice"
    assert scene.feeder.feed_on(scene.fed)
    assert len(scene.queue) == 32
    for shard in range(16, 48):
        scene.board.take(scene.job.job_id, shard)
        scene.feeder.feed_on(scene.fed)
    assert len(scene.queue) == 50
    assert not scene.feeder.feed_on(scene.fed), "those were the last"
