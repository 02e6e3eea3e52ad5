"""A job of ten million rows: what submit, Redis and status cost. `python -m benchmarks.scale`.

* **submit**, in a fresh process held to one core: the whole of it (proof of the store, manifest
  read and hashed, ids compared, plan written, spec), once to a local folder and once to an
  S3 server of this machine, whose requests are counted. "In all" includes Python's start.
  Memory is the process' peak, imports included, beside that of a tenth of the rows.
* **Redis**: what a job holds there at its fullest, by `used_memory` of a real server before
  and after: `slots` shards in workers' hands and not acknowledged, and the window filled
  behind them.
* **status**: the whole command over a local folder with a data file and a marker for each
  shard but the last ones, which are being worked; and the part that reads storage.

Seconds of CPU stand beside others, and tell a slow program from a busy machine. Every figure
stands beside the one that is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from benchmarks.scale_redis import redis_figures
from benchmarks.scale_status import make_progress, status_figures
from benchmarks.scale_submit import measure_submit, submit_figures
from jobs.spec import load_job
from storage.objects import open_store
from tests.radosgw import radosgw
from tests.services import moto, short_folder
from tests.services import redis as redis_server

ROWS, SHARDS = 10_000_000, 100_000
#: Open slots at which Redis is looked at; what is asked changes at `_FEW_SLOTS`.
SLOTS = (16, 100, 500, 1_000, 2_000)
_FEW_SLOTS = 500
#: Shards that are being worked while `status` looks.
_LIVE = 500

#: What is asked.
_ROWS_PER_S, _SUBMIT_S, _STATUS_S = 500_000, 60.0, 5.0
_JOB_BYTES, _SLOT_BYTES = 1_000_000, 2_000


def run(rows: int, shards: int, *, ceph: bool = False) -> dict[str, Any]:
    """Measure all, and print a line for each figure; S3 is moto's server, or Ceph's."""
    with short_folder() as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(radosgw(folder) if ceph else moto(folder))
        submits = submit_figures(folder, rows, server)
        print(_submit_lines(**submits), flush=True)
        job = load_job(open_store(str(folder / "local")))
        url = stack.enter_context(redis_server(folder))
        held = {}
        for slots in SLOTS:
            held[slots] = redis_figures(url, job, slots)
            print(_redis_line(slots, held[slots]), flush=True)
        live = min(_LIVE, shards // 2)
        make_progress(folder / "tenth", shards, live)
        status = status_figures(folder / "tenth")
        print(
            f"status: {status['command_s']:.2f} s for {shards:,} shards, {live} of them live "
            f"(asked {_STATUS_S:.0f}), {status['cpu_s']:.2f} s of CPU; reading storage alone took "
            f"{status['storage_s']:.2f} s",
            flush=True,
        )
    return {"submit": submits, "redis": held, "status": status}


def _submit_lines(local: dict[str, Any], tenth: dict[str, Any], s3: dict[str, Any]) -> str:
    return (
        f"submit, local: {local['rows'] / local['seconds']:,.0f} rows/s of {local['rows']:,} on "
        f"one core (asked {_ROWS_PER_S:,}), {local['rows'] / local['cpu']:,.0f} a second of its "
        f"CPU; {local['in_all']:.1f} s in all (asked {_SUBMIT_S:.0f}); "
        f"peak {local['peak'] / 1e6:.0f} MB, "
        f"{local['peak'] / tenth['peak']:.2f} times that of {tenth['rows']:,} rows; "
        f"{local['shards']:,} shards in {local['files']} files\n"
        f"submit, S3: {s3['requests']['put_object']} PUTs of "
        f"{sum(s3['requests'].values())} requests; {s3['in_all']:.1f} s in all; "
        f"peak {s3['peak'] / 1e6:.0f} MB"
    )


def _redis_line(slots: int, found: dict[str, int]) -> str:
    asked = _JOB_BYTES + max(0, slots - _FEW_SLOTS) * _SLOT_BYTES
    return (
        f"redis, {slots:,} slots: {found['bytes']:,} bytes (asked {asked:,}), "
        f"{found['keys']:,} of them in keys, for {found['waiting']:,} shards waiting and "
        f"{found['held']:,} in hand; a message has {found['message']}"
    )


def main() -> None:
    """Run the benchmark, or (as its own child) one submit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the manifest")
    parser.add_argument("--shards", type=int, default=SHARDS, help="shards that status counts")
    parser.add_argument("--ceph", action="store_true", help="S3 is Ceph's gateway, and not moto")
    parser.add_argument("--submit", nargs=2, metavar=("MANIFEST", "OUT"), help="print JSON")
    args = parser.parse_args()
    if args.submit:
        print(json.dumps(measure_submit(Path(args.submit[0]), args.submit[1])))
        return
    run(args.rows, args.shards, ceph=args.ceph)


if __name__ == "__main__":
    main()
