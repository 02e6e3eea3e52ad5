"""Rows of many windows: resumed, stopped and cancelled, with nothing lost and nothing left held."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.checkpoint import Finished
from storage.errors import RowError
from storage.records import Record
from tests.unit.fakes import MemoryStore
from tests.unit.row_bench import Bench, Build, benches
from tests.unit.scripted import (
    ScriptedEngine,
    assert_nothing_held,
    completion,
    plan_job,
    services,
)
from workers.engine import Capacity, Request
from workers.request import Interrupted


@pytest.fixture
def bench() -> Iterator[Build]:
    with benches() as build:
        yield build


def test_a_second_request_that_does_not_fit_leaves_nothing_held(
    bench: Build,
) -> None:
    b = bench(["video:20", "video:20"])

    def tokens(request: Request) -> int:
        if len(seen) == 1:
            raise RowError("too_long", "more than it holds")
        seen.append(request)
        return 100

    seen: list[Request] = []
    b.engine.tokens = tokens
    (record,) = b.make_all()
    assert record.error is not None
    assert record.error["kind"] == "too_long"
    assert_nothing_held(b.services)


def test_answers_are_in_order_whatever_order_they_came_in(bench: Build) -> None:
    engine = ScriptedEngine()
    b = bench("audio:95", task="transcribe", engine=engine)
    engine.answer = engine.hold

    async def body() -> Record:
        row = asyncio.create_task(b.make(0))
        while len(engine.held) < 4:
            await asyncio.sleep(0)
        for request, future in reversed(engine.held):
            future.set_result(completion(request, request.id.rpartition("/")[2]))
        return await row

    record = asyncio.run(body())
    assert record.text == "0 480000 960000 1440000"
    assert [s["start_s"] for s in record.columns["segments"]] == [0, 30, 60, 90]
    assert [f.span.start for f in b.finished] == [1440000, 960000, 480000, 0]


@pytest.mark.parametrize(
    ("cut", "warning"), [("length", "cut_at_token_limit"), ("repetition", "repetition")]
)
def test_one_window_cut_short_makes_the_row_short(bench: Build, cut: str, warning: str) -> None:
    engine = ScriptedEngine()
    b = bench("audio:95", task="transcribe", engine=engine)

    def answer(request: Request) -> Any:
        future = engine.hold(request)
        reason = cut if request.id.endswith("/480000") else "stop"
        future.set_result(completion(request, "word", reason))
        return future

    engine.answer = answer
    (record,) = b.make_all()
    assert (record.finish_reason, record.warnings) == (cut, [warning])


def windows_of(b: Bench) -> list[Finished]:
    b.make_all()
    windows, b.finished = b.finished, []
    b.engine.asked.clear()
    b.decoders.decoded.clear()
    return sorted(windows, key=lambda f: f.span.start)


@pytest.mark.parametrize("uri", ["audio:95", "video:95"])
def test_only_missing_windows_are_asked_again(bench: Build, uri: str) -> None:
    heard = uri.startswith("audio")
    b = bench(
        uri,
        task="transcribe" if heard else "caption",
        options={} if heard else {"summary": False},
    )
    windows = windows_of(b)
    assert len(windows) == 4
    (record,) = b.make_all(earlier=windows[:1] + windows[2:])
    assert [s.start for s in b.decoders.decoded] == [480000]
    assert [r.piece.span.start for r in b.engine.asked] == [480000]
    assert record.status == "ok"
    assert record.usage["prompt_tokens"] == 40
    counters = b.services.counters
    asked = 5  # the window that was missing, and the four of the run before
    assert (counters.prompt_tokens, counters.output_tokens) == (10 * asked, 5 * asked)
    assert record.raw is not None
    assert [line.rpartition("/")[2] for line in record.raw.split("\n")] == [
        "0",
        "480000",
        "960000",
        "1440000",
    ]


def test_what_answers_another_question_is_asked_again(bench: Build) -> None:
    b = bench("audio:65", task="transcribe")
    windows = windows_of(b)
    b.make_all(earlier=windows, prompt="Something else?")
    assert len(b.engine.asked) == 3
    b.engine.asked.clear()
    b.make_all(earlier=[f for f in windows if f.span.start] + windows_of(bench("audio:66")))
    assert len(b.engine.asked) == 1, "of another medium"


def test_windows_that_overlap_are_told_once(bench: Build) -> None:
    b = bench("audio:65", task="transcribe")
    windows = windows_of(b)
    shifted = [
        replace(f, span=replace(f.span, start=f.span.start + 9, end=f.span.end + 9))
        for f in windows
    ]
    (record,) = b.make_all(earlier=windows + shifted)
    assert b.engine.asked == []
    assert len(record.columns["segments"]) == 3


def test_a_stopping_row_is_no_record(bench: Build) -> None:
    b = bench("image:a", "audio:95")
    b.stop = True
    for place in range(2):
        with pytest.raises(Interrupted):
            asyncio.run(b.make(place))
    assert (b.media.fetched, b.engine.asked) == ([], [])
    assert b.services.counters.rows == 0


def test_a_stop_in_the_middle_keeps_what_is_finished(bench: Build) -> None:
    b = bench("audio:95", task="transcribe")

    def answer(request: Request) -> str:
        b.stop = True
        return "word"

    b.engine.answer = answer
    with pytest.raises(Interrupted):
        asyncio.run(b.make(0))
    assert [f.span.start for f in b.finished] == [0]
    counters = b.services.counters
    assert (counters.rows, counters.output_tokens) == (0, 5), "counted before the row ends"


def test_what_was_fetched_for_nobody_is_removed(
    bench: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench("image:a")
    fetching, go_on = threading.Event(), threading.Event()
    closed: list[str] = []
    monkeypatch.setattr("storage.media.Media.close", lambda media: closed.append(media.uri))

    def on_fetch(uri: str) -> None:
        fetching.set()
        assert go_on.wait(30)

    b.media.on_fetch = on_fetch

    async def body() -> None:
        row = asyncio.create_task(b.make(0))
        assert await asyncio.to_thread(fetching.wait, 30)
        row.cancel()
        await asyncio.sleep(0)
        row.cancel()  # twice, as a loop that ends does
        asyncio.get_running_loop().call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await row

    asyncio.run(body())
    # The thread that fetched it does that, in its own time.
    b.services.fetch_pool.shutdown()
    assert closed == ["image:a"]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 60), min_size=3, max_size=3), st.booleans())
def test_cancelled_at_any_point_nothing_leaks(turns: list[int], held: bool) -> None:
    engine = ScriptedEngine()
    if held:
        engine.answer = engine.hold
    store = MemoryStore()
    job = plan_job(store, [["audio:200"], ["video:95"], ["image:a", "image:b"]])
    with services(engine, decoders=1) as made:
        b = Bench(made, store, job)

        async def body() -> None:
            rows = [asyncio.create_task(b.make(place)) for place in range(3)]
            for row, turn in zip(rows, turns, strict=True):
                for _ in range(turn):
                    await asyncio.sleep(0)
                row.cancel()
            await asyncio.gather(*rows, return_exceptions=True)

        asyncio.run(body())
        assert_nothing_held(made)


def test_answers_about_windows_are_asked_over(bench: Build) -> None:
    b = bench("video:95")
    (record,) = b.make_all()
    *windows, last = b.engine.asked
    assert len(record.columns["segments"]) == len(windows) == 4
    assert all(f"answer to {window.id}" in last.prompt.text for window in windows)
    assert last.piece.nbytes == 0
    assert record.text == record.columns["caption"] == f"answer to {last.id}"
    assert record.usage["output_tokens"] == 25
    assert str(record.raw).splitlines()[-1] == record.text


def test_answers_too_many_for_one_request_are_asked_over_in_parts(bench: Build) -> None:
    def tokens(request: Request) -> int:
        if request.prompt.text.count("] ") > 3:
            raise RowError("too_long", "too many answers")
        return 100

    engine = ScriptedEngine(lambda request: request.id.rpartition("/")[2])
    engine.tokens = tokens
    b = bench("video:215", engine=engine)
    (record,) = b.make_all()
    windows = [r for r in engine.asked if r.piece.clip is not None]
    assert len(windows) == len(record.columns["segments"]) == 8
    over = [r.prompt.text for r in engine.asked if r.piece.clip is None]
    assert len(over) == 7, "four pairs, two pairs of these, and what they say"
    covered = [re.findall(r"\[(\S+?)-(\S+?)\]", text) for text in over]
    assert covered[-1] == [("00:00", "02:00"), ("02:00", "03:35")]
    assert len({r.id for r in engine.asked}) == 15
    assert record.usage["output_tokens"] == 75, "what was asked on the way is counted too"


def test_without_a_summary_windows_are_lines(bench: Build) -> None:
    b = bench("video:95", options={"summary": False})
    (record,) = b.make_all()
    assert len(b.engine.asked) == 4
    assert len(str(record.text).splitlines()) == 4
    assert str(record.text).startswith("[00:00-00:30] answer to ")


def test_only_missing_pages_are_asked_again(bench: Build) -> None:
    b = bench("document:5", task="ocr")
    pages = windows_of(b)
    assert [done.span.page for done in pages] == [1, 2, 3, 4, 5]
    (record,) = b.make_all(earlier=pages[:3])
    assert [span.page for span in b.decoders.decoded] == [4, 5]
    assert [request.piece.span.page for request in b.engine.asked] == [4, 5]
    assert [part["page"] for part in record.columns["pages"]] == [1, 2, 3, 4, 5]
    assert record.media[0]["pages"] == 5


def test_pages_are_seen_together_as_far_as_one_request_takes_them(bench: Build) -> None:
    engine = ScriptedEngine(
        lambda request: f'{{"n": {len(request.piece.images)}}}',
        capacity=Capacity(100_000, 64, 8192, images=3),
    )
    options = {"json_schema": {"type": "object"}}
    few, many = bench(
        "document:3", "document:4", task="extract", engine=engine, options=options
    ).make_all()
    assert (few.columns["data"], few.columns["pages"]) == ('{"n":3}', None)
    assert many.columns["data"] == '{"n":1}'
    assert [part["page"] for part in many.columns["pages"]] == [1, 2, 3, 4]
