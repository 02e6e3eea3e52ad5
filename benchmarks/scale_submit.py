"""Submits of a made-up manifest: seconds on one core, memory, requests to S3. See `scale`."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import boto3.session
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.spec import make_spec
from jobs.submit import submit
from storage.s3_client import Bucket
from tests.services import S3Endpoint

_BATCH = 500_000
_SEED = 20_260_101


def generate(path: Path | BinaryIO, rows: int, *, batch: int = _BATCH) -> None:
    """Write a seeded manifest of `rows` rows with simple ids and columns, `batch` at a time."""
    rng = np.random.default_rng(_SEED)
    with contextlib.ExitStack() as stack:
        writer: Any = None
        for first in range(0, rows, batch):
            table = _rows(rng, first, min(rows, first + batch))
            writer = writer or stack.enter_context(pq.ParquetWriter(path, table.schema))
            writer.write_table(table)


def _rows(rng: np.random.Generator, first: int, end: int) -> pa.Table:
    numbers = pa.array(np.arange(first, end)).cast(pa.string())
    random = pa.array(rng.integers(0, 2**48, end - first)).cast(pa.string())
    speakers = pa.array(rng.integers(0, 5_000, end - first)).cast(pa.string())
    return pa.table(
        {
            "id": pc.binary_join_element_wise("clip", pc.utf8_lpad(numbers, 9, "0"), "-"),
            "uri": pc.binary_join_element_wise("s3://corpus/audio/", random, ".opus", ""),
            "duration_s": np.round(rng.lognormal(2.5, 0.8, end - first), 3),
            "speaker": pc.binary_join_element_wise("speaker", speakers, "-"),
            "plays": rng.integers(0, 1_000_000, end - first),
        }
    )


def measure_submit(manifest: Path, out: str) -> dict[str, Any]:
    """Submit in this process, on one core: rows, shards, seconds, CPU, peak bytes, S3
    requests."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    spec = make_spec({"manifest": str(manifest), "task": "transcribe", "out": out})
    start, used = time.perf_counter(), time.process_time()
    with _counted() as requests:
        plan = submit(spec).job.plan
    return {
        "cpu": time.process_time() - used,
        "rows": plan.rows,
        "shards": plan.shards,
        "files": len(plan.firsts),
        "seconds": time.perf_counter() - start,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "requests": requests,
    }


@contextlib.contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Requests to S3 by operation, while the block runs."""
    requests: Counter[str] = Counter()
    plain = Bucket.ask

    def ask(self: Bucket, operation: str, *args: Any, **more: Any) -> dict[str, Any]:
        requests[operation] += 1
        return plain(self, operation, *args, **more)

    Bucket.ask = ask  # type: ignore[method-assign]
    try:
        yield requests
    finally:
        Bucket.ask = plain  # type: ignore[method-assign]


def submitted(manifest: Path, out: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What `measure_submit` finds in a fresh process, and its seconds `in_all`."""
    command = [sys.executable, "-m", "benchmarks.scale", "--submit", str(manifest), out]
    start = time.perf_counter()
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "in_all": time.perf_counter() - start}


def submit_figures(folder: Path, rows: int, s3: S3Endpoint) -> dict[str, dict[str, Any]]:
    """Submits of `rows` rows to a folder and to S3, and of a tenth of them to a folder."""
    large, small = folder / "rows.parquet", folder / "tenth.parquet"
    generate(large, rows)
    generate(small, max(1, rows // 10))
    bucket = f"scale-{uuid.uuid4().hex[:12]}"
    keys = s3.environment
    with contextlib.closing(
        boto3.session.Session(
            keys["AWS_ACCESS_KEY_ID"],
            keys["AWS_SECRET_ACCESS_KEY"],
            region_name=keys["AWS_DEFAULT_REGION"],
        ).client("s3", endpoint_url=s3.url)
    ) as client:
        client.create_bucket(Bucket=bucket)
    return {
        "tenth": submitted(small, str(folder / "tenth"), {}),
        "local": submitted(large, str(folder / "local"), {}),
        "s3": submitted(large, f"s3://{bucket}/job", keys),
    }
