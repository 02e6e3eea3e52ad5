"""The plan that comes of a manifest: every row once and in order."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import planner, staging
from jobs.plan import Plan, PlanReader, ShardRows
from jobs.planner import drop_plan, make_plan
from jobs.staging import Staging
from jobs.tasks.base import Cost
from storage.errors import CorruptObject, InvalidManifest, StoreUnavailable
from tests.unit.fakes import MemoryStore

SPEECH = Cost(request_tokens=180, second_tokens=25.0, default_seconds=60.0)
RESERVED = frozenset({"row_id", "uri", "text", "status"})


def plan_of(
    store: MemoryStore, manifest: Path, *, slots: int = 0, rate: float = 1e-4, **subset: int
) -> tuple[Plan, list[str]]:
    return make_plan(
        store,
        str(manifest),
        token="token",
        costs=SPEECH,
        slots=slots,
        seconds_per_token=rate,
        reserved=RESERVED,
        limit=subset.get("limit"),
        sample=subset.get("sample"),
        seed=subset.get("seed", 0),
    )


def shards_of(store: MemoryStore, plan: Plan) -> list[ShardRows]:
    stored = Plan.model_validate_json(plan.model_dump_json())
    reader = PlanReader(store, stored)
    return [reader.shard(n) for n in range(plan.shards)]


def ids_of(store: MemoryStore, plan: Plan) -> list[str]:
    return [row.id for shard in shards_of(store, plan) for row in shard.rows]


def write_rows(path: Path, count: int, **columns: object) -> Path:
    lines = (json.dumps({"id": f"r{i}", "uri": f"{i}.wav", **columns}) for i in range(count))
    path.write_text("\n".join(lines))
    return path


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 300),
    slots=st.integers(0, 20),
    rate=st.sampled_from([1e-9, 1e-4, 0.05]),
    kind=st.sampled_from(["jsonl", "parquet"]),
)
def test_every_row_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, rows: int, slots: int, rate: float, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    path = folder / f"m.{kind}"
    if kind == "jsonl":
        write_rows(path, rows, n=1)
    else:
        ids = [f"r{i}" for i in range(rows)]
        pq.write_table(pa.table({"id": ids, "uri": ids, "n": [1] * rows}), path, row_group_size=50)
    first, second = MemoryStore(), MemoryStore()
    plan, _ = plan_of(first, path, slots=slots, rate=rate)
    again, _ = plan_of(second, path, slots=slots, rate=rate)
    assert plan == again
    assert ids_of(first, plan) == [f"r{i}" for i in range(rows)]
    assert plan.rows == rows
    for shard in shards_of(first, plan):
        assert shard.carried.column("n").to_pylist() == [1] * len(shard.rows)
        assert shard.carried.schema == plan.schema


def test_many_shards_go_to_several_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = MemoryStore()
    plan, _ = plan_of(store, write_rows(tmp_path / "m.jsonl", 600), rate=0.1)
    assert plan.shards == 600
    assert plan.firsts == (0, 256, 512)
    assert [o.key for o in store.list("_job/plan/token/")] == [
        f"_job/plan/token/{n:05d}.parquet" for n in range(3)
    ]
    assert ids_of(store, plan) == [f"r{i}" for i in range(600)]

    # Wide rows end a file early, and are found all the same.
    monkeypatch.setattr(staging, "_FILE_BYTES", 20_000)
    other = MemoryStore()
    plan, _ = plan_of(other, tmp_path / "m.jsonl", rate=0.1)
    assert len(plan.firsts) > 3
    assert plan.firsts[1] < 256
    assert ids_of(other, plan) == [f"r{i}" for i in range(600)]


def test_what_is_held_back_stays_in_order() -> None:
    class Staged:
        def add(self, table: pa.Table, lengths: list[int]) -> None:
            staged.append((table.column("n").to_pylist(), lengths))

    staged: list[tuple[list[int], list[int]]] = []
    held = deque(pa.table({"n": list(range(n, n + 4))}) for n in (0, 4, 8))
    for lengths in ([], [3, 2], [1], [2], [4]):
        planner._hand_over(held, lengths, cast("Staging", Staged()))
    taken = [rows[: sum(lengths)] for rows, lengths in staged]
    assert taken == [[0, 1, 2, 3, 4], [5], [6, 7], [8, 9, 10, 11]]
    assert not held


def test_rows_that_fill_the_memory_are_staged_early(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "m.jsonl", 50_000, text="x" * 50)
    store = MemoryStore()
    plan, _ = plan_of(store, path, rate=1e-9)
    assert len(shards_of(store, plan)[0].rows) == 1024
    monkeypatch.setattr(planner, "_HELD_BYTES", 200_000)
    other = MemoryStore()
    plan, _ = plan_of(other, path, rate=1e-9)
    assert len(shards_of(other, plan)[0].rows) < 512, "it had to be cut before more were read"
    assert ids_of(other, plan) == [f"r{i}" for i in range(50_000)]


def test_a_shard_is_one_ranged_read_once_the_footer_is_known(tmp_path: Path) -> None:
    store = MemoryStore()
    plan, _ = plan_of(store, write_rows(tmp_path / "m.jsonl", 1000))
    reader = PlanReader(store, plan)
    reader.shard(0)
    store.calls.clear()
    reader.shard(3)
    assert [method for method, _ in store.calls] == ["read"]


def test_a_damaged_or_missing_plan_says_so(tmp_path: Path) -> None:
    store = MemoryStore()
    plan, _ = plan_of(store, write_rows(tmp_path / "m.jsonl", 10))
    store.put("_job/plan/token/00000.parquet", b"PAR1 no such thing PAR1")
    with pytest.raises(CorruptObject, match=r"00000\.parquet.*submit again"):
        PlanReader(store, plan).shard(0)
    drop_plan(store, "token")
    assert not list(store.list())
    with pytest.raises(CorruptObject, match="gone"):
        PlanReader(store, plan).shard(0)
    with pytest.raises(IndexError):
        PlanReader(store, plan).shard(plan.shards)


def test_types_are_settled_over_the_whole_manifest(tmp_path: Path) -> None:
    rows = [
        {"uri": "a", "i": 1, "f": 1, "mix": 1, "nest": {"k": [1]}, "b": True, "none": None},
        {"uri": "b", "i": 2**53 + 1, "f": 0.5, "mix": "one", "day": "2026-01-02"},
        {"uri": "c", "big": 2**70, "wide": 2**60, "text": "mine"},
        {"uri": "d", "big": 1, "wide": 0.5, "in_text": 1},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    store = MemoryStore()
    plan, notes = plan_of(store, path)
    types = {column.source: column.type for column in plan.columns}
    assert types == {
        "i": "int64", "f": "double", "mix": "json", "nest": "json", "b": "bool",
        "none": "string", "day": "string", "big": "json", "wide": "json", "text": "string",
        "in_text": "int64",
    }  # fmt: skip
    names = {column.source: column.name for column in plan.columns}
    assert names["text"] == "in_in_text"
    assert names["in_text"] == "in_text"
    assert sum("JSON text" in note for note in notes) == 4
    assert any("in_in_text" in note for note in notes)
    (shard,) = shards_of(store, plan)
    carried = shard.carried.to_pydict()
    assert carried["i"] == [1, 2**53 + 1, None, None]
    assert carried["f"] == [1.0, 0.5, None, None]
    assert carried["mix"] == ["1", '"one"', None, None]
    assert carried["nest"] == ['{"k":[1]}', None, None, None]
    assert carried["big"] == [None, None, str(2**70), "1"]
    assert carried["in_in_text"] == [None, None, "mine", None]
    # A task is given the values, under the manifest's names.
    assert shard.rows[0].columns["nest"] == {"k": [1]}
    assert shard.rows[2].columns["text"] == "mine"
    assert shard.rows[2].columns["big"] == 2**70


def test_a_column_that_appears_late_keeps_its_type(tmp_path: Path) -> None:
    lines = [json.dumps({"uri": f"{i}", "n": i}) for i in range(60_000)]
    lines.append(json.dumps({"uri": "last", "n": 0.5, "late": "x"}))
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(lines))
    store = MemoryStore()
    plan, _ = plan_of(store, path)
    assert [(c.name, c.type) for c in plan.columns] == [("n", "double"), ("late", "string")]
    first = PlanReader(store, plan).shard(0)
    assert first.carried.schema.field("n").type == pa.float64()
    assert first.carried.column("late").null_count == len(first.rows)


def test_a_row_without_columns_of_its_own(tmp_path: Path) -> None:
    store = MemoryStore()
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"uri": ["a", "b"]}), path)
    plan, notes = plan_of(store, path)
    (shard,) = shards_of(store, plan)
    assert (shard.carried.num_rows, shard.carried.num_columns, notes) == (2, 0, [])
    assert [row.id for row in shard.rows] == ["0", "1"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_limit_takes_the_first_and_sample_is_spread(tmp_path: Path, kind: str) -> None:
    count = 30_000
    path = tmp_path / f"m.{kind}"
    ids = [f"r{i}" for i in range(count)]
    if kind == "parquet":
        pq.write_table(pa.table({"id": ids, "uri": ids}), path)
    elif kind == "csv":
        path.write_text("id,uri\n" + "".join(f"{i},{i}\n" for i in ids))
    else:
        write_rows(path, count)

    def chosen(**subset: int) -> list[str]:
        store = MemoryStore()
        return ids_of(store, plan_of(store, path, **subset)[0])

    assert chosen(limit=10) == ids[:10]
    assert chosen(limit=count + 5) == ids
    assert chosen(sample=count + 5) == ids
    sample = chosen(sample=100, seed=1)
    numbers = [int(i[1:]) for i in sample]
    assert len(set(numbers)) == 100
    assert numbers == sorted(numbers)
    assert all(10 < sum(n // 7500 == quarter for n in numbers) < 45 for quarter in range(4))
    assert chosen(sample=100, seed=1) == sample
    assert chosen(sample=100, seed=2) != sample


def test_limit_reads_no_further_and_the_digest_is_of_the_whole_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "m.jsonl", 5)
    path.write_bytes(path.read_bytes() + b"\nno JSON at all")
    store = MemoryStore()
    plan, _ = plan_of(store, path, limit=5)
    assert plan.rows == 5
    path.write_bytes(path.read_bytes() + b" and more")
    assert plan_of(store, path, limit=5)[0].manifest_digest != plan.manifest_digest
    with pytest.raises(InvalidManifest, match=r"line 6 .*not JSON"):
        plan_of(store, path, sample=5)


def test_progress_counts_rows(tmp_path: Path) -> None:
    seen: list[int] = []
    make_plan(
        MemoryStore(),
        str(write_rows(tmp_path / "m.jsonl", 40_000)),
        token="t",
        costs=SPEECH,
        slots=0,
        seconds_per_token=1e-4,
        reserved=RESERVED,
        limit=None,
        sample=None,
        seed=0,
        scratch=tmp_path,
        on_progress=seen.append,
    )
    assert seen == sorted(seen)
    assert seen[-1] == 40_000
    assert len(seen) > 1
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_whatever_stops_planning_leaves_nothing_staged(tmp_path: Path) -> None:
    class Full(MemoryStore):
        def put(self, key: str, data: bytes) -> None:
            if key.endswith("00001.parquet"):
                raise StoreUnavailable("no answer")
            super().put(key, data)

    path = write_rows(tmp_path / "m.jsonl", 600)
    store = Full()
    with pytest.raises(StoreUnavailable):
        plan_of(store, path, rate=0.1)
    assert ("put", "_job/plan/token/00000.parquet") in store.calls
    assert not list(store.list())

    path.write_text(path.read_text() + '\n{"id": "r0", "uri": "again"}')
    store = Full()
    with pytest.raises(InvalidManifest, match=r"row 600 \(row 0 is 'r0' too\)"):
        plan_of(MemoryStore(), path, rate=0.1)
