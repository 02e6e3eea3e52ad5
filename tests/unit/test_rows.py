"""One row to one record: whatever is wrong with it stays with it."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import io
import threading
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
import pytest
from PIL import Image

from jobs.pieces import Piece
from jobs.tasks.base import Parsed
from storage.errors import BadCredentials, EngineDead, RowError, WorkerUnfit
from storage.media import MediaSource
from storage.records import Record
from storage.spool import NoRoom
from tests.unit.row_bench import Build, benches
from tests.unit.scripted import ScriptedEngine, completion
from workers.decode import Decoders
from workers.engine import Capacity, Completion, Request
from workers.request import Interrupted

BOXES = '[{"box_2d": [100, 200, 300, 400], "label": "cat"}]'


@pytest.fixture
def bench() -> Iterator[Build]:
    with benches() as build:
        yield build


def error_of(record: Record) -> Mapping[str, Any]:
    assert record.status == "error"
    assert record.error is not None
    return record.error


@pytest.mark.parametrize("uris", [["image:a"], ["image:a", "image:b"]], ids=["one", "together"])
def test_while_an_answer_is_awaited_only_the_engine_holds_what_was_decoded(
    bench: Build, uris: list[str]
) -> None:
    held: list[weakref.ref[Any]] = []
    asked: Future[Completion] = Future()

    class Elsewhere(ScriptedEngine):
        def submit(self, request: Request) -> Future[Completion]:
            held.extend(weakref.ref(image) for image in request.piece.images)
            self.answer_now = lambda: asked.set_result(completion(request_of, "a cat"))
            request_of = replace(request, piece=Piece(request.piece.span))
            return asked

    engine = Elsewhere()
    b = bench(uris, engine=engine)

    async def body() -> Record:
        row = asyncio.create_task(b.make(0))
        while not held:
            await asyncio.sleep(0.001)
        # Steps of the row's own tasks, until it does nothing but wait.
        for _ in range(10):
            await asyncio.sleep(0.001)
        gc.collect()
        assert [image() for image in held] == [None] * len(uris)
        engine.answer_now()
        return await row

    assert asyncio.run(body()).status == "ok"


def test_a_row_is_what_was_asked_about_it(bench: Build) -> None:
    b = bench("image:a", task="detect", engine=ScriptedEngine(lambda request: BOXES))
    (record,) = b.make_all()
    assert (record.row_id, record.uri, record.task, record.status) == (
        "r0",
        "image:a",
        "detect",
        "ok",
    )
    assert (record.raw, record.finish_reason, record.error) == (BOXES, "stop", None)
    found = record.columns["objects"][0]
    assert found["label"] == "cat"
    assert found["box"] == {"x0": 0.8, "y0": 0.3, "x1": 1.6, "y1": 0.9}
    assert record.usage == {"prompt_tokens": 10, "output_tokens": 5, "seconds": 0.25}
    assert record.lineage["attempt"] == 2
    assert record.lineage["engine"] == "scripted 1"
    assert record.lineage["prompt_sha256"] == b.engine.asked[0].prompt.sha256
    assert record.media[0]["width"] == 4
    assert b.services.counters.rows == 1


FAULTS = {
    "not_found": "image:b!not_found",
    "forbidden": "image:b!forbidden",
    "too_large": "image:b!too_large",
    "empty": "image:b!empty",
    "timeout": "image:b!timeout",
    "unavailable": "image:b!unavailable",
    "wrong_kind": "audio:5",
    "corrupt": "image:b~corrupt",
    "decoder_died": "video:65~decoder_died",
    "no_audio": "video:65~no_audio",
    "too_long": "image:long",
    "engine": "image:refused",
    "unparsable": "image:silent",
}


@pytest.mark.parametrize(("kind", "uri"), FAULTS.items(), ids=list(FAULTS))
def test_every_fault_stays_with_its_row(bench: Build, kind: str, uri: str) -> None:
    b = bench("image:a", uri, "image:c")

    def answer(request: Request) -> str | BaseException:
        mine = request.id.split("/")[2] == "1"
        if mine and uri == "image:refused":
            return RowError("engine", "refused")
        return "" if mine and uri == "image:silent" else f"seen {request.id}"

    def tokens(request: Request) -> int:
        if uri == "image:long" and request.id.split("/")[2] == "1":
            raise RowError("too_long", "more than it holds")
        return 100

    b.engine.answer, b.engine.tokens = answer, tokens
    before, bad, after = b.make_all()
    error = error_of(bad)
    assert (bad.row_id, error["kind"]) == ("r1", kind)
    assert error["retryable"] == (kind in ("timeout", "unavailable", "engine"))
    assert (before.status, after.status) == ("ok", "ok")
    assert before.raw is not None
    assert before.raw.endswith("/0/0/0")
    assert after.raw is not None
    assert after.raw.endswith("/2/0/0")
    if kind == "unparsable":
        assert bad.raw == ""
    if uri.startswith("video"):
        assert bad.media[0]["duration_s"] == 65, "an error record says what is known"
    counters = b.services.counters
    assert (counters.rows, counters.failed) == (3, 1)


def test_an_answer_that_is_no_answer_keeps_its_raw_text(bench: Build) -> None:
    b = bench("image:a", task="detect", engine=ScriptedEngine(lambda request: "I see a cat."))
    (record,) = b.make_all()
    assert error_of(record)["kind"] == "unparsable"
    assert (record.raw, record.text) == ("I see a cat.", None)


def test_columns_that_do_not_fit_are_their_rows_error(
    bench: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench("image:a", "image:b")

    def parse(self: Any, row: Any, answers: Any, options: Any) -> Parsed:
        return Parsed("text", {"caption": "\ud83d" if row.id == "r1" else "a cat"})

    monkeypatch.setattr(type(b.shared.task), "parse", parse)
    good, bad = b.make_all()
    assert (good.status, good.columns) == ("ok", {"caption": "a cat"})
    assert (error_of(bad)["kind"], bad.columns) == ("unparsable", {})
    assert bad.raw is not None


def test_a_task_that_trips_over_a_row_fails_that_row(
    bench: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench("image:a", "image:b")
    ask = type(b.shared.task).prompt

    def prompt(self: Any, row: Any, piece: Any, options: Any) -> Any:
        if row.id == "r1":
            raise KeyError("colour")
        return ask(self, row, piece, options)

    monkeypatch.setattr(type(b.shared.task), "prompt", prompt)
    good, bad = b.make_all()
    assert good.status == "ok"
    assert error_of(bad)["kind"] == "invalid_row"
    assert "KeyError: 'colour'" in error_of(bad)["message"]


def test_another_rows_answer_is_never_taken(bench: Build) -> None:
    engine = ScriptedEngine()
    b = bench("image:a", engine=engine)

    def swapped(request: Request) -> Any:
        future = engine.hold(request)
        future.set_result(completion(Request("j/0/9/0/0", request.prompt, request.piece), "other"))
        return future

    engine.answer = swapped
    with pytest.raises(EngineDead, match="was answered j/0/9/0/0"):
        b.make_all()


def test_dead_engines_are_no_rows_fault(bench: Build) -> None:
    b = bench("image:a", "video:95")
    b.engine.die()
    with pytest.raises(EngineDead):
        b.make_all()


@pytest.mark.parametrize("where", ["fetch", "decode", "measure"])
def test_what_nobody_foresaw_stays_with_its_row(
    bench: Build, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    b = bench("image:a", "image:b", "image:c")

    def trip(what: str, *_: Any) -> int:
        if what in ("image:b", f"{b.shared.job.job_id}/0/1/0/0"):
            raise KeyError("colour")
        return 100

    if where == "fetch":
        b.media.on_fetch = trip  # type: ignore[assignment]
    elif where == "decode":
        b.decoders.on_decode = trip  # type: ignore[assignment]
    else:
        b.engine.tokens = lambda request: trip(request.id)
    before, bad, after = b.make_all()
    assert (before.status, after.status) == ("ok", "ok")
    error = error_of(bad)
    assert (error["kind"], error["retryable"]) == ("internal", False)
    assert "KeyError: 'colour'" in error["message"]
    (logged,) = caplog.records
    assert (logged.levelname, logged.row) == ("ERROR", "r1")  # type: ignore[attr-defined]
    assert logged.exc_info is not None
    assert "in trip" in caplog.text, "the log has the traceback"


@pytest.mark.parametrize("fault", [BadCredentials("no key"), WorkerUnfit("no room"), MemoryError()])
def test_what_is_the_workers_fault_is_no_rows(bench: Build, fault: Exception) -> None:
    b = bench("image:a")

    def fetch(uri: str) -> None:
        raise fault

    b.media.on_fetch = fetch
    with pytest.raises(type(fault)):
        b.make_all()
    assert b.services.counters.rows == 0


def test_a_row_whose_decoder_died_is_begun_once_more(bench: Build) -> None:
    """Windows that were answered before that are kept, and a second death is the row's."""
    b = bench("video:65~decoder_died", "image:a")
    deaths = iter([RowError("decoder_died", "killed by a neighbour")])

    def decode(uri: str, interrupted: threading.Event) -> None:
        if uri == "image:a" and (fault := next(deaths, None)) is not None:
            raise fault

    b.decoders.on_decode = decode
    video, image = b.make_all()
    assert image.status == "ok"
    assert error_of(video)["kind"] == "decoder_died"
    assert len(b.decoders.readings) == 4
    windows = [request for request in b.engine.asked if request.id.split("/")[2] == "0"]
    assert len(windows) == len({request.id for request in windows}) == 3
    assert video.usage["output_tokens"] == 15


