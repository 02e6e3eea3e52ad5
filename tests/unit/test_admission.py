"""How much may be under way at once, over many event loops, cancelled at any point."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.admission import Budget


async def settled() -> None:
    """Until nothing of this loop is ready to run any more."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_first_come_first_served() -> None:
    async def body() -> None:
        budget = Budget(10)
        order: list[str] = []

        async def take(name: str, amount: int) -> None:
            await budget.acquire(amount)
            order.append(name)

        await budget.acquire(8)
        waiting = [asyncio.create_task(take(n, a)) for n, a in (("large", 5), ("small", 1))]
        await settled()
        assert order == [], "the small one fits, and still waits its turn"
        budget.release(8)
        await asyncio.gather(*waiting)
        assert order == ["large", "small"]
        budget.release(5)
        budget.release(1)
        assert budget.holders == 0

    asyncio.run(body())


def test_every_measure_counts() -> None:
    async def body() -> None:
        budget = Budget(10, 2)
        await budget.acquire(1, 1)
        await budget.acquire(1, 1)
        third = asyncio.create_task(budget.acquire(1, 1))
        await settled()
        assert not third.done()
        budget.release(1, 1)
        await third

    asyncio.run(body())


def test_what_is_larger_than_all_is_admitted_alone() -> None:
    async def body() -> None:
        budget = Budget(10)
        await budget.acquire(1)
        huge = asyncio.create_task(budget.acquire(1000))
        after = asyncio.create_task(budget.acquire(1))
        await settled()
        assert not huge.done()
        budget.release(1)
        await huge
        await settled()
        assert (budget.holders, after.done()) == (1, False)
        budget.release(1000)
        await after
        budget.release(1)
        assert budget.holders == 0

    asyncio.run(body())


def test_one_that_gives_up_waiting_no_longer_holds_up_others() -> None:
    async def body() -> None:
        budget = Budget(10)
        await budget.acquire(5)
        large = asyncio.create_task(budget.acquire(9))
        small = asyncio.create_task(budget.acquire(1))
        await settled()
        large.cancel()
        await asyncio.wait_for(small, 10)
        assert large.cancelled()
        assert budget.holders == 2

    asyncio.run(body())


def test_stillness_is_of_holders_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("workers.admission.time.monotonic", lambda: clock[0])

    async def body() -> None:
        budget = Budget(10)
        clock[0] += 50
        assert budget.still_s() == 0
        await budget.acquire(1)
        clock[0] += 7
        assert budget.still_s() == 7
        await budget.acquire(1)
        budget.release(1)
        assert budget.still_s() == 0

    asyncio.run(body())


STEP = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 14)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("release"), st.integers(0, 9)),
    st.tuples(st.just("turn"), st.integers(1, 4)),
)


@settings(deadline=None)
@given(st.lists(STEP, max_size=40))
def test_cancelled_at_any_point_nothing_leaks(steps: list[tuple[str, int]]) -> None:
    async def body() -> None:
        budget = Budget(10)
        tasks: list[tuple[int, asyncio.Task[None]]] = []
        held: list[int] = []

        def collect() -> None:
            for pair in list(tasks):
                amount, task = pair
                if task.done():
                    tasks.remove(pair)
                    if not task.cancelled():
                        held.append(amount)

        for what, number in steps:
            if what == "take":
                tasks.append((number, asyncio.create_task(budget.acquire(number))))
            elif what == "cancel" and tasks:
                tasks[number % len(tasks)][1].cancel()
            elif what == "release" and held:
                budget.release(held.pop(number % len(held)))
            elif what == "turn":
                for _ in range(number):
                    await asyncio.sleep(0)
            collect()
            # Admitted ones may not know it yet, so it holds as many or more.
            assert budget.holders >= len(held)
            assert sum(held) <= 10 or len(held) == 1
        for _, task in tasks:
            task.cancel()
        await settled()
        collect()
        assert not tasks
        for amount in held:
            budget.release(amount)
        assert budget.holders == 0
        await asyncio.wait_for(budget.acquire(10), 10)

    asyncio.run(body())


def test_many_loops_share_one_budget() -> None:
    budget = Budget(10, 3)
    lock = threading.Lock()
    now: list[tuple[int, int]] = []
    faults: list[str] = []

    async def one(chance: random.Random) -> None:
        load = (chance.randint(1, 12), 1)
        task = asyncio.create_task(budget.acquire(*load))
        if chance.random() < 0.3:
            await asyncio.sleep(0)
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return
        with lock:
            now.append(load)
            if len(now) > 1 and (sum(a for a, _ in now) > 10 or len(now) > 3):
                faults.append(f"{now} at once")
        await asyncio.sleep(0)
        with lock:
            now.remove(load)
        budget.release(*load)

    async def many(seed: int) -> None:
        chance = random.Random(seed)
        await asyncio.gather(*(one(chance) for _ in range(100)))

    threads = [threading.Thread(target=asyncio.run, args=(many(seed),)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert faults == []
    assert budget.holders == 0
