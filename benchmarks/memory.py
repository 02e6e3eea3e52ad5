"""How much memory a worker takes for small and large jobs: `python -m benchmarks.memory`.

Each figure is of a fresh worker process: Celery's consumer on a real Redis, the runtime, the
feeder and the runner over a local output place; its engine answers as a clock says. What is
compared is the peak of the process' whole resident memory (ru_maxrss), imports included, and
what is resident at the end. Planning is another process'.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

SMALL, LARGE = 10_000, 100_000
#: The large job's peak as a multiple of the small one's: asked for, and hoped for.
WANTED, HOPED = 1.1, 1.0
_SLOTS = 8
#: As fast as the worker goes: what memory is taken by is rows, not seconds.
_ROWS_PER_S, _LATENCY_S = 20_000.0, 0.05
#: The protocol's times a tenth as long, so that a job has many rounds of feeding and beats.
_SCALE = 0.1


def serve(out: str, broker: str) -> dict[str, float]:
    """Be the worker of the job at `out` until it is done; then say what that took."""
    from benchmarks.clock import Clock, ClockEngine, clock_services
    from jobs.progress import JobView
    from jobs.tempo import Tempo
    from orchestration.app import make_app
    from orchestration.board import RedisBoard
    from orchestration.consumer import Consumer
    from orchestration.look import open_place
    from orchestration.runtime import Runtime
    from storage.media import MediaSource

    tempo = Tempo(_SCALE)
    store, job = open_place(out)
    clock = Clock()
    engine = ClockEngine(job.model.key, clock, rows_per_s=_ROWS_PER_S, latency_s=_LATENCY_S)
    in_hand = Path(f"{out}-in-hand")
    in_hand.mkdir()
    services = clock_services(engine, "measured", tempo, MediaSource(local_roots=None), in_hand)
    app, board = make_app(broker, tempo), RedisBoard(broker)

    def dead(error: BaseException) -> None:
        raise error

    runtime = app.runtime = Runtime(app, board, services, job.model, tempo, slots=_SLOTS, dead=dead)
    consumer = Consumer(app, runtime.queues, _SLOTS, "mediamill@measured")
    view = JobView(store, job, tempo)
    began = time.monotonic()
    runtime.beat()
    runtime.feed()
    thread = consumer.start()
    pause = threading.Event()
    settled = 0.0
    while not view.complete:
        pause.wait(tempo.feed_s)
        runtime.beat()
        runtime.feed()
        view.refresh()
        settled = settled or (_resident() if services.counters.rows * 10 > job.plan.rows else 0.0)
    seconds = time.monotonic() - began
    consumer.stop()
    thread.join(tempo.exit_s)
    services.close()
    clock.close()
    return {
        "rows": services.counters.rows,
        "seconds": seconds,
        "early": settled,
        "end": _resident(),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
    }


def _resident() -> float:
    """Bytes of this process that are resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def measure(rows: int, folder: Path, broker: str) -> dict[str, float]:
    """A worker's figures over a job of so many rows, each process a fresh one."""
    from benchmarks.clock import text_job, text_manifest

    manifest, out = folder / f"{rows}.jsonl", folder / f"out-{rows}"
    text_manifest(manifest, rows)
    _fresh("--submit", json.dumps(text_job(manifest, out)), broker)
    figures: dict[str, float] = json.loads(_fresh("--serve", str(out), broker))
    return figures


def _submit(fields: dict[str, Any], broker: str) -> None:
    from jobs.spec import make_spec
    from orchestration.client import Client
    from orchestration.settings import load_settings

    Client(load_settings(broker_url=broker, time_scale=_SCALE)).submit(make_spec(fields))


def _fresh(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def run(small: int, large: int) -> dict[str, Any]:
    """Measure both sizes; prints a line each and the ratio."""
    from tests.services import redis

    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mediamill-benchmark-") as name:
        folder = Path(name)
        with redis(folder) as broker:
            for size, rows in (("small", small), ("large", large)):
                found = figures[size] = measure(rows, folder, broker)
                print(
                    f"  {rows:,} rows in {found['seconds']:.0f} s: peak {found['peak'] / 1e6:.1f} "
                    f"MB, {found['end'] / 1e6:.1f} MB at the end",
                    flush=True,
                )
    figures["peak_ratio"] = figures["large"]["peak"] / figures["small"]["peak"]
    figures["end_ratio"] = figures["large"]["end"] / figures["small"]["end"]
    print(
        f"worker's memory: peak {figures['peak_ratio']:.3f} times, at the end "
        f"{figures['end_ratio']:.3f} times (asked for: at most {WANTED}, hoped for {HOPED})"
    )
    return figures


def main() -> None:
    """The command, or (as its own child) one part of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=SMALL, help="rows of the small job")
    parser.add_argument("--large", type=int, default=LARGE, help="rows of the large one")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON at the end")
    parser.add_argument("--submit", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.submit:
        fields, broker = given.submit
        _submit(json.loads(fields), broker)
    elif given.serve:
        print(json.dumps(serve(*given.serve)))
    else:
        figures = run(given.small, given.large)
        if given.json:
            print(json.dumps(figures))


if __name__ == "__main__":
    main()
