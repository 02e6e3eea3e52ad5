"""Whether a worker stays as it is under faults: `make soak`, or `python -m tests.chaos.soak`.

Three workers take one job after the other while every kind of fault is made. The first is never
ended: its memory, files, processes and log are looked at every few seconds, and Redis' keys too.
The last part of the time may not have more of any of them than the part before it; how much
was logged is told by row. Writes a JSON line for each look, and a plot; exits 1 if one grows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import redis.exceptions

from tests.chaos.__main__ import environment_of, plan
from tests.chaos.drive import drive
from tests.chaos.faults import FAULTS
from tests.chaos.fleet import Broker, Fleet
from tests.chaos.runs import Report
from tests.services import moto

#: Seconds between two looks.
_LOOK_S = 5.0
#: Number of the worker that is looked at.
_STEADY = 0
#: How much more of each the last third of the time may have, by its median, than the middle one:
#: as a factor, and beyond that in units of its own.
ALLOWED = {
    "memory_mib": (1.10, 0.0),
    "files": (1.0, 4.0),
    "threads": (1.0, 4.0),
    "processes": (1.0, 1.0),
    "redis_keys": (1.0, 8.0),
    "redis_mib": (1.10, 0.5),
    "log_bytes_per_s": (1.5, 500.0),
}

Sample = dict[str, float]


class Watch:
    """Takes a sample every few seconds. `restarts` counts processes of the steady worker."""

    def __init__(self, folder: Path, results: Path) -> None:
        self.samples: list[Sample] = []
        self._log = folder / f"worker-{_STEADY}.log"
        self._results = results
        self._began = time.monotonic()
        self._next = 0.0
        self._pids: set[int] = set()
        results.unlink(missing_ok=True)

    @property
    def restarts(self) -> int:
        """How often the process that serves was another than before."""
        return len(self._pids) - 1

    def look(self, fleet: Fleet, broker: Broker, report: Report) -> None:
        """Take a sample if it is time."""
        now = time.monotonic() - self._began
        if now < self._next:
            return
        self._next = now + _LOOK_S
        steady = fleet.processes[_STEADY]
        if steady is None:
            return
        try:
            keys, used = broker.holds()
            sample = self._of(psutil.Process(steady.pid))
        except (psutil.NoSuchProcess, redis.exceptions.RedisError, IndexError):
            return  # on the way up, or Redis is: the next look will do
        last = self.samples[-1] if self.samples else None
        log = self._log.stat().st_size
        grown = (log - last["log_bytes"]) / (now - last["seconds"]) if last else 0.0
        sample |= {
            "seconds": now,
            "redis_keys": keys,
            "redis_mib": used / 2**20,
            "log_bytes": log,
            "log_bytes_per_s": grown,
            "rows": report.rows,
            "faults": report.made.total(),
        }
        self.samples.append(sample)
        with self._results.open("a") as file:
            file.write(json.dumps({name: round(value, 2) for name, value in sample.items()}) + "\n")

    def _of(self, parent: psutil.Process) -> Sample:
        child = parent.children()[0]
        self._pids.add(child.pid)
        with child.oneshot():
            return {
                "memory_mib": child.memory_info().rss / 2**20,
                "files": child.num_fds(),
                "threads": child.num_threads(),
                "processes": len(parent.children(recursive=True)),
            }


def grown(samples: list[Sample]) -> dict[str, tuple[float, float, bool]]:
    """Of each: the median of the middle third and of the last, and whether that is too much."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    found = {}
    for name, (factor, beyond) in ALLOWED.items():
        before = statistics.median(sample[name] for sample in middle)
        after = statistics.median(sample[name] for sample in last)
        found[name] = before, after, after > factor * before + beyond
    return found


def plot(samples: list[Sample]) -> str:
    """Each of what is looked at over time, one line above the other, as SVG."""
    width, height, gap = 560, 48, 18
    parts = []
    for row, name in enumerate(ALLOWED):
        top = gap + row * (height + gap)
        most = max(sample[name] for sample in samples) or 1.0
        end = samples[-1]["seconds"]
        points = " ".join(
            f"{150 + width * sample['seconds'] / end:.1f},"
            f"{top + height * (1 - sample[name] / most):.1f}"
            for sample in samples
        )
        parts.append(
            f'<text x="10" y="{top + height / 2}">{name}</text>'
            f'<text x="{160 + width}" y="{top + 12}">{most:.0f}</text>'
            f'<text x="{160 + width}" y="{top + height}">0</text>'
            f'<polyline points="{points}" fill="none" stroke="#369" stroke-width="1.5"/>'
        )
    tall = gap + len(ALLOWED) * (height + gap)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 220}" height="{tall}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def _faults(seed: int, until: float) -> Iterator[str]:
    """Every kind by its share, again and again until the time is up."""
    for round_ in itertools.count():
        for name in plan(seed + 1000 * round_, 150, list(FAULTS)):
            if time.monotonic() > until:
                return
            yield name


def soak(minutes: float, seed: int, results: Path) -> tuple[Report, Watch]:
    """One soak on a store of its own. Raises Wrong if a record is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with moto(folder) as store, environment_of(store):
            watch = Watch(folder, results)
            report = drive(
                folder,
                store,
                _faults(seed, time.monotonic() + 60 * minutes),
                seed=seed,
                rows=300,
                poison=(),
                spared=frozenset({_STEADY}),
                watch=watch.look,
            )
            if watch.restarts:  # why, is in its log, which goes with the folder
                shutil.copyfile(folder / f"worker-{_STEADY}.log", results.with_suffix(".log"))
            return report, watch


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--results", type=Path, default=Path("tests/chaos/soak.jsonl"))
    given = parser.parse_args()
    report, watch = soak(given.minutes, given.seed, given.results)
    given.results.with_suffix(".svg").write_text(plot(watch.samples))
    print(
        f"seed {given.seed}: {report.made.total()} faults, {report.jobs} jobs, "
        f"{report.rows:,} rows, {len(watch.samples)} looks; "
        f"the steady worker began anew {watch.restarts} times"
    )
    wrong = watch.restarts > 0
    for what, (before, after, too_much) in grown(watch.samples).items():
        print(f"{what:16} {before:10.1f} {after:10.1f}  {'GROWS' if too_much else 'flat'}")
        wrong |= too_much
    log = watch.samples[-1]["log_bytes"]
    print(f"log: {log / max(1, report.rows):.0f} bytes a row of all workers' jobs")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