def test_a_row_without_room_for_its_medium_waits_for_it(bench: Build) -> None:
    b = bench("image:a", "image:b")
    full = iter([NoRoom("unavailable", "the disk is full")] * 3)

    def fetch(uri: str) -> None:
        if uri == "image:a" and (fault := next(full, None)) is not None:
            raise fault

    b.media.on_fetch = fetch
    assert [record.status for record in b.make_all()] == ["ok", "ok"]
    assert b.media.fetched.count("image:a") == 4


def test_a_row_that_never_finds_room_has_that_for_its_error(bench: Build) -> None:
    b = bench("image:a", "image:b")

    def fetch(uri: str) -> None:
        if uri == "image:a":
            raise NoRoom("unavailable", "the disk is full")

    b.media.on_fetch = fetch
    first, second = b.make_all()
    assert error_of(first) | {"message": ""} == {
        "kind": "unavailable",
        "message": "",
        "retryable": True,
    }
    assert second.status == "ok"


def test_a_stop_ends_the_wait_for_room(bench: Build) -> None:
    b = bench("image:a")

    def fetch(uri: str) -> None:
        b.stop = True
        raise NoRoom("unavailable", "the disk is full")

    b.media.on_fetch = fetch
    with pytest.raises(Interrupted):
        b.make_all()
    assert b.media.fetched == ["image:a"]


