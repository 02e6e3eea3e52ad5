"""What the figures of `benchmarks.scale` mean, on a job of seconds; never how good they are."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.scale_status import make_progress, status_figures
from benchmarks.scale_submit import generate, submitted
from jobs.spec import load_job
from storage.objects import open_store

ROWS, SHARDS, LIVE = 20_000, 90, 5


def test_a_submit_is_the_whole_of_it(tmp_path: Path) -> None:
    manifest, out = tmp_path / "rows.parquet", tmp_path / "out"
    generate(manifest, ROWS)
    ids = pq.read_table(manifest).column("id")
    assert (len(ids), pc.count_distinct(ids).as_py()) == (ROWS, ROWS)
    found = submitted(manifest, str(out), {})
    job = load_job(open_store(str(out)))
    assert (found["rows"], job.plan.rows) == (ROWS, ROWS)
    assert (found["shards"], found["files"]) == (job.plan.shards, len(job.plan.firsts))
    staged = sorted((out / "_job/plan" / job.plan.token).iterdir())
    assert sum(pq.read_metadata(path).num_rows for path in staged) == ROWS
    assert 0 < found["seconds"] < found["in_all"], "Python's start is in the whole alone"
    assert found["cpu"] > 0
    assert found["peak"] > 50e6, "bytes"
    assert found["requests"] == {}, "a local folder takes none of S3"


def test_status_sees_what_was_made_for_it(tmp_path: Path) -> None:
    manifest, out = tmp_path / "rows.parquet", tmp_path / "out"
    generate(manifest, 100)
    submitted(manifest, str(out), {})
    make_progress(out, SHARDS, LIVE)
    found = status_figures(out)
    status = found["status"]
    assert status["state"] == "running"
    done = SHARDS - LIVE
    assert status["shards"] == {"total": SHARDS, "done": done, "live": LIVE, "due": LIVE}
    assert status["rows"]["total"] == SHARDS * 100
    assert (status["rows"]["ok"], status["rows"]["error"]) == (done * 97, done * 2)
    assert status["warnings"] == {"repetition": done * 3}
    assert status["workers_alive"] is None, "without Redis"
    assert len(list((out / "data").iterdir())) == done
    assert found["storage_s"] > 0
    assert found["cpu_s"] > 0


def test_a_manifest_of_more_batches_is_one_file(tmp_path: Path) -> None:
    sink = io.BytesIO()
    generate(sink, 25, batch=10)
    ids = pq.read_table(sink).column("id").to_pylist()
    assert ids == [f"clip-{n:09d}" for n in range(25)]
