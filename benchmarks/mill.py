"""mediamill as its users run it: manifest to committed Parquet, real Redis, real worker command.

    python -m benchmarks.mill SPEC.json

SPEC is that of `benchmarks.raw`, with `task`, `options` of the task, and `worker`: further
flags of the worker command. A JSON line for each repeat is printed. The clock runs from
before the manifest is read until the last shard is committed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers import read_rows, tail
from benchmarks.ratios import SAME_WORK
from benchmarks.watch import Watch, wait_until
from tests.services import ending, redis


@contextlib.contextmanager
def worker(url: str, spec: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """The worker command on that Redis."""
    flags = [f"--engine-option={key}={json.dumps(v)}" for key, v in spec["arguments"].items()]
    process = subprocess.Popen(
        [
            sys.executable, "-c", "from orchestration.cli import main; main()", "worker",
            "--model", spec["model"], "--broker-url", url,
            "--local-roots", str(Path(spec["manifest"]).parent), *flags, *spec["worker"],
        ],
        env=os.environ | {"MEDIAMILL_LOG_LEVEL": "INFO"},
    )  # fmt: skip
    with ending(process, 60):
        yield process


def main(spec: dict[str, Any]) -> None:
    """Start, warm up, measure, print."""
    from orchestration.client import Client
    from orchestration.settings import load_settings

    with tempfile.TemporaryDirectory() as out, redis(Path(out)) as url:
        client = Client(load_settings(broker_url=url))
        begun = time.perf_counter()
        with worker(url, spec) as process:

            def alive(_: object = None) -> None:
                if process.poll() is not None:
                    raise SystemExit(f"the worker ended with {process.returncode}")

            def serves() -> bool:
                alive()
                return bool(client.board.workers())

            wait_until(serves, "the worker's start", 540)
            started = time.perf_counter() - begun
            _measure(client, spec, out, "warm", spec.get("warm", 64), alive)
            for number in range(spec["repeats"]):
                figures = _measure(client, spec, out, f"r{number}", None, alive)
                print(json.dumps(figures | {"start_s": started}), flush=True)


def _measure(
    client: Any,
    spec: dict[str, Any],
    out: str,
    name: str,
    limit: int | None,
    alive: Callable[[object], None],
) -> dict[str, Any]:
    import pyarrow.dataset as ds

    from jobs.spec import make_spec

    place = str(Path(out) / name)
    job = {
        "manifest": spec["manifest"],
        "model": spec["model"],
        "task": spec["task"],
        "out": place,
        "limit": limit,
        "options": spec["options"],
        "from_columns": ["max_tokens"],
    }
    with Watch() as watch:
        start = time.time()
        client.submit(make_spec(job))
        look = client.wait(place, alive)
        seconds = (look.status.finished_at or time.time()) - start
    table = ds.dataset(f"{place}/data").to_table(columns=["status", "usage", "lineage", "error"])
    # Random weights say nothing that is a caption; what it took is counted all the same.
    kinds = {error["kind"] for error in table.column("error").to_pylist() if error}
    if kinds - {"unparsable"}:
        raise SystemExit(f"rows failed: {sorted(kinds)}")
    rows = table.num_rows
    usage = table.column("usage").combine_chunks()
    _check(spec, limit, sum(usage.field("output_tokens").to_pylist()))
    ends = [at["finished_at"].timestamp() for at in table.column("lineage").to_pylist()]
    return {
        "rows": rows,
        "seconds": seconds,
        "prompt_tokens": sum(usage.field("prompt_tokens").to_pylist()),
        "output_tokens": sum(usage.field("output_tokens").to_pylist()),
        "tail": tail(ends, seconds),
    } | watch.figures(rows)


def _check(spec: dict[str, Any], limit: int | None, tokens: int) -> None:
    """Raises SystemExit where answers that have no end of their own are not as long as asked."""
    if spec["arguments"].get("load_format") != "dummy":
        return
    asked = sum(row["max_tokens"] for row in read_rows(spec)[:limit])
    # A pause in a recording makes two requests of it, each with an answer of the row's length.
    if not asked <= tokens <= SAME_WORK * asked:
        raise SystemExit(f"{tokens} tokens were answered and {asked} asked for: other work")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
