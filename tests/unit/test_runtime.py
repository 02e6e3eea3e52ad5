"""A worker's runtime: which job lies in a place now, and what is fed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.spec import StoredJob, load_job
from orchestration.app import MEMORY_URL, make_app
from orchestration.board import Crew
from orchestration.embedded import Embedded, Stopped
from orchestration.feeder import Fed
from orchestration.local_board import LocalBoard
from orchestration.runtime import Runtime
from orchestration.settings import load_settings
from storage.dataset import read_shard
from storage.errors import InvalidJob, NoSuchJob, StoreUnavailable
from storage.objects import open_store
from tests.unit.mortal import TEMPO, images
from tests.unit.scripted import MODEL, ScriptedEngine, plan_job, services
from workers.outcome import Outcome


class Scene:
    """A runtime whose messages are a list, and a place for jobs."""

    def __init__(self, runtime: Runtime, place: Path, published: list[tuple[str, int]]) -> None:
        self.runtime = runtime
        self.place = place
        self.out = str(place)
        self.published = published

    def put(self, rows: int, **job: object) -> StoredJob:
        """Submit a job to the place, which held none or is emptied."""
        shutil.rmtree(self.place, ignore_errors=True)
        return plan_job(open_store(self.out), images(rows), **job)  # type: ignore[arg-type]

    def texts(self) -> list[object]:
        return list(read_shard(open_store(self.out), 0)[0].column("text").to_pylist())


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    published: list[tuple[str, int]] = []

    def publisher(app: object) -> object:
        return lambda job, shard: published.append((job.job_id, shard))

    monkeypatch.setattr("orchestration.runtime.make_publisher", publisher)
    engine = ScriptedEngine(lambda request: request.prompt.text)
    with services(engine, tempo=TEMPO) as made:

        def dead(error: BaseException) -> None:
            raise AssertionError("the engine is alive") from error

        app = make_app(MEMORY_URL, TEMPO)
        runtime = Runtime(app, LocalBoard(), made, MODEL, TEMPO, slots=1, dead=dead)
        yield Scene(runtime, tmp_path / "out", published)


def test_a_job_is_read_once(scene: Scene) -> None:
    scene.put(2)
    first = scene.runtime.open_job(scene.out)
    again = scene.runtime.open_job(scene.out)
    assert first[0] is again[0]
    assert first[1] is again[1]


@pytest.mark.parametrize("prompt", ["second", "first"])
def test_another_job_in_a_place_that_was_emptied_is_noticed(scene: Scene, prompt: str) -> None:
    old = scene.put(1, options={"prompt": "first"})
    assert scene.runtime.deliver(scene.out, 0, "t1") is Outcome.COMMITTED
    assert scene.texts() == ["first"]
    # Also the very same job, whose plan is another one now.
    new = scene.put(3, options={"prompt": prompt})
    assert (new.job_id == old.job_id) == (prompt == "first")
    assert scene.runtime.deliver(scene.out, 0, "t2") is Outcome.COMMITTED
    assert scene.texts() == [prompt] * 3
    assert scene.runtime.open_job(scene.out)[1].job == new


def test_a_job_that_is_gone_is_fed_no_more(scene: Scene) -> None:
    job = scene.put(20, sizes=[1] * 20)
    scene.runtime.open_job(scene.out)
    scene.runtime.feed()
    assert len(scene.published) == 16
    assert scene.runtime.board.jobs(job.queue) == {scene.out}
    shutil.rmtree(scene.place)
    scene.runtime.board.clear(job.job_id)
    scene.runtime.feed()
    assert len(scene.published) == 16
    assert scene.runtime.board.jobs(job.queue) == set()
    assert scene.runtime.feeder.known() == []
    assert not scene.place.exists(), "a look leaves nothing"
    assert scene.runtime.deliver(scene.out, 3, "t") is Outcome.BUSY
    # And one that comes to the place later is fed from its start.
    new = scene.put(2, options={"prompt": "new"}, sizes=[1, 1])
    scene.runtime.board.add_job(new.queue, scene.out)
    scene.runtime.feed()
    assert scene.published[16:] == [(new.job_id, 0), (new.job_id, 1)]


def test_a_job_that_is_done_is_let_go(scene: Scene) -> None:
    job = scene.put(1)
    assert scene.runtime.deliver(scene.out, 0, "t") is Outcome.COMMITTED
    scene.runtime.feed()
    assert scene.runtime.feeder.known() == []
    assert scene.runtime.board.jobs(job.queue) == set()


@pytest.mark.parametrize("again", [True, False])
def test_a_run_whose_place_is_emptied_ends_and_says_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    monkeypatch.setattr("orchestration.embedded._LOOK_STORE_S", 0)
    monkeypatch.setattr("orchestration.embedded._LOOK_S", 0)
    embedded = Embedded(load_settings(time_scale=TEMPO.scale), MODEL)
    embedded._runtime = scene.runtime
    job = scene.put(1)
    looks = iter(range(50))

    def empty(_: object) -> None:
        # A run that goes on in spite of it would do so for ever.
        look = next(looks)
        if look == 2 and again:
            scene.put(1, options={"prompt": "new"})
        elif look == 2:
            shutil.rmtree(scene.place)

    with pytest.raises(NoSuchJob, match="out: emptied" if again else "no job here"):
        embedded.run(job, empty)


def test_the_slots_of_a_fleet_are_not_counted_at_each_commit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[object] = []
    monkeypatch.setattr("orchestration.runtime.time.monotonic", lambda: 7.0)

    def count(board: object, model: object) -> Crew:
        counted.append(model)
        return Crew(5, 40)

    monkeypatch.setattr("orchestration.runtime.crew", count)
    scene.put(2, sizes=[1, 1])
    for shard in (0, 1):
        assert scene.runtime.deliver(scene.out, shard, "t") is Outcome.COMMITTED
    assert [scene.runtime._slots_of(scene.runtime.open_job(scene.out)[1].job) for _ in "abc"] == [
        40
    ] * 3
    assert len(counted) == 1


def test_few_shards_that_wait_become_more_before_they_are_counted(scene: Scene) -> None:
    job = scene.put(40, sizes=[1] * 40)
    fed = scene.runtime.open_job(scene.out)[1]
    scene.runtime.feeder.round(fed)
    for shard in range(10):
        scene.runtime.board.take(job.job_id, shard)
    assert scene.runtime.waiting() == 16, "a window"
    assert [shard for _, shard in scene.published] == list(range(26))


def test_the_last_shards_are_for_all_who_serve_a_job(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scene.put(20, sizes=[1] * 20)
    scene.runtime.feeder.round(scene.runtime.open_job(scene.out)[1])
    assert scene.runtime.waiting() == 16
    monkeypatch.setattr("orchestration.runtime.crew", lambda board, model: Crew(2, 2))
    scene.runtime._counted.clear()
    assert scene.runtime.waiting() == 16, "four are still to come"
    for shard in range(4):
        scene.runtime.board.take(job.job_id, shard)
    assert scene.runtime.waiting() == 0, "the last are enqueued now"
    assert len(scene.published) == 20


def test_a_job_that_cannot_be_read_keeps_nobody_from_counting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene.put(40, sizes=[1] * 40)
    fed = scene.runtime.open_job(scene.out)[1]
    scene.runtime.feeder.round(fed)

    def fails(fed: Fed) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(scene.runtime.feeder, "feed_on", fails)
    assert scene.runtime.waiting() == 16
    assert "cannot feed" in caplog.text


@pytest.mark.parametrize("trouble", ["an option of a newer release", "anything"])
def test_a_job_that_cannot_be_fed_keeps_nobody_from_the_others(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    job = scene.put(1)
    odd = tmp_path / "a"  # comes first
    plan_job(open_store(str(odd)), images(1))
    if trouble == "anything":
        feed = scene.runtime.feeder.round_in_turn

        def fails(fed: Fed) -> bool:
            if fed.store.uri == str(odd):
                raise ZeroDivisionError
            return feed(fed)

        monkeypatch.setattr(scene.runtime.feeder, "round_in_turn", fails)
    else:
        spec = odd / "_job/spec.json"
        stored = json.loads(spec.read_text())
        stored["options"]["of_tomorrow"] = 1
        spec.write_text(json.dumps(stored))
        with pytest.raises(InvalidJob, match="of_tomorrow"):
            scene.runtime.open_job(str(odd))
    for out in (str(odd), scene.out):
        scene.runtime.board.add_job(job.queue, out)
    scene.runtime.feed()
    assert scene.published == [(job.job_id, 0)]


def test_a_folder_that_was_moved_is_worked_where_it_is(scene: Scene, tmp_path: Path) -> None:
    job = scene.put(1)
    moved = tmp_path / "moved"
    scene.place.rename(moved)
    found = load_job(open_store(str(moved)))
    assert (found.spec.out, found.job_id) == (str(moved), job.job_id)
    assert scene.runtime.deliver(found.spec.out, 0, "t") is Outcome.COMMITTED
    assert list(moved.glob("data/*.parquet"))


def test_a_run_that_is_interrupted_waits_for_no_store(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = Embedded(load_settings(time_scale=TEMPO.scale), MODEL)
    embedded._runtime = scene.runtime
    job = scene.put(1)

    def away(fed: Fed) -> bool:
        embedded.interrupt()
        assert scene.runtime.services.stop.is_set(), "which ends the patience with stores"
        raise StoreUnavailable("away")

    monkeypatch.setattr(scene.runtime.feeder, "round", away)
    with pytest.raises(Stopped):
        embedded.run(job)
