"""Many faults on real processes, by seed: `make chaos`, or `python -m tests.chaos --seeds 1-8`.

Each seed is a fleet of its own, with faults drawn from every kind, alone or a few at once, and
two rows that kill. A
line for each goes to the terminal and, as JSON, to `--results`; exits 1 if one went wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from tests.chaos.drive import TOGETHER, drive
from tests.chaos.faults import FAULTS, ON_THE_REAL_ENGINE, SHARES
from tests.chaos.runs import Report
from tests.services import S3Endpoint, moto

Engine = Literal["scripted", "real"]


def plan(seed: int, count: int, kinds: Sequence[str]) -> list[str]:
    """So many faults in an order of the seed's: each kind once, and then by its share."""
    draw = random.Random(seed)
    order = draw.sample(kinds, len(kinds))
    # What the first round lacks by the shares comes next.
    left = [SHARES[kind] - 1 for kind in kinds]
    while len(order) < count:
        order += draw.sample(kinds, sum(left), counts=left)
        left = [SHARES[kind] for kind in kinds]
    return order[:count]


def run(
    seed: int,
    count: int,
    *,
    rows: int,
    poison: int = 2,
    workers: int = 3,
    engine: Engine = "scripted",
    together: Sequence[int] = TOGETHER,
) -> Report:
    """One seed's faults on a store of its own; `poison` rows of each job kill. Raises Wrong."""
    draw = random.Random(seed)
    kinds = list(FAULTS) if engine == "scripted" else ON_THE_REAL_ENGINE
    with _folder() as folder, moto(folder) as store, environment_of(store):
        return drive(
            folder,
            store,
            plan(seed, count, kinds),
            seed=seed,
            rows=rows,
            poison=sorted(draw.sample(range(rows), poison)) if engine == "scripted" else (),
            engine=engine,
            workers=workers if engine == "scripted" else 2,
            # An engine that two cores share is slow, and not stuck.
            together=together,
            scale=1 / 30 if engine == "scripted" else 1 / 6,
        )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Where a run keeps its files; it stays when the run goes wrong, for the workers' logs."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        yield folder
    except BaseException as error:
        error.add_note(f"the workers' logs are in {folder}")
        raise
    # A worker that was just killed may leave something yet.
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def environment_of(store: S3Endpoint) -> Iterator[None]:
    """Nothing of whoever runs this, but what reaches the store."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AWS_", "MEDIAMILL_")):
            del os.environ[name]
    os.environ.update(store.environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-8", help="first and last")
    parser.add_argument("--faults", type=int, default=250, help="of each seed")
    parser.add_argument("--engine", choices=("scripted", "real"), default="scripted")
    parser.add_argument("--rows", type=int, default=600, help="of each job")
    parser.add_argument("--results", type=Path, help="append a JSON line for each seed here")
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    wrong = 0
    for seed in range(int(first), int(last or first) + 1):
        line: dict[str, object] = {"date": time.strftime("%Y-%m-%d")}
        line |= {"engine": given.engine, "seed": seed}
        try:
            report = run(seed, given.faults, rows=given.rows, engine=given.engine)
        except Exception:
            wrong += 1
            traceback.print_exc()
            line["wrong"] = traceback.format_exc(limit=1)
        else:
            line |= {
                "faults": report.made.total(),
                "missed": report.missed.total(),
                "mixed": report.mixed,
                "jobs": report.jobs,
                "rows": report.rows,
                "quarantined": report.quarantined,
                "submitted_again": report.again,
                "seconds": round(report.seconds),
                "made": dict(sorted(report.made.items())),
            }
        print(json.dumps(line), flush=True)
        if given.results:
            with given.results.open("a") as file:
                file.write(json.dumps(line) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
