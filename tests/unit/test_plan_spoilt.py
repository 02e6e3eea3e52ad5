"""What is turned on the way from a store is found out: rows are those that were planned."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.plan import PlanReader
from storage.dataset import commit, read_footer
from storage.errors import CorruptObject, StoreUnavailable
from tests.unit.fakes import MemoryStore, footer
from tests.unit.test_planner import plan_of, write_rows

#: Bits that are turned, each in a reading of its own.
FLIPS = 150


class Flipping(MemoryStore):
    """Turns one bit of the answer to one ranged read; a new order for each seed."""

    def __init__(self) -> None:
        super().__init__()
        self._draw = random.Random(0)
        self._hit = -1

    def order(self, seed: int, reads: int) -> None:
        """Turn a bit of one of the next so many reads."""
        self._draw = random.Random(seed)
        self._hit = self._draw.randrange(reads)

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        data = super().read(key, start, end, etag=etag)
        self._hit -= 1
        if self._hit != -1:
            return data
        turned = bytearray(data)
        bit = self._draw.randrange(8 * len(data))
        turned[bit // 8] ^= 1 << bit % 8
        return bytes(turned)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_bit_that_turns_on_the_way_makes_no_other_row(tmp_path: Path, kind: str) -> None:
    store, manifest = Flipping(), tmp_path / f"m.{kind}"
    if kind == "jsonl":
        write_rows(manifest, 60, label="a")
    else:
        ids = [f"r{n:03}" for n in range(60)]
        pq.write_table(pa.table({"id": ids, "uri": ids, "n": range(60)}), manifest)
    plan, _ = plan_of(store, manifest, slots=4)
    numbers = range(plan.shards)
    reader = PlanReader(store, plan)
    planned = [reader.shard(n).rows for n in numbers]
    reads = sum(name == "read" for name, _ in store.calls)
    found_out = 0
    for seed in range(FLIPS):
        store.order(seed, reads)
        reader = PlanReader(store, plan)
        for n in numbers:
            try:
                assert reader.shard(n).rows == planned[n], seed
            except (CorruptObject, StoreUnavailable):
                found_out += 1
    assert found_out > FLIPS // 2


def test_a_bit_that_turns_on_the_way_makes_no_other_footer() -> None:
    store = Flipping()
    told = footer(0, 0, ok=7, error=1)
    commit(store, 0, pa.table({"row_id": ["a"] * 8}), told)
    found_out = 0
    for seed in range(FLIPS):
        store.order(seed, 2)
        try:
            assert read_footer(store, 0) == told, seed
        except (CorruptObject, StoreUnavailable):
            found_out += 1
    assert found_out == FLIPS
