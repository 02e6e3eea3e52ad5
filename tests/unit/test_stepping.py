"""The stepped engine and its futures, on a stand-in for vLLM's engine that does as it is told."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.pieces import Piece, Span
from jobs.tasks.base import Prompt
from storage.errors import EngineDead, RowError
from workers.engine import Completion, Request
from workers.groups import Groups
from workers.in_flight import InFlight
from workers.stepping import Looped, Reports, Stepped


def output(key: str, text: str, reason: str | None = "stop", *, finished: bool = True) -> Any:
    answer = SimpleNamespace(text=text, finish_reason=reason, token_ids=(7, 8))
    return SimpleNamespace(
        request_id=key, outputs=[answer], finished=finished, prompt_token_ids=[1, 2, 3]
    )


@dataclass
class Told:
    """Answers the newest request first, one a step; some texts make it do otherwise."""

    waiting: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.held.set()
        self.renderer = SimpleNamespace(shutdown=lambda: None)
        self.engine_core = SimpleNamespace(shutdown=self.ended.set)

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting)

    def add_request(self, key: str, prepared: Any, params: Any) -> None:
        if prepared == "refuse":
            raise KeyError("refused")
        self.waiting.append(key)

    def abort_request(self, keys: list[str]) -> None:
        self.aborted += keys
        self.waiting = [key for key in self.waiting if key not in keys]

    def step(self) -> list[Any]:
        self.held.wait(10)
        key = self.waiting.pop()
        name = key.partition(":")[2]
        if name == "fatal":
            raise RuntimeError("out of memory")
        if name == "stranger":
            return [output("99:nobody", "?")]
        if name == "unfinished":
            return [output(key, "half", None, finished=False), output(key, "whole")]
        return [output(key, f"answer to {name}", "error" if name == "error" else "stop")]


class Bench:
    """An engine as the vLLM room wires it, without preparing."""

    def __init__(self) -> None:
        self.told = Told()
        self.keys: dict[str, str] = {}
        self.flights = InFlight("tiny")
        flights = self.flights
        reports = Reports(flights.finished, flights.failed, flights.dropped, flights.died)
        self.runtime = Stepped(self.told, reports)

    def submit(self, name: str, prepared: str = "fine") -> Future[Completion]:
        request = Request(name, Prompt("?"), Piece(Span(0, 0, 1)))
        key, future = self.flights.add(request)
        if key is not None:
            self.keys[name] = key
            self.runtime.add(key, prepared, None)
        return future


@pytest.fixture
def bench() -> Any:
    bench = Bench()
    yield bench
    bench.runtime.close()


def test_answers_find_their_request_in_any_order(bench: Bench) -> None:
    bench.told.held.clear()
    futures = {name: bench.submit(name) for name in "abcdef"}
    bench.told.held.set()
    for name, future in futures.items():
        completion = future.result(10)
        assert (completion.id, completion.text) == (name, f"answer to {name}")
        assert (completion.prompt_tokens, completion.output_tokens) == (3, 2)


def test_equal_ids_are_two_requests(bench: Bench) -> None:
    first, second = bench.submit("a"), bench.submit("a")
    assert first.result(10).id == second.result(10).id == "a"


def test_only_the_finished_output_counts(bench: Bench) -> None:
    assert bench.submit("unfinished").result(10).text == "whole"


def test_a_refused_request_fails_alone(bench: Bench) -> None:
    refused, fine = bench.submit("x", "refuse"), bench.submit("a")
    with pytest.raises(RowError, match="KeyError") as caught:
        refused.result(10)
    assert caught.value.kind == "engine"
    assert fine.result(10).id == "a"
    assert bench.told.aborted == ["0:x"]


def test_what_is_cancelled_is_taken_back(bench: Bench) -> None:
    bench.told.held.clear()
    first, taken, last = (bench.submit(name) for name in "abc")
    assert taken.cancel()
    assert not bench.flights.wanted(bench.keys["b"])
    bench.runtime.abort(bench.keys["b"])
    bench.told.held.set()
    assert (first.result(10).id, last.result(10).id) == ("a", "c")
    assert bench.submit("d").result(10).id == "d"
    assert bench.flights._entries == {}


def test_an_answer_that_comes_before_it_is_taken_back_does_no_harm(bench: Bench) -> None:
    bench.told.held.clear()
    future = bench.submit("a")
    assert future.cancel()
    bench.told.held.set()
    assert bench.submit("b").result(10).id == "b"
    bench.runtime.abort(bench.keys["a"])
    assert bench.submit("c").result(10).id == "c"
    assert bench.flights._entries == {}


def test_an_end_that_is_no_answer_is_an_error(bench: Bench) -> None:
    with pytest.raises(RowError, match="'error'"):
        bench.submit("error").result(10)


@pytest.mark.parametrize("killer", ["fatal", "stranger"])
def test_a_dead_engine_fails_all_then_and_later(bench: Bench, killer: str) -> None:
    """Also an answer that nobody asked for: none can be trusted after it."""
    bench.told.held.clear()
    futures = [bench.submit(name) for name in ("a", "b", killer)]
    bench.told.held.set()
    for future in futures:
        with pytest.raises(EngineDead):
            future.result(10)
    assert bench.told.ended.wait(10)
    with pytest.raises(EngineDead, match="engine of tiny ended"):
        bench.submit("late").result(10)


def test_close_fails_what_is_in_flight() -> None:
    bench = Bench()
    bench.told.held.clear()
    future = bench.submit("a")
    bench.flights.died(EngineDead("closed"))
    with pytest.raises(EngineDead):
        future.result(10)
    bench.told.held.set()
    bench.runtime.close()
    assert bench.told.ended.is_set()
    assert not future.cancel()


class Asked:
    """Stands in for vLLM's asynchronous engine: each request ends when the test says so."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.errored = False
        self.begun: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ends: dict[str, asyncio.Event] = {}

    async def generate(self, prepared: Any, params: Any, key: str) -> AsyncIterator[Any]:
        self._ends[key] = asyncio.Event()
        self.begun.put(key)
        await self._ends[key].wait()
        yield output(key, f"answer to {prepared}")

    def end(self, key: str) -> None:
        self.loop.call_soon_threadsafe(lambda: self._ends[key].set())

    def shutdown(self) -> None:
        pass


