"""Several engines as one: each request goes where the least is under way, and all end together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.pieces import Piece, Span
from jobs.tasks.base import Prompt
from storage.errors import EngineDead, RowError
from tests.unit.scripted import ScriptedEngine, completion
from workers.engine import Capacity, Completion, Request
from workers.fleet import Fleet, measured
from workers.prompts import Prompts


def request(name: str, tokens: int = 100) -> Request:
    """`max_tokens` is what the fleets here measure."""
    return Request(name, Prompt("?", max_tokens=tokens), Piece(Span(0, 0, 1)))


def holding() -> ScriptedEngine:
    """An engine that keeps what it is given until the test answers."""
    engine = ScriptedEngine()
    engine.answer = engine.hold
    return engine


def fleet_of(*members: ScriptedEngine) -> Fleet:
    return Fleet(members, "tiny", "1", lambda request: request.prompt.max_tokens)


def answer(asked: Request, future: Future[Completion]) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(completion(asked, "fine"))


def fail(asked: Request, future: Future[Completion]) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(RowError("engine", f"{asked.id} refused"))


def cancel(asked: Request, future: Future[Completion]) -> None:
    assert future.cancel()


ENDS: tuple[Callable[[Request, Future[Completion]], None], ...] = (answer, fail, cancel)


@given(
    count=st.integers(1, 8),
    moves=st.lists(
        st.tuples(st.just("ask"), st.integers(1, 5000), st.just(0))
        | st.tuples(st.just("end"), st.integers(0, 99), st.integers(0, 2)),
        max_size=60,
    ),
)
def test_the_least_loaded_is_asked_and_what_ends_is_counted_no_more(
    count: int, moves: list[tuple[str, int, int]]
) -> None:
    members = [holding() for _ in range(count)]
    fleet = fleet_of(*members)
    under_way: list[tuple[int, Request, Future[Completion]]] = []
    for number, (move, value, how) in enumerate(moves):
        if move == "ask":
            before = fleet.loads
            future = fleet.submit(request(str(number), value))
            (chosen,) = [n for n in range(count) if fleet.loads[n] != before[n]]
            assert before[chosen] == min(before)
            assert members[chosen].asked[-1].id == str(number)
            under_way.append((chosen, members[chosen].asked[-1], future))
        elif under_way:
            ENDS[how](*under_way.pop(value % len(under_way))[1:])
        expected = [0] * count
        for chosen, asked, _ in under_way:
            expected[chosen] += asked.prompt.max_tokens
        assert fleet.loads == tuple(expected)
    for place, (_, asked, future) in enumerate(under_way):
        ENDS[place % 3](asked, future)
    assert fleet.loads == (0,) * count


def test_answers_that_are_there_at_once_leave_no_load() -> None:
    members = ScriptedEngine(), ScriptedEngine(lambda asked: RowError("engine", "no"))
    fleet = fleet_of(*members)
    held = fleet_of(holding(), *members)
    held.submit(request("held"))
    for name in "abc":
        assert fleet.submit(request(name)).result(5).id == name
        assert held.submit(request(name)).result(5).id == name
    assert (fleet.loads, held.loads) == ((0, 0), (100, 0, 0))


def test_many_threads_share_it_evenly() -> None:
    """As many requests as engines and threads make: none is lost, none counted twice."""
    members = [holding() for _ in range(4)]
    fleet = fleet_of(*members)
    with ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda n: fleet.submit(request(str(n))), range(400)))
        assert fleet.loads == (10_000,) * 4
        for member in members:
            list(threads.map(lambda held: answer(*held), member.held))
    assert sorted(int(future.result().id) for future in futures) == list(range(400))
    assert fleet.loads == (0, 0, 0, 0)


def test_what_is_too_long_is_no_load() -> None:
    def refuse(asked: Request) -> int:
        raise RowError("too_long", asked.id)

    member = holding()
    fleet = Fleet([member], "tiny", "1", refuse)
    with pytest.raises(RowError, match="too_long"):
        fleet.submit(request("a"))
    assert (fleet.loads, member.asked) == ((0,), [])


def test_it_holds_what_all_hold_together() -> None:
    members = [
        ScriptedEngine(capacity=Capacity(1000, 8, 4096, images=32, sounds=20)),
        ScriptedEngine(capacity=Capacity(500, 4, 8192, images=16, sounds=20)),
    ]
    fleet = fleet_of(*members)
    assert fleet.capacity == Capacity(1500, 12, 4096, images=16, sounds=20)
    assert (fleet.name, fleet.model, fleet.version) == ("vllm", "tiny", "1")


def test_a_dead_member_ends_the_worker_and_not_the_others_answers() -> None:
    dying, living = holding(), holding()
    fleet = fleet_of(dying, living)
    lost, kept = fleet.submit(request("lost")), fleet.submit(request("kept"))
    dying.die()
    with pytest.raises(EngineDead):
        lost.result(5)
    assert fleet.loads == (0, 100)
    # It has the least to do, so that the next to come learns of it.
    with pytest.raises(EngineDead):
        fleet.submit(request("late")).result(5)
    answer(*living.held[0])
    assert kept.result(5).id == "kept"


def test_all_are_closed_though_one_cannot_be() -> None:
    closed: list[str] = []
    met = threading.Barrier(3, timeout=10)  # none waits for another's end

    class Closing(ScriptedEngine):
        def __init__(self, said: str) -> None:
            super().__init__()
            self.said = said

        def close(self) -> None:
            met.wait()
            closed.append(self.said)
            if self.said == "broken":
                raise OSError("no such process")

    fleet = fleet_of(*(Closing(said) for said in ("broken", "b", "c")))
    with pytest.raises(OSError, match="no such process"):
        fleet.close()
    assert sorted(closed) == ["b", "broken", "c"]


@pytest.mark.parametrize(("prompt", "fits"), [(90, True), (91, False)])
def test_a_request_is_measured_against_the_context(prompt: int, fits: bool) -> None:
    class SomePrompts:
        def count(self, asked: Prompt, piece: Piece) -> int:
            return prompt

    def measure() -> Any:
        capacity = Capacity(1000, 8, context=100)
        return measured(cast("Prompts", SomePrompts()), capacity, request("a", 10))

    if fits:
        assert measure() == 100
        return
    with pytest.raises(RowError, match="91 tokens of prompt and 10 of answer") as caught:
        measure()
    assert caught.value.kind == "too_long"
