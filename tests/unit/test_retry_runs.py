"""Retries as workers do them: only their rows change, whoever else is at it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from jobs.ledger import Ledger
from jobs.progress import JobView
from jobs.retries import Retry
from jobs.selection import Selection, add_retry
from storage.dataset import read_shard, replace
from storage.errors import RowError
from tests.unit.fakes import MemoryStore
from tests.unit.mortal import TEMPO, asked, hold_from, images, place, texts, worker
from tests.unit.scripted import plan_job
from workers.engine import Request
from workers.outcome import Outcome


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def failing(*rows: int) -> Any:
    def answer(request: Request) -> str | BaseException:
        if place(request) in rows:
            return RowError("engine", "not today")
        return f"{place(request)} {request.prompt.text}"

    return answer


def test_a_retry_changes_only_its_rows_and_the_newest_options_win(store: MemoryStore) -> None:
    job = plan_job(store, images(4), options={"prompt": "first"})
    with worker(store, job) as w:
        w.engine.answer = failing(1, 3)
        assert w.run(0) is Outcome.COMMITTED
        before = read_shard(store, 0)[0].to_pylist()
        asked(w)
        add_retry(JobView(store, job, TEMPO), Selection(), {"prompt": "second"})
        w.engine.answer = failing(3)
        assert w.run(0) is Outcome.COMMITTED
        assert asked(w) == [1, 3]
        add_retry(JobView(store, job, TEMPO), Selection(), {"prompt": "third"})
        add_retry(JobView(store, job, TEMPO), Selection(), {"prompt": "fourth"})
        w.engine.answer = failing()
        assert w.run(0) is Outcome.COMMITTED
        assert asked(w) == [3]
        assert w.run(0) is Outcome.ALREADY
    after, footer, _ = read_shard(store, 0)
    assert after.column("text").to_pylist() == ["0 first", "1 second", "2 first", "3 fourth"]
    assert [after.to_pylist()[i] for i in (0, 2)] == [before[i] for i in (0, 2)]
    assert (footer.generation, footer.ok, footer.error) == (3, 4, 0)


def test_rows_of_a_warning_are_redone_and_counted_anew(store: MemoryStore) -> None:
    job = plan_job(store, images(4), options={"image_tokens": 70})

    def declining(request: Request) -> str:
        return "I can't help with that." if place(request) % 2 else "a cat"

    with worker(store, job) as w:
        w.engine.answer = declining
        assert w.run(0) is Outcome.COMMITTED
        view = JobView(store, job, TEMPO)
        view.refresh()
        assert (view.status().rows["ok"], view.status().warnings) == (4, {"refused": 2})
        asked(w)
        made = add_retry(view, Selection(warnings=("refused",)), {"system": "Be frank."})
        assert made is not None
        w.engine.answer = lambda request: "I'm sorry." if place(request) == 1 else "a dog"
        assert w.run(0) is Outcome.COMMITTED
        assert asked(w) == [1, 3]
        view.refresh()
        assert (view.status().state, view.status().warnings) == ("done", {})
    assert texts(store) == ["a cat", "I'm sorry.", "a cat", "a dog"]


def test_a_retry_that_loses_to_an_older_one_decides_again(store: MemoryStore) -> None:
    job = plan_job(store, images(4), options={"prompt": "first"})
    with worker(store, job) as slow, worker(store, job, name="w2") as fast:
        slow.engine.answer = failing(1, 3)
        assert slow.run(0) is Outcome.COMMITTED
        add_retry(JobView(store, job, TEMPO), Selection(), {"prompt": "second"})
        slow.engine.answer = fast.engine.answer = failing()
        outcomes: list[Outcome | None] = []

        def newer() -> None:
            # The older attempt is under way; a retry comes, and is done before it commits.
            add_retry(JobView(store, job, TEMPO), Selection(), {"prompt": "third"})
            outcomes.append(fast.run(0))

        slow.on("put_if_absent", "/attempts/1/", newer)
        outcomes.append(slow.run(0))
        assert outcomes == [Outcome.COMMITTED, Outcome.ALREADY]
        assert texts(store) == ["0 first", "1 third", "2 first", "3 third"]


def test_a_file_replaced_between_read_and_write_is_read_again(store: MemoryStore) -> None:
    job = plan_job(store, images(4), options={"prompt": "first"})
    with worker(store, job) as w:
        w.engine.answer = failing(1, 3)
        assert w.run(0) is Outcome.COMMITTED
        add_retry(JobView(store, job, TEMPO), Selection(kinds=("engine",)), {"prompt": "second"})
        narrow = Retry(generation=2, options={"prompt": "third"}, rows={0: (3,)}, at=0.0)
        store.put("_job/retries/000002.json", narrow.model_dump_json().encode())
        w.engine.answer = failing()

        def older() -> None:
            """A slow worker, at the first retry, commits just before."""
            table, footer, etag = read_shard(store, 0)
            mark = table.schema.get_field_index("caption")
            table = table.set_column(mark, table.schema.field(mark), pa.array(["older"] * 4))
            older_footer = footer.model_copy(update={"generation": 1, "worker": "slow"})
            assert replace(store, 0, table, older_footer, etag)

        w.on("put_if_match", "data/", older, when="before")
        assert w.run(0) is Outcome.COMMITTED
    table, footer, _ = read_shard(store, 0)
    assert (footer.generation, footer.worker) == (2, "w1")
    assert table.column("text").to_pylist() == ["0 first", "1 second", "2 first", "3 third"]
    assert table.column("caption").to_pylist() == ["older", "1 second", "older", "3 third"]


def test_status_counts_while_rows_are_redone(store: MemoryStore) -> None:
    job = plan_job(store, images(4))
    with worker(store, job) as w:
        w.engine.answer = failing(1, 3)
        w.run(0)
        add_retry(JobView(store, job, TEMPO), Selection(), {})
        view = JobView(store, job, TEMPO)
        view.refresh()
        assert (view.status().state, view.status().rows["error"]) == ("running", 2)
        assert view.status().rows["remaining"] == 0
        w.engine.answer = failing(3)
        assert w.run(0) is Outcome.COMMITTED
        view.refresh()
        assert (view.status().state, view.status().rows["error"]) == ("done", 1)


def test_checkpoints_of_a_retry_are_its_own(store: MemoryStore) -> None:
    job = plan_job(store, images(4))
    with worker(store, job) as w:
        w.engine.answer = failing(1, 2, 3)
        w.run(0)
        add_retry(JobView(store, job, TEMPO), Selection(), {})
        asked(w)
        hold_from(w, 2)
        w.on("put", "/checkpoints/1/0000000/0000-000001", w.services.stop.set)
        assert w.run(0) is Outcome.STOPPED
        assert set(Ledger(store, TEMPO).progress(0, 1).records) == {1}
        asked(w)
        # The next one names less, and what was saved for the one before is not its.
        narrow = Retry(generation=2, options={"prompt": "new"}, rows={0: (1,)}, at=0.0)
        store.put("_job/retries/000002.json", narrow.model_dump_json().encode())
        w.engine.answer = failing()
        assert w.run(0) is Outcome.COMMITTED
        assert asked(w) == [1, 2, 3]
    assert read_shard(store, 0)[0].column("text").to_pylist()[1] == "1 new"


def test_saved_rows_that_another_has_committed_do_not_count_as_ours(store: MemoryStore) -> None:
    job = plan_job(store, images(4))
    with worker(store, job) as w:
        w.engine.answer = failing(1, 3)
        w.run(0)
        for generation, row in ((1, 1), (2, 3)):
            retry = Retry(generation=generation, options={}, rows={0: (row,)}, at=0.0)
            store.put(f"_job/retries/{generation:06d}.json", retry.model_dump_json().encode())
        hold_from(w, 2)
        w.on("put", "/checkpoints/2/0000000/0000-000001", w.services.stop.set)
        assert w.run(0) is Outcome.STOPPED
        assert set(Ledger(store, TEMPO).progress(0, 2).records) == {1}
        table, footer, etag = read_shard(store, 0)
        assert replace(store, 0, table, footer.model_copy(update={"generation": 1}), etag)
        w.on("put", "/checkpoints/2/", w.services.stop.set)
        assert w.run(0) is Outcome.STOPPED, "row 3 alone is due, and it is not done"
        w.engine.answer = failing()
        assert w.run(0) is Outcome.COMMITTED
    assert read_shard(store, 0)[1].generation == 2
