"""A shard's file is its own commit: written once, replaced only as what it was."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from storage.dataset import (
    Footer,
    commit,
    committed,
    data_key,
    encode,
    read_footer,
    read_shard,
    read_tables,
    replace,
)
from storage.errors import CorruptObject, NotFound
from storage.objects import Store, open_store
from storage.records import SCHEMA_VERSION
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import HookedStore

TABLE = pa.table({"row_id": ["a", "b"], "n": pa.array([1, None], pa.int64())})


def footer(**changes: Any) -> Footer:
    values: dict[str, Any] = {
        "job_id": "j",
        "shard": 7,
        "generation": 0,
        "attempt": 1,
        "worker": "w",
        "ok": 1,
        "error": 1,
        "quarantined": 0,
        "started_at": 1.5,
        "finished_at": 2.5,
        "prompt_tokens": 10,
        "output_tokens": 5,
    }
    return Footer(**(values | changes))


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else open_store(str(tmp_path))


def test_only_the_first_commit_counts(store: Store) -> None:
    assert read_footer(store, 7) is None
    assert commit(store, 7, TABLE, footer())
    assert not commit(store, 7, TABLE.slice(0, 1), footer(worker="other"))
    table, found, _ = read_shard(store, 7)
    assert table.replace_schema_metadata(None).equals(TABLE)
    assert found == read_footer(store, 7) == footer()
    assert found.schema_version == SCHEMA_VERSION


def test_a_replacement_needs_the_file_that_was_read(store: Store) -> None:
    commit(store, 7, TABLE, footer())
    _, _, etag = read_shard(store, 7)
    assert replace(store, 7, TABLE, footer(generation=1), etag)
    assert not replace(store, 7, TABLE, footer(generation=2), etag)
    found = read_footer(store, 7)
    assert found is not None
    assert found.generation == 1


def test_what_is_not_there(store: Store) -> None:
    with pytest.raises(NotFound):
        read_shard(store, 0)
    assert list(read_tables(store)) == []
    assert list(committed(store)) == []


def test_tables_come_in_order_and_files_of_others_are_left_alone(store: Store) -> None:
    for shard in (10, 2, 1_234_567):
        commit(store, shard, pa.table({"n": [shard]}), footer(shard=shard))
    store.put("data/_SUCCESS", b"")
    store.put("data/sub/0000001.parquet", b"")
    assert list(committed(store)) == [2, 10, 1_234_567]
    assert [t["n"].to_pylist() for t in read_tables(store)] == [[2], [10], [1_234_567]]
    assert all(t.schema.metadata is None for t in read_tables(store))


def test_a_footer_larger_than_one_read(store: Store) -> None:
    wide = pa.table({f"column_{i:05d}": [i] for i in range(1500)})
    assert len(encode(wide, footer())) > 3 * 64 * 1024
    commit(store, 7, wide, footer())
    assert read_footer(store, 7) == footer()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 100_000, b"\xff" * 40])
def test_what_is_no_shard_is_named(store: Store, content: bytes) -> None:
    store.put(data_key(7), content)
    for read in (lambda: read_footer(store, 7), lambda: read_shard(store, 7)):
        with pytest.raises(CorruptObject, match=r"data/0000007\.parquet: not a shard"):
            read()


def test_a_parquet_file_of_others_is_named(store: Store) -> None:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    store.put(data_key(7), sink.getvalue())
    with pytest.raises(CorruptObject, match="no footer of ours"):
        read_footer(store, 7)


def test_a_file_replaced_between_two_reads_is_read_again() -> None:
    memory = MemoryStore()
    commit(memory, 7, TABLE, footer())
    replaced: list[str] = []

    def hook(when: str, method: str, key: str) -> None:
        if (when, method) == ("after", "head") and not replaced:
            replaced.append(key)
            wide = pa.table({f"column_{i:05d}": [i] for i in range(1500)})
            assert replace(memory, 7, wide, footer(generation=1), read_shard(memory, 7)[2])

    assert read_footer(HookedStore(memory, hook), 7) == footer(generation=1)
    assert replaced


def test_others_read_it_with_pyarrow_alone(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for shard in range(3):
        commit(store, shard, TABLE, footer(shard=shard))
    read = pyarrow.dataset.dataset(tmp_path / "data").to_table()
    assert read.num_rows == 6
    assert read.column_names == ["row_id", "n"]