@pytest.mark.parametrize("fault", [RowError("decoder_died", "killed"), RuntimeError("pool closed")])
def test_what_going_down_does_to_a_row_is_not_its_outcome(bench: Build, fault: Exception) -> None:
    b = bench("image:a")

    def decode(uri: str, interrupted: threading.Event) -> None:
        b.services.stop.set()
        raise fault

    b.decoders.on_decode = decode
    with pytest.raises(Interrupted):
        b.make_all()
    assert b.services.counters.rows == 0


def test_what_is_found_of_a_row_while_going_down_counts(bench: Build) -> None:
    b = bench("image:a~corrupt")
    b.decoders.on_decode = lambda uri, interrupted: b.services.stop.set()
    (record,) = b.make_all()
    assert error_of(record)["kind"] == "corrupt"


def test_columns_override_options_row_by_row(bench: Build) -> None:
    columns = {
        "prompt": pa.array(["One?", None, "Three?", "Four?"]),
        "max_tokens": pa.array([5, None, 0, None]),
        "fps": pa.array([9.0, 9.0, 9.0, 9.0]),
    }
    b = bench(
        *("image:a", "image:b", "image:c", "image:d"),
        columns=columns,
        from_columns=("prompt", "max_tokens"),
        options={"prompt": "Of the job?"},
    )
    records = b.make_all(system="be brief")
    asked = {r.id.split("/")[2]: r.prompt for r in b.engine.asked}
    assert {p: (q.text, q.max_tokens) for p, q in asked.items()} == {
        "0": ("One?", 5),
        "1": ("Of the job?", 256),
        "3": ("Four?", 256),
    }
    assert {q.system for q in asked.values()} == {"be brief"}
    assert {r.fps for r in b.decoders.readings} == {1.0}, "not named by the job"
    bad = error_of(records[2])
    assert bad["kind"] == "invalid_row"
    assert "row r2, column max_tokens" in bad["message"]


def test_what_a_retry_sets_wins_over_a_rows_column(bench: Build) -> None:
    columns = {"prompt": pa.array(["One?", "Two?"]), "max_tokens": pa.array([5, 0])}
    b = bench("image:a", "image:b", columns=columns, from_columns=("prompt", "max_tokens"))
    records = b.make_all(max_tokens=50)
    assert [r.status for r in records] == ["ok", "ok"], "the column that failed is set aside"
    assert sorted((r.prompt.text, r.prompt.max_tokens) for r in b.engine.asked) == [
        ("One?", 50),
        ("Two?", 50),
    ]


