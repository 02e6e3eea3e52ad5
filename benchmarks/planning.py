"""How fast manifests are planned, and in how much memory: `python -m benchmarks.planning`.

Each figure is of a fresh process that plans a manifest of made-up rows from a local
file: reading, SHA-256 of the file, checks, ids compared, costs, cuts, and the plan
written (with fsync) to a local output place. Rows a second leave out the start of
Python; CPU seconds are those of all threads, and tell a slow program from a busy
machine; peak memory is the process' whole (ru_maxrss), imports included.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.planner import make_plan
from jobs.tasks.base import Cost
from storage.objects import open_store
from storage.records import reserved_names

SMALL, LARGE = 300_000, 3_000_000
_BATCH = 20_000
_WORDS = "a quiet street in the early morning rain with two dogs and one red car".split()  # noqa: SIM905
#: Rows a second from each kind, and the ratio of memory, that are asked for.
_WANTED = {"parquet": 300_000, "jsonl": 100_000}
_WANTED_RATIO = 1.3


def generate(folder: Path, rows: int) -> None:
    """Write the same seeded rows as `<rows>.parquet` and `<rows>.jsonl`, a batch at a time."""
    rng = random.Random(20_260_101)  # noqa: S311 - made-up rows
    writer: pq.ParquetWriter | None = None
    with (folder / f"{rows}.jsonl").open("w") as lines:
        for first in range(0, rows, _BATCH):
            batch = [_row(rng, i) for i in range(first, min(rows, first + _BATCH))]
            table = pa.Table.from_pylist(batch)
            writer = writer or pq.ParquetWriter(folder / f"{rows}.parquet", table.schema)
            writer.write_table(table)
            lines.writelines(json.dumps(row) + "\n" for row in batch)
    if writer is not None:
        writer.close()


def _row(rng: random.Random, number: int) -> dict[str, object]:
    return {
        "id": f"{rng.getrandbits(32):08x}-{number:08d}",
        "uri": f"s3://corpus/audio/{number % 997:03d}/{rng.getrandbits(48):012x}.opus",
        "duration_s": round(rng.lognormvariate(2.5, 0.8), 3),
        "title": " ".join(rng.choices(_WORDS, k=rng.randrange(2, 9))),
        "speaker": f"speaker-{rng.randrange(5000)}",
        "plays": rng.randrange(1_000_000),
    }


def measure(manifest: Path) -> dict[str, float]:
    """Plan the manifest in this process: rows, shards, seconds, CPU, peak bytes."""
    with tempfile.TemporaryDirectory(dir=manifest.parent) as out:
        start, used = time.perf_counter(), time.process_time()
        plan, _ = make_plan(
            open_store(out),
            str(manifest),
            token="benchmark",  # noqa: S106 - the name of a plan
            costs=Cost(request_tokens=180, second_tokens=25.0, default_seconds=60.0),
            slots=0,
            seconds_per_token=9e-5,
            reserved=reserved_names(()),
            limit=None,
            sample=None,
            seed=0,
        )
        seconds, cpu = time.perf_counter() - start, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows, shards = plan.rows, plan.shards
    return {"rows": rows, "shards": shards, "seconds": seconds, "cpu": cpu, "peak": peak}


def _measured(manifest: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.planning", "--measure", str(manifest)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def run(small: int, large: int) -> dict[str, dict[str, float]]:
    """Measure both kinds of manifest at both sizes; prints a line each."""
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="mediamill-benchmark-") as folder:
        for rows in (small, large):
            generate(Path(folder), rows)
        for kind in ("parquet", "jsonl"):
            first, second = (_measured(Path(folder) / f"{n}.{kind}") for n in (small, large))
            figures[kind] = {
                "rows_per_s": second["rows"] / second["seconds"],
                "rows_per_s_small": first["rows"] / first["seconds"],
                "cpu_s": second["cpu"],
                "peak_small_mb": first["peak"] / 1e6,
                "peak_large_mb": second["peak"] / 1e6,
                "peak_ratio": second["peak"] / first["peak"],
                "shards": second["shards"],
            }
            print(_line(kind, small, large, figures[kind]), flush=True)
    return figures


def _line(kind: str, small: int, large: int, f: dict[str, float]) -> str:
    return (
        f"planning {kind:7}: {f['rows_per_s']:9,.0f} rows/s of {large:,} "
        f"(wanted {_WANTED[kind]:,}), {f['rows_per_s_small']:9,.0f} of {small:,}; "
        f"hashing, checks and staging included ({f['cpu_s']:.1f} s of CPU for the larger). "
        f"Peak memory {f['peak_large_mb']:.0f} MB against {f['peak_small_mb']:.0f} MB: "
        f"{f['peak_ratio']:.2f} times (wanted at most {_WANTED_RATIO})"
    )


def main() -> None:
    """Run the benchmark, or (as its own child) one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=Path, help="plan this manifest and print JSON")
    parser.add_argument("--small", type=int, default=SMALL, help="rows of the small manifest")
    parser.add_argument("--large", type=int, default=LARGE, help="rows of the large one")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON at the end")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    figures = run(args.small, args.large)
    if args.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