class LoopedBench:
    """The engine in a process of its own, as the vLLM room wires it, and what was reported."""

    def __init__(self, groups: Groups[Any]) -> None:
        self.reported: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        put = self.reported.put
        reports = Reports(
            lambda key, _: put(("finished", key)),
            lambda key, _: put(("failed", key)),
            lambda key: put(("dropped", key)),
            lambda error: put(("died", str(error))),
        )
        self.runtime = Looped(Asked, reports, groups)
        self.asked: Asked = self.runtime.engine

    def begun(self, count: int) -> list[str]:
        return [self.asked.begun.get(timeout=10) for _ in range(count)]


@contextmanager
def looped(groups: Groups[Any]) -> Iterator[LoopedBench]:
    bench = LoopedBench(groups)
    yield bench
    bench.runtime.close()


def test_requests_begin_by_groups_and_the_next_when_as_many_have_ended() -> None:
    # A moment so long that nothing begins by it.
    with looped(Groups(2, 3, within_s=1000.0)) as bench:
        for key in "abcde":
            bench.runtime.add(key, key, None)
        assert bench.begun(2) == ["a", "b"]
        bench.runtime.abort("e")
        assert bench.reported.get(timeout=10) == ("dropped", "e"), "it was still held"
        bench.asked.end("b")
        assert bench.reported.get(timeout=10) == ("finished", "b")
        assert bench.begun(2) == ["c", "d"], "there is room for two again"
        bench.runtime.abort("c")
        assert bench.reported.get(timeout=10) == ("dropped", "c"), "out of the engine"
        assert bench.asked.begun.empty()


def test_one_alone_begins_after_a_moment() -> None:
    with looped(Groups(16, 256, within_s=0.01)) as bench:
        bench.runtime.add("a", "a", None)
        assert bench.begun(1) == ["a"]
        bench.asked.end("a")
        assert bench.reported.get(timeout=10) == ("finished", "a")