def test_images_together_are_one_request(bench: Build) -> None:
    b = bench(["image:a", "image:b", "image:c"], ["image:d", "image:e!not_found"])
    together, broken = b.make_all()
    assert [len(r.piece.images) for r in b.engine.asked] == [3]
    assert "these images" in b.engine.asked[0].prompt.text
    assert together.status == "ok"
    assert len(together.media) == 3
    assert together.uri == "image:a"
    assert error_of(broken)["kind"] == "not_found"
    assert error_of(broken)["message"].startswith("medium 1 of 2: ")


def test_no_more_images_go_together_than_the_engine_takes(bench: Build) -> None:
    engine = ScriptedEngine(capacity=Capacity(100_000, 64, 8192, images=2))
    b = bench(["image:a", "image:b"], ["image:a", "image:b", "image:c"], engine=engine)
    assert [record.status for record in b.make_all()] == ["ok", "ok"]
    assert sorted(len(r.piece.images) for r in engine.asked) == [0, 1, 1, 1, 2]


def test_media_of_several_kinds_are_one_request(bench: Build) -> None:
    question = {"question": "What is this?"}
    b = bench(["audio:10", "image:a", "image:b"], task="ask", options=question)
    (record,) = b.make_all()
    [request] = b.engine.asked
    assert len(request.piece.images) == 2
    assert request.piece.sounds
    assert record.columns["answer"]
    assert [m["kind"] for m in record.media] == ["audio", "image", "image"]


def test_sounds_are_one_request_as_far_as_it_holds_them(bench: Build) -> None:
    b = bench(["audio:10", "audio:70"], task="ask", options={"question": "What is this?"})
    (record,) = b.make_all()
    [request] = b.engine.asked
    assert len(request.piece.sounds) > 2
    assert record.columns["answer"]


@pytest.mark.parametrize("second", ["audio:10", "audio:70"])
def test_sounds_that_one_request_cannot_hold_are_asked_one_by_one(
    bench: Build, second: str
) -> None:
    engine = ScriptedEngine(capacity=Capacity(100_000, 64, 8192, sounds=1))
    question = {"question": "What is this?"}
    b = bench(["audio:10", second], task="ask", options=question, engine=engine)
    (record,) = b.make_all()
    *windows, last = b.engine.asked
    assert all(len(r.piece.sounds) == 1 for r in windows)
    assert {r.piece.span.media_index for r in windows} == {0, 1}
    assert len(record.columns["segments"]) == len(windows) > 1
    assert last.piece.nbytes == 0
    assert record.text == f"answer to {last.id}"


def test_films_of_a_row_do_not_gather_in_memory(bench: Build) -> None:
    b = bench(["image:a", "video:65", "video:40"])
    asked: list[int] = []
    b.media.on_fetch = lambda uri: asked.append(len(b.engine.asked))
    (record,) = b.make_all()
    assert record.status == "ok"
    assert asked == [0, 0, 4], "what was decoded is asked before the next film is fetched"
    assert [len(r.piece.images) for r in b.engine.asked] == [1, 0, 0, 0, 0, 0, 0]


def test_media_apart_are_one_request_each(bench: Build) -> None:
    b = bench(["image:a", "image:b"], task="detect", engine=ScriptedEngine(lambda r: BOXES))
    (record,) = b.make_all()
    assert [o["media_index"] for o in record.columns["objects"]] == [0, 1]
    assert record.usage["prompt_tokens"] == 20


def test_real_pictures_end_on_their_own_rows(bench: Build) -> None:
    sizes = [(3, 2), (7, 5), (4, 4)]
    pictures = [png(*size) for size in sizes]
    broken = pictures[1][:20]
    uris = [data_uri(content) for content in (pictures[0], broken, b"no picture", *pictures[1:])]
    b = bench(*uris)
    b.services.media.close()
    b.services.decoders.close()
    b.services.media = MediaSource(local_roots=[])
    b.services.decoders = Decoders(2)
    try:
        records = b.make_all()
    finally:
        b.services.decoders.close()
        # The bench looks at the scripted ones in the end.
        b.services.decoders = cast("Decoders", b.decoders)
    kinds = [record.error["kind"] if record.error else "ok" for record in records]
    assert kinds == ["ok", "corrupt", "wrong_kind", "ok", "ok"]
    for record, (width, height), content in zip(
        (records[0], *records[3:]), sizes, pictures, strict=True
    ):
        (medium,) = record.media
        assert (medium["width"], medium["height"]) == (width, height)
        assert medium["sha256"] == hashlib.sha256(content).hexdigest()


def png(width: int, height: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (width, height), (width, height, 9)).save(sink, "PNG")
    return sink.getvalue()


def data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
