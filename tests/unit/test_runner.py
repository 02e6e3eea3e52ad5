"""A shard from delivery to commit, through pauses, stops, faults and deaths."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from typing import Any, cast

import pyarrow as pa
import pytest

from jobs.control import write_control
from jobs.ledger import MAX_EQUAL_ENDS, Ledger
from jobs.plan import plan_key
from jobs.progress import JobView
from jobs.tempo import Tempo
from storage.dataset import read_shard
from storage.errors import BadCredentials, CorruptObject, EngineDead, Forbidden, RowError
from tests.services import wait_for
from tests.unit.fakes import MemoryStore
from tests.unit.mortal import (
    TEMPO,
    Worker,
    answer_all,
    asked,
    hold_from,
    images,
    place,
    saved,
    tell,
    texts,
    when_saved,
    worker,
)
from tests.unit.scripted import ScriptedDecoders, ScriptedMedia, completion, plan_job
from workers.in_hand import Left
from workers.outcome import Outcome
from workers.shard_work import ShardWork


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def scripted(w: Worker) -> tuple[ScriptedMedia, ScriptedDecoders]:
    return cast("ScriptedMedia", w.services.media), cast("ScriptedDecoders", w.services.decoders)


def test_a_shard_is_committed_once_and_marked(store: MemoryStore) -> None:
    carried = {"n": pa.array(range(5), pa.int16())}
    job = plan_job(store, images(5, fault=[1]), sizes=[3, 2], columns=carried)
    with worker(store, job) as w:
        assert [w.run(0), w.run(1), w.run(0)] == [
            Outcome.COMMITTED,
            Outcome.COMMITTED,
            Outcome.ALREADY,
        ]
    table, footer, _ = read_shard(store, 0)
    assert table.column("row_id").to_pylist() == ["r0", "r1", "r2"]
    assert table.column("n").to_pylist() == [0, 1, 2]
    assert (footer.ok, footer.error, footer.generation, footer.worker) == (2, 1, 0, "w1")
    assert (footer.prompt_tokens, footer.output_tokens) == (20, 10)
    # Images of 4 by 3 pixels.
    assert footer.warnings == {"upscaled": 2}
    keys = [found.key for found in store.list()]
    assert [k for k in keys if "/done/" in k] == [
        "_job/done/0/0000000-2-1-0-upscaled.2",
        "_job/done/0/0000001-2-0-0-upscaled.2",
    ]
    assert not any("/checkpoints/" in key for key in keys)


def test_the_first_rows_are_far_when_the_last_are_begun(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, there = [], []

    async def steps(self: ShardWork, shared: Any, place: int) -> None:
        begun.append(place)
        for _ in range(5):
            await asyncio.sleep(0)
        there.append(len(begun))

    monkeypatch.setattr(ShardWork, "_row", steps)
    with worker(store, plan_job(store, images(300))) as w:
        w.run(0)
    assert (len(begun), len(there)) == (300, 300)
    assert there[0] <= 60, "the engine need not wait for the steps of all"


def test_a_live_attempt_elsewhere_is_left_alone(store: MemoryStore) -> None:
    job = plan_job(store, images(1))
    assert Ledger(store, TEMPO).claim(0, 0, 0, "other") is not None
    with worker(store, job) as w:
        assert w.run(0) is Outcome.BUSY
        store.tick(TEMPO.lease_s)
        assert w.run(0) is Outcome.COMMITTED
        assert read_shard(store, 0)[1].attempt == 1


def test_a_shard_open_in_this_process_is_left_alone_though_its_lease_ran_out(
    store: MemoryStore,
) -> None:
    job = plan_job(store, images(1))
    with worker(store, job) as w:
        inner: list[Outcome] = []

        def again() -> None:
            store.tick(TEMPO.lease_s)
            inner.append(w._open.run_shard(0))

        w.on("put_if_absent", "/attempts/", again)
        assert w.run(0) is Outcome.COMMITTED
        assert inner == [Outcome.BUSY]


def test_a_death_between_commit_and_marker_is_mended(store: MemoryStore) -> None:
    job = plan_job(store, images(2))
    with worker(store, job) as w:
        w.on("put_if_absent", "data/", w.die)
        assert w.run(0) is None
        assert not list(store.list("_job/done/"))
        assert w.run(0) is Outcome.ALREADY
    assert [f.key for f in store.list("_job/done/")] == ["_job/done/0/0000000-2-0-0-upscaled.2"]


def test_after_a_death_only_what_was_not_saved_is_asked_again(store: MemoryStore) -> None:
    job = plan_job(store, images(6))
    with worker(store, job) as w:
        hold_from(w, 3)
        when_saved(w, 3, w.die)
        assert w.run(0) is None
        asked(w)
        store.tick(TEMPO.lease_s)
        w.watch = lambda *_: None
        answer_all(w)
        assert w.run(0) is Outcome.COMMITTED
        assert asked(w) == [3, 4, 5]
    assert texts(store) == ["a0", "a1", "a2", "b3", "b4", "b5"]


@pytest.mark.parametrize(("wanted", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_pause_and_cancel_save_and_end_and_resume_goes_on(
    store: MemoryStore, wanted: Any, state: str
) -> None:
    job = plan_job(store, images(6))
    with worker(store, job) as w:
        hold_from(w, 2)
        when_saved(w, 2, lambda: write_control(store, wanted))
        assert w.run(0) is Outcome.HALTED
        assert asked(w)[:2] == [0, 1]
        assert w.run(0) is Outcome.HALTED, "and takes nothing up"
        view = JobView(store, job, TEMPO)
        view.refresh()
        assert (view.status().state, view.status().rows["remaining"]) == (state, 6)
        assert not Ledger(store, TEMPO).look(0, 0).live
        write_control(store, "run")
        answer_all(w)
        asked(w)
        assert w.run(0) is Outcome.COMMITTED
        assert asked(w) == [2, 3, 4, 5]


def test_a_shard_that_finishes_while_the_job_is_paused_is_committed(store: MemoryStore) -> None:
    job = plan_job(store, images(2))
    with worker(store, job) as w:
        hold_from(w, 1)

        def pause() -> None:
            wait_for("the other", lambda: len(w.engine.held) == 1)
            write_control(store, "pause")
            for request, future in w.engine.held:
                future.set_result(completion(request, "late"))

        when_saved(w, 1, pause)
        assert w.run(0) is Outcome.COMMITTED
    assert texts(store) == ["a0", "late"]


def test_a_stop_saves_and_gives_back(store: MemoryStore) -> None:
    job = plan_job(store, images(6))
    with worker(store, job) as w:
        hold_from(w, 4)

        def stop() -> None:
            wait_for("four records", lambda: w.services.counters.rows == 4)
            w.services.stop.set()

        when_saved(w, 1, stop)
        assert w.run(0) is Outcome.STOPPED
        assert saved(store) == {0, 1, 2, 3}
        assert not Ledger(store, TEMPO).look(0, 0).live
        answer_all(w)
        asked(w)
        assert w.run(0) is Outcome.COMMITTED
        assert asked(w) == [4, 5]


def test_what_still_finishes_after_a_stop_is_saved(store: MemoryStore) -> None:
    job = plan_job(store, images(6))
    with worker(store, job) as w:
        hold_from(w, 2)

        def stop() -> None:
            wait_for("the others", lambda: len(w.engine.held) == 4)
            # A second to drain, and not the 20 ms of this scale: a busy machine needs them.
            w.services.tempo = Tempo(0.1)
            w.services.stop.set()
            for request, future in w.engine.held:
                if place(request) < 5:
                    future.set_result(completion(request, "late"))

        when_saved(w, 2, stop)
        assert w.run(0) is Outcome.STOPPED
        assert saved(store) == {0, 1, 2, 3, 4}


def test_what_is_finished_is_saved_before_the_rest_drains(store: MemoryStore) -> None:
    """Who sends SIGTERM may send SIGKILL soon after."""
    with worker(store, plan_job(store, images(4))) as w:
        hold_from(w, 2)
        # 16 s to the next checkpoint: this stop is to make its own.
        w.services.tempo = Tempo(1.0)

        def stop() -> None:
            wait_for("two records", lambda: w.services.counters.rows == 2)
            wait_for("the others", lambda: len(w.engine.held) == 2)
            w.services.stop.set()

        def answer_the_rest() -> None:
            for request, future in w.engine.held:
                future.set_result(completion(request, "late"))

        when_saved(w, 2, answer_the_rest)
        stopper = threading.Thread(target=stop)
        stopper.start()
        assert w.run(0) is Outcome.COMMITTED
        stopper.join()
    assert texts(store) == ["a0", "a1", "late", "late"]


def test_a_stop_in_the_middle_of_fetching_and_decoding_leaves_those_rows_to_be_done(
    store: MemoryStore,
) -> None:
    job = plan_job(store, images(4))
    answered = threading.Event()
    waited: list[bool] = []
    was_interrupted: list[bool] = []
    with worker(store, job) as w:
        media, decoders = scripted(w)

        def fetch(uri: str) -> None:
            if uri == "image:1":
                waited.append(answered.wait(30))

        def decode(uri: str, interrupted: threading.Event) -> None:
            if uri == "image:2":
                was_interrupted.append(interrupted.wait(10))
                raise RowError("decoder_died", "the decoder was ended by SIGKILL")

        media.on_fetch, decoders.on_decode = fetch, decode
        answer_all(w)
        when_saved(w, 2, w.services.stop.set)
        assert w.run(0) is Outcome.STOPPED
        assert waited == [], "nobody waited for a slow store"
        assert was_interrupted == [True]
        answered.set()
        assert saved(store) == {0, 3}
        (end,) = [f.key for f in store.list("_job/attempts/") if "end" in f.key]
        assert json.loads(store.get(end))["error"] is None
        media.on_fetch = lambda uri: None
        decoders.on_decode = lambda uri, interrupted: None
        asked(w)
        assert w.run(0) is Outcome.COMMITTED
        assert asked(w) == [1, 2]
    assert texts(store) == ["b0", "b1", "b2", "b3"]


def test_a_pause_ends_a_decoder_that_hangs(store: MemoryStore) -> None:
    job = plan_job(store, images(2))
    with worker(store, job) as w:
        was_interrupted: list[bool] = []

        def decode(uri: str, interrupted: threading.Event) -> None:
            if uri == "image:1":
                was_interrupted.append(interrupted.wait(10))
                raise RowError("decoder_died", "the decoder was ended by SIGKILL")

        scripted(w)[1].on_decode = decode
        when_saved(w, 1, lambda: write_control(store, "pause"))
        assert w.run(0) is Outcome.HALTED
        assert was_interrupted == [True]
        assert saved(store) == {0}


def test_pools_that_close_under_a_shard_leave_its_rows_to_be_done(store: MemoryStore) -> None:
    job = plan_job(store, images(6))
    with worker(store, job) as w:
        holding, closed = threading.Event(), threading.Event()

        def fetch(uri: str) -> None:
            if not holding.is_set():
                holding.set()
                w.services.close()
                closed.set()
            closed.wait(30)

        scripted(w)[0].on_fetch = fetch
        with contextlib.suppress(EngineDead):
            assert w.run(0) is Outcome.STOPPED
        assert saved(store) == set()


def test_a_dead_engine_ends_the_shard_and_loses_nothing(store: MemoryStore) -> None:
    job = plan_job(store, images(4))
    with worker(store, job) as w:
        hold_from(w, 2)
        when_saved(w, 2, w.engine.die)
        with pytest.raises(EngineDead):
            w.run(0)
        assert saved(store) == {0, 1}
        # Who outlives the process tells of it; until then the attempt looks alive.
        assert w.run(0) is Outcome.BUSY
        assert tell(w, "ended") == [Left("memory://test", 0, 0, 0, (2, 3), alone=False)]
        w.engine.dead = False
        answer_all(w)
        asked(w)
        assert w.run(0) is Outcome.COMMITTED
        assert asked(w) == [2, 3]


def test_five_equal_ends_and_the_shard_is_given_up_until_forgiven(store: MemoryStore) -> None:
    job = plan_job(store, images(1))
    plan = store.get(plan_key("t", 0))
    store.put(plan_key("t", 0), b"not a plan")
    with worker(store, job) as w:
        for _ in range(MAX_EQUAL_ENDS - 1):
            with pytest.raises(CorruptObject):
                w.run(0)
        assert w.run(0) is Outcome.GIVEN_UP
        ledger = Ledger(store, TEMPO)
        assert "CorruptObject" in ledger.given_up()[0]
        attempts = len(list(store.list("_job/attempts/")))
        assert w.run(0) is Outcome.GIVEN_UP
        assert len(list(store.list("_job/attempts/"))) == attempts, "it was not tried"
        ledger.forgive()
        assert w.run(0) is Outcome.GIVEN_UP, "one more attempt, with the same end"
        ledger.forgive()
        store.put(plan_key("t", 0), plan)
    with worker(store, job) as w:
        assert w.run(0) is Outcome.COMMITTED


def test_a_worker_without_credentials_makes_no_records_and_says_why(store: MemoryStore) -> None:
    job = plan_job(store, images(3))

    def refuse(uri: str) -> None:
        raise BadCredentials("s3://photos: no usable S3 credentials")

    with worker(store, job) as w:
        scripted(w)[0].on_fetch = refuse
        for _ in range(MAX_EQUAL_ENDS - 1):
            with pytest.raises(BadCredentials):
                w.run(0)
        assert w.run(0) is Outcome.GIVEN_UP
        assert saved(store) == set()
        ledger = Ledger(store, TEMPO)
        assert "no usable S3 credentials" in ledger.given_up()[0]
        # Once they are there the same shard goes on.
        scripted(w)[0].on_fetch = lambda uri: None
        ledger.forgive()
        assert w.run(0) is Outcome.COMMITTED


def test_what_is_finished_since_the_last_checkpoint_outlives_a_dead_engine(
    store: MemoryStore,
) -> None:
    job = plan_job(store, images(3))
    with worker(store, job) as w:
        w.engine.answer = lambda r: "a" if place(r) < 2 else EngineDead("gone")

        def come_last(uri: str) -> None:
            if uri == "image:2":
                wait_for("the others' answers", lambda: len(w.engine.asked) == 2)

        scripted(w)[0].on_fetch = come_last
        with pytest.raises(EngineDead):
            w.run(0)
        assert saved(store) == {0, 1}
        tell(w, "ended")
        assert not Ledger(store, TEMPO).look(0, 0).live


def test_checkpoints_that_cannot_be_removed_stay(store: MemoryStore) -> None:
    job = plan_job(store, images(1))
    other = Ledger(store, TEMPO).claim(0, 0, 0, "gone")
    assert other is not None
    other.checkpoint([])
    store.tick(TEMPO.lease_s)

    def forbidden() -> None:
        raise Forbidden("no deleting here")

    with worker(store, job) as w:
        w.on("delete", "/checkpoints/", forbidden, when="before")
        assert w.run(0) is Outcome.COMMITTED
    assert list(store.list("_job/done/"))
    assert list(store.list("_job/checkpoints/"))


def test_a_commit_whose_answer_an_outage_swallowed_is_ours(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = plan_job(store, images(2))
    put = store.put_if_absent

    def twice(key: str, data: bytes) -> bool:
        # What a store that waits out an outage does after the first answer was lost.
        return put(key, data) and (not key.startswith("data/") or put(key, data))

    monkeypatch.setattr(store, "put_if_absent", twice)
    with worker(store, job) as w:
        assert w.run(0) is Outcome.COMMITTED
    assert list(store.list("_job/done/"))


def test_long_rows_go_first_and_odd_columns_do_no_harm(store: MemoryStore) -> None:
    odd = {
        "duration_s": pa.array([1, 2, 3], pa.timestamp("s")),
        "bytes": pa.array([5.0, None, 9.0]),
    }
    job = plan_job(store, images(3), columns=odd)
    with worker(store, job) as w:
        assert w.run(0) is Outcome.COMMITTED
        media = cast("ScriptedMedia", w.services.media)
    assert media.fetched == ["image:2", "image:0", "image:1"]


@pytest.mark.parametrize("again", [True, False])
def test_a_place_that_was_emptied_meanwhile_gets_no_commit(
    store: MemoryStore, *, again: bool
) -> None:
    job = plan_job(store, images(2), options={"prompt": "first"})

    def empty() -> None:
        for found in list(store.list()):
            store.delete(found.key)
        if again:
            plan_job(store, images(2), options={"prompt": "second"})

    with worker(store, job) as w:
        when_saved(w, 0, empty)
        assert w.run(0) is Outcome.REPLACED
    assert not [f.key for f in store.list() if f.key.startswith(("data/", "_job/done/"))]


@pytest.mark.parametrize(
    ("prompt", "sizes"), [("another", [3, 1]), ("", [1, 3])], ids=["another job", "other shards"]
)
def test_what_was_saved_for_another_job_is_not_taken(
    store: MemoryStore, prompt: str, sizes: list[int]
) -> None:
    job = plan_job(store, images(4), sizes=[3, 1])
    with worker(store, job) as w:
        hold_from(w, 2)
        when_saved(w, 2, w.die)
        assert w.run(0) is None
    late = {found.key: store.get(found.key) for found in store.list("_job/checkpoints/")}
    for found in list(store.list()):
        store.delete(found.key)
    anew = plan_job(store, images(4), sizes=sizes, options={"prompt": prompt} if prompt else {})
    for key, data in late.items():
        # Of the shards cut anew the second one has other rows at these places.
        store.put(key if prompt else key.replace("/0000000/", "/0000001/"), data)
    shard = 0 if prompt else 1
    with worker(store, anew) as w:
        answer_all(w)
        assert w.run(shard) is Outcome.COMMITTED
        assert asked(w) == [0, 1, 2]
    assert texts(store, shard) == ["b0", "b1", "b2"]
