"""The simulated fleet at its smallest: real Redis, real storage, and every row once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.clock import text_manifest
from benchmarks.fleet import Pace
from benchmarks.simulation import report, simulate
from storage.dataset import read_tables
from storage.objects import open_store

ROWS, WORKERS, SLOTS = 400, 4, 2


@pytest.mark.full
def test_a_fleet_brings_every_row_to_one_record(tmp_path: Path, redis_url: str) -> None:
    manifest = tmp_path / "rows.jsonl"
    text_manifest(manifest, ROWS)
    # Five times as fast as the world: a lease is 12 s, whatever else this machine does.
    pace = Pace(SLOTS, slow=0.2, latency_s=0.0)
    found = simulate(tmp_path / "out", manifest, redis_url, workers=WORKERS, processes=2, pace=pace)
    tables = list(read_tables(open_store(str(tmp_path / "out"))))
    ids = [row_id for table in tables for row_id in table.column("row_id").to_pylist()]
    assert ids == [f"row-{n:09d}" for n in range(ROWS)]
    assert {s for table in tables for s in table.column("status").to_pylist()} == {"ok"}
    lineage = [entry for table in tables for entry in table.column("lineage").to_pylist()]
    assert {entry["engine"] for entry in lineage} == {"clock 1"}
    assert len({entry["worker"] for entry in lineage}) > 1
    # What is told of it is of all of it.
    assert found["shards"] == len(tables) == found["outcomes"]["committed"]
    assert found["requests"] >= ROWS
    assert found["calls"]["PUT data"] >= len(tables)
    assert found["redis"]["brpop"] > 0
    assert set(found["idle"]) == {"start", "middle", "tail"}
    assert f"{ROWS} rows in {len(tables)} shards, {WORKERS} workers" in report(found)
