"""How far a job is, by listings alone."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pytest

from jobs.control import Wanted, write_control
from jobs.ledger import Attempt, Ledger
from jobs.progress import Done, JobView, State, write_marker
from jobs.retries import Retry
from jobs.spec import StoredJob
from jobs.tempo import Tempo
from storage.dataset import Footer, commit, read_shard, replace
from storage.objects import Object
from tests.unit import fakes
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import plan_job

SHARDS, ROWS = 4, 3


def footer(shard: int, generation: int = 0, error: int = 1) -> Footer:
    rows = {"ok": ROWS - error, "error": error}
    return fakes.footer(shard, generation, **rows, finished_at=1_000_000.0)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def job(store: MemoryStore) -> StoredJob:
    return plan_job(store, [["image:a"]] * SHARDS * ROWS, sizes=[ROWS] * SHARDS)


@pytest.fixture
def view(store: MemoryStore, job: StoredJob) -> JobView:
    return JobView(store, job, Tempo())


def committed(store: MemoryStore, *shards: int, marked: bool = True) -> None:
    for shard in shards:
        assert commit(store, shard, pa.table({"n": [0] * ROWS}), footer(shard))
        if marked:
            write_marker(store, footer(shard))


def attempt(store: MemoryStore, shard: int, generation: int = 0) -> Attempt:
    ledger = Ledger(store, Tempo())
    claimed = ledger.claim(shard, generation, ledger.look(shard, generation).next, "w")
    assert claimed is not None
    return claimed


def retried(store: MemoryStore, generation: int, *shards: int) -> None:
    rows: dict[int, tuple[int, ...]] = dict.fromkeys(shards, (0,))
    retry = Retry(generation=generation, options={}, rows=rows, at=store.now())
    store.put(f"_job/retries/{generation:06d}.json", retry.model_dump_json().encode())


def redone(store: MemoryStore, generation: int, shard: int) -> None:
    table, _, etag = read_shard(store, shard)
    assert replace(store, shard, table, footer(shard, generation, error=0), etag)
    write_marker(store, footer(shard, generation, error=0))


def test_from_planned_to_done(store: MemoryStore, view: JobView) -> None:
    view.refresh()
    assert view.status().state == "planned"
    attempt(store, 0)
    view.refresh()
    assert view.status().state == "running"
    committed(store, 0, 2)
    view.refresh()
    status = view.status()
    counts = {"total": 12, "ok": 4, "error": 2, "quarantined": 0, "remaining": 6, "due": 6}
    assert (status.state, status.rows) == ("running", counts)
    assert status.shards == {"total": 4, "done": 2, "live": 0, "due": 2}
    assert list(view.due()) == [1, 3]
    assert list(view.due(2)) == [3]
    committed(store, 1, 3)
    view.refresh()
    assert view.complete
    assert view.status().state == "done"
    assert view.status().eta_s is None


def test_warnings_are_counted_from_markers_alone(store: MemoryStore, view: JobView) -> None:
    for shard, warnings in enumerate([{"repetition": 2}, {}, {"upscaled": 1, "repetition": 1}]):
        said = footer(shard).model_copy(update={"warnings": warnings})
        assert commit(store, shard, pa.table({"n": [0] * ROWS}), said)
        write_marker(store, said)
    store.calls.clear()
    view.refresh()
    assert view.status().warnings == {"repetition": 3, "upscaled": 1}
    assert not [key for call, key in store.calls if call == "get" and key.startswith("data/")]


def test_done_wins_then_control_then_the_rest(store: MemoryStore, view: JobView) -> None:
    asked: list[tuple[Wanted, State]] = [
        ("pause", "paused"),
        ("cancel", "cancelled"),
        ("run", "planned"),
    ]
    for wanted, state in asked:
        write_control(store, wanted)
        view.refresh()
        assert view.status().state == state
    write_control(store, "cancel")
    committed(store, 0)
    view.refresh()
    status = view.status()
    assert (status.state, status.rows["remaining"]) == ("cancelled", 9)
    committed(store, 1, 2, 3)
    view.refresh()
    assert view.status().state == "done"


def test_missing_markers_are_mended(store: MemoryStore, view: JobView) -> None:
    committed(store, 0, 1)
    committed(store, 2, 3, marked=False)
    view.refresh()
    assert view.status().state == "done"
    assert view.status().rows["error"] == 4
    other = JobView(store, view.job, Tempo())
    store.calls.clear()
    other.refresh()
    assert other.complete
    assert not any(method in ("head", "put") for method, _ in store.calls)


def test_a_retry_makes_a_job_due_again_and_the_rows_still_count(
    store: MemoryStore, view: JobView
) -> None:
    committed(store, 0, 1, 2, 3)
    view.refresh()
    retried(store, 1, 1, 2)
    retried(store, 2, 2)
    view.refresh()
    status = view.status()
    assert (status.state, status.generation) == ("running", 2)
    counts = {"total": 12, "ok": 8, "error": 4, "quarantined": 0, "remaining": 0, "due": 2}
    assert status.rows == counts
    assert list(view.due()) == [1, 2]
    assert [view.generation(s) for s in range(4)] == [0, 1, 2, 0]
    redone(store, 1, 1)
    redone(store, 1, 2)  # by a worker that had not seen the second retry
    view.refresh()
    assert list(view.due()) == [2]
    redone(store, 2, 2)
    view.refresh()
    status = view.status()
    assert (status.state, status.rows["ok"], status.rows["error"]) == ("done", 10, 2)


def test_a_marker_of_an_older_generation_changes_nothing(view: JobView) -> None:
    newer = Done(generation=2, ok=3, error=0, quarantined=0, at=2.0)
    view.note(0, newer)
    view.note(0, Done(generation=1, ok=2, error=1, quarantined=0, at=3.0))
    assert view.done == {0: newer}


def test_live_and_stalled(store: MemoryStore, view: JobView) -> None:
    first = attempt(store, 0)
    first.checkpoint([])
    view.refresh()
    assert (view.status().shards["live"], view.status().stalled) == (1, False)
    store.tick(100)  # the lease ran out, and it is no two minutes yet
    assert (view.status().shards["live"], view.status().stalled) == (0, False)
    store.tick(21)
    assert view.status().stalled
    attempt(store, 0).checkpoint([])
    assert not view.status().stalled
    write_control(store, "pause")
    store.tick(1000)
    assert not view.status().stalled


def test_what_was_given_back_is_not_live(store: MemoryStore, view: JobView) -> None:
    held = attempt(store, 1)
    held.checkpoint([])
    assert view.live() == {1}
    held.end()
    assert view.live() == set()


def test_rate_and_eta_are_of_the_last_ten_minutes(store: MemoryStore, view: JobView) -> None:
    view.refresh()
    assert view.status().rows_per_s is None
    store.tick(30)
    committed(store, 0, 1)
    view.refresh()
    status = view.status()
    assert status.rows_per_s == pytest.approx(6 / 30)
    assert status.eta_s == pytest.approx(6 / (6 / 30))
    store.tick(3600)
    view.refresh()
    assert view.status().rows_per_s is None


def test_rate_and_eta_of_a_retry_are_of_the_rows_it_names(
    store: MemoryStore, view: JobView
) -> None:
    store.tick(30)
    committed(store, 0, 1, 2, 3)
    store.tick(30)
    retried(store, 1, 1, 2, 3)  # a row each
    view.refresh()
    assert (view.status().rows["due"], view.status().eta_s) == (3, None)
    assert view.status().rows_per_s is None, "nothing of it is redone yet"
    store.tick(10)
    redone(store, 1, 2)
    view.refresh()
    status = view.status()
    assert (status.rows["due"], status.rows["remaining"]) == (2, 0)
    assert status.rows_per_s == pytest.approx(1 / 10)
    assert status.eta_s == pytest.approx(20)
    assert status.finished_at is None
    store.tick(10)
    redone(store, 1, 1)
    redone(store, 1, 3)
    view.refresh()
    assert (view.status().rows["due"], view.status().finished_at) == (0, store.now())


def test_given_up_shards_are_shown(store: MemoryStore, view: JobView) -> None:
    view.ledger.give_up(3, "CorruptObject: as it is")
    attempt(store, 0)
    view.refresh()
    assert view.status().given_up == {3: "CorruptObject: as it is"}


@dataclass
class PagedStore(MemoryStore):
    """Counts listings as S3 does: a thousand keys each. Keys are given, not stored."""

    keys: dict[str, list[str]] = field(default_factory=dict)
    pages: Counter[str] = field(default_factory=Counter)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        keys = self.keys.get(prefix)
        self.pages[prefix] += 1
        if keys is None:
            yield from super().list(prefix, after=after)
            return
        for at, key in enumerate(keys[bisect_right(keys, after) :]):
            if at and at % 1000 == 0:
                self.pages[prefix] += 1
            yield Object(key, 0, "", self.clock)


@pytest.mark.parametrize("missing", [0, 10, 3, 2])
def test_a_hundred_thousand_shards_take_few_listings(job: StoredJob, missing: int) -> None:
    total = 100_000
    names = [f"_job/done/0/{s:07d}-2-1-0" for s in range(total) if not missing or s % missing]
    store = PagedStore(uri="s3://bucket/out", keys={"_job/done/0/": names})
    plan = job.plan.model_copy(update={"shards": total, "rows": 3 * total})
    retried(store, 1, *range(1, 50))
    view = JobView(store, job.model_copy(update={"plan": plan}), Tempo())
    view.refresh()
    status = view.status()
    assert status.shards["done"] == len(names) - sum(1 for s in range(1, 50) if s in view.done)
    assert status.rows["ok"] == 2 * len(names)
    assert store.pages.total() <= 110, store.pages
    store.pages.clear()
    view.refresh()  # everything below the first shard that is due is known
    assert store.pages.total() <= (110 if missing else 5)


def test_ranges_side_by_side_find_what_one_listing_finds(job: StoredJob) -> None:
    plan = job.plan.model_copy(update={"shards": 4_500, "rows": 13_500})
    wide = job.model_copy(update={"plan": plan})
    done = [0, 1, 1999, 2000, 2001, 3999, 4000, 4499]
    found = []
    for uri in ("s3://b/out", "memory://test"):
        store = MemoryStore(uri=uri)
        for shard in done:
            write_marker(store, footer(shard))
        view = JobView(store, wide, Tempo())
        view.refresh()
        found.append(view.done)
    assert found[0] == found[1]
    assert sorted(found[0]) == done
