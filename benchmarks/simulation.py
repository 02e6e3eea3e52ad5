"""A fleet that is simulated: `python -m benchmarks.simulation --workers 200 --rows 300000`.

Real Redis, real storage and the real worker code, from the delivery of a message to the
commit; in place of each engine a clock that answers when E2B on an H100 would have. Many
workers share a process. Everything takes `--slow` times as long as it would: engines, the
protocol's times and, on top of what the local disk takes, `--latency` seconds for each call
to storage, as S3 would. Left out are Celery's own loop (kombu's Redis transport below it is
real), media, and what clocks and networks of many machines do to each other.

Idle is what an engine could have worked and had nothing to do: before its first request,
between requests, and after its last one until the last row of the job (the tail).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import redis

from benchmarks.clock import E2B_ROWS_PER_S, text_job, text_manifest
from benchmarks.fleet import Fleet, Pace
from jobs.cost import seconds_per_token
from jobs.progress import JobView
from jobs.spec import StoredJob, make_spec
from jobs.submit import submit
from jobs.tempo import Tempo
from orchestration.client import Client
from orchestration.look import open_place
from orchestration.settings import load_settings

#: Idle time of the workers, as a share of the time of the job, that is asked for.
WANTED_IDLE = 0.01
#: Real seconds between two looks at whether the job is done, and after which it never will be.
_LOOK_S, _LONGEST_S = 1.0, 7200.0
#: Seconds that a process of the fleet may take to end.
_END_S = 300.0

#: Seconds for which one of a process' threads may run while others want to. With Python's own 5 ms
#: hundreds of threads that wait wake so often to ask that nothing else gets done.
_SWITCH_S = 0.1

#: Allocators keep an arena for each of a process' hundreds of threads: four times the memory.
_FEW_ARENAS = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}

Figures = dict[str, Any]


def serve(out: str, broker: str, pace: Pace, numbers: range, of: int) -> None:
    """Be these workers, `of` so many: begin at a line of standard input, end at another."""
    sys.setswitchinterval(_SWITCH_S)
    fleet = Fleet(broker, open_place(out)[1].model, pace, numbers, of)
    print("ready", flush=True)
    sys.stdin.readline()
    fleet.start()
    sys.stdin.readline()
    fleet.close()
    engines = [member.engine for member in fleet.members]
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "began": [engine.began for engine in engines],
        "start": [engine.idle.start_s for engine in engines],
        "middle": [engine.idle.middle_s for engine in engines],
        "busy_until": [engine.idle.busy_until for engine in engines],
        "requests": sum(engine.idle.requests for engine in engines),
        "calls": fleet.counts.calls,
        "outcomes": fleet.counts.outcomes,
        "commits": fleet.counts.commits,
        "closings": fleet.counts.closings,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * 1024,
    }
    print(json.dumps(figures), flush=True)


def simulate(
    out: Path | str,
    manifest: Path,
    broker: str,
    *,
    workers: int,
    processes: int,
    pace: Pace,
    finer: int = 1,
) -> Figures:
    """Work a job over the manifest with so many workers; what it took, in simulated seconds.

    The plan is cut for `finer` times the slots that there are.
    """
    # A row of this job is taken for 400 tokens, which E2B's clock takes the time of.
    with patch("jobs.submit.seconds_per_token", lambda *_: seconds_per_token(None)):
        job = submit(make_spec(text_job(manifest, out)), slots=finer * workers * pace.slots).job
    server = redis.Redis.from_url(broker, decode_responses=True)
    settings = load_settings(broker_url=broker, time_scale=pace.slow)
    bounds = [workers * n // processes for n in range(processes + 1)]
    parts = [range(*part) for part in pairwise(bounds)]
    with contextlib.closing(server), _crews(job, broker, pace, parts, workers) as crews:
        server.config_resetstat()
        redis_cpu, began = _cpu(server), time.monotonic()
        for crew in crews:
            _say(crew, "go\n")
        Client(settings).feed(job)
        _wait(job, settings.tempo, crews)
        seconds = time.monotonic() - began
        commands = {
            name.removeprefix("cmdstat_"): int(stat["calls"])
            for name, stat in server.info("commandstats").items()
        }
        redis_cpu = _cpu(server) - redis_cpu
        memory = int(server.info("memory")["used_memory_peak"])
        for crew in crews:
            _say(crew, "end\n")
        told = [json.loads(crew.communicate(timeout=_END_S)[0]) for crew in crews]
    return _figures(told, job, pace) | {
        "workers": workers,
        "slow": pace.slow,
        "slots": pace.slots,
        "latency_s": pace.latency_s,
        "real_seconds": seconds,
        "cpus_busy": (sum(t["cpu"] for t in told) + redis_cpu) / seconds,
        "redis_cpu_s": redis_cpu,
        "redis": commands,
        "redis_bytes": memory,
        "process_bytes": [t["peak"] for t in told],
    }


@contextlib.contextmanager
def _crews(
    job: StoredJob, broker: str, pace: Pace, parts: list[range], of: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that each have their part of the workers ready."""
    command = [sys.executable, "-m", "benchmarks.simulation", "--serve"]
    crews: list[subprocess.Popen[str]] = []
    try:
        for part in parts:
            told = {
                "out": job.spec.out,
                "broker": broker,
                "pace": asdict(pace),
                "numbers": [part.start, part.stop],
                "of": of,
            }
            crews.append(
                subprocess.Popen(
                    [*command, json.dumps(told)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | _FEW_ARENAS,
                )
            )
        for crew in crews:
            if crew.stdout is None or crew.stdout.readline() != "ready\n":
                raise RuntimeError("a process of the fleet did not start; what it said is above")
        yield crews
    finally:
        for crew in crews:
            crew.kill()
            crew.communicate()


def _say(crew: subprocess.Popen[str], line: str) -> None:
    if crew.stdin is not None:
        crew.stdin.write(line)
        crew.stdin.flush()


def _wait(job: StoredJob, tempo: Tempo, crews: list[subprocess.Popen[str]]) -> None:
    view = JobView(open_place(job.spec.out)[0], job, tempo)
    deadline = time.monotonic() + _LONGEST_S
    while True:
        view.refresh()
        if view.complete:
            return
        if any(crew.poll() is not None for crew in crews):
            raise RuntimeError("a process of the fleet ended; what it said is above")
        if time.monotonic() > deadline:
            raise TimeoutError(f"the simulation is not done after {_LONGEST_S:.0f} s")
        time.sleep(_LOOK_S)


def _cpu(server: redis.Redis) -> float:
    found: Any = server.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def _figures(told: list[Figures], job: StoredJob, pace: Pace) -> Figures:
    """The processes' figures as one, in simulated seconds."""
    began = min(min(t["began"]) for t in told)
    ends = [busy for t in told for busy in t["busy_until"]]
    end = max(ends)
    whole = len(ends) * (end - began)
    calls, outcomes = Counter[str](), Counter[str]()
    for t in told:
        calls.update(t["calls"])
        outcomes.update(t["outcomes"])
    idle = {
        "start": sum(s for t in told for s in t["start"]) / whole,
        "middle": sum(s for t in told for s in t["middle"]) / whole,
        "tail": sum(end - busy for busy in ends) / whole,
    }
    return {
        "rows": job.plan.rows,
        "shards": job.plan.shards,
        "requests": sum(t["requests"] for t in told),
        "seconds": (end - began) / pace.slow,
        "idle": idle,
        "calls": dict(calls.most_common()),
        "outcomes": dict(outcomes),
        "commit_put_s": _spread([s / pace.slow for t in told for s in t["commits"]]),
        "closing_s": _spread([s / pace.slow for t in told for s in t["closings"]]),
    }


def _spread(values: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    ordered = sorted(values)
    return {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 99)}


def report(found: Figures) -> str:
    """The figures in words, and what they come to for other fleets."""
    idle, rows, shards = found["idle"], found["rows"], found["shards"]
    commands = sum(found["redis"].values())
    lines = [
        f"{rows:,} rows in {shards:,} shards, {found['workers']} workers: "
        f"{found['seconds']:.0f} simulated s ({found['real_seconds']:.0f} real, "
        f"{found['slow']:g} times as long), {rows / found['seconds']:,.0f} rows/s of "
        f"{found['workers'] * E2B_ROWS_PER_S:,.0f} possible; {found['cpus_busy']:.2f} CPUs busy",
        f"  engines idle {sum(idle.values()):.2%} (asked for: under {WANTED_IDLE:.0%}): "
        + ", ".join(f"{name} {share:.2%}" for name, share in idle.items()),
        f"  deliveries: {found['outcomes']}, {found['requests']:,} requests",
        f"  Redis: {commands / rows:.3f} commands a row, {commands / shards:.0f} a shard, "
        f"{found['redis_bytes'] / 1e6:.1f} MB, {found['redis_cpu_s']:.1f} s of CPU: "
        + ", ".join(
            f"{n} {c}" for n, c in sorted(found["redis"].items(), key=lambda item: -item[1])[:14]
        ),
        f"  storage: {sum(found['calls'].values()) / rows:.4f} calls a row, "
        f"{sum(found['calls'].values()) / shards:.1f} a shard: "
        + ", ".join(f"{name} {count / shards:.2f}" for name, count in found["calls"].items()),
        f"  commit's PUT {found['commit_put_s']['p50']:.3f} s (p99 "
        f"{found['commit_put_s']['p99']:.3f}), from last answer to the end of the delivery "
        f"{found['closing_s']['p50']:.3f} s (p99 {found['closing_s']['p99']:.3f})",
        f"  memory of each process: {[round(b / 1e6) for b in found['process_bytes']]} MB",
    ]
    return "\n".join(lines)


def main() -> None:
    """The command, or (as its own child) a part of the workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--slots", type=int, default=4, help="open shards of a worker")
    parser.add_argument("--finer", type=int, default=1, help="cut for so many times those slots")
    parser.add_argument("--processes", type=int, default=4, help="that the workers share")
    parser.add_argument("--slow", type=float, default=10.0, help="times as long as the world")
    parser.add_argument("--latency", type=float, default=0.03, help="s of a call to storage")
    parser.add_argument("--out", help="s3://bucket/prefix or a path; a temporary one by default")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON at the end")
    parser.add_argument("--serve", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        told = given.serve
        pace = Pace(**told["pace"])
        serve(told["out"], told["broker"], pace, range(*told["numbers"]), told["of"])
        return
    from tests import services

    pace = Pace(given.slots, given.slow, given.latency)
    with tempfile.TemporaryDirectory(prefix="mediamill-simulation-") as name:
        folder = Path(name)
        manifest = folder / "rows.jsonl"
        text_manifest(manifest, given.rows)
        with services.redis(folder) as broker:
            found = simulate(
                given.out or folder / "out",
                manifest,
                broker,
                workers=given.workers,
                processes=given.processes,
                pace=pace,
                finer=given.finer,
            )
    print(report(found))
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
