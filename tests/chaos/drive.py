"""Jobs under faults, one after the other, until all faults were made; each job is looked at."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from storage.objects import open_store
from tests.chaos.faults import FAULTS
from tests.chaos.fleet import Broker, Fleet, fleet
from tests.chaos.pictures import large, media
from tests.chaos.runs import Report, Runs, new_place
from tests.chaos.scene import Scene
from tests.chaos.seen import Wrong
from tests.chaos.side import SideJob
from tests.services import S3Endpoint

#: How often a fault that found nobody is tried.
_TRIES = 3
#: A fault begins while fewer than so many are under way; one of these, drawn for each.
TOGETHER = (1, 1, 2, 3)
#: Seconds that a small job at the side may take when all else is done.
_SIDE_S = 120.0


def drive(
    folder: Path,
    store: S3Endpoint,
    faults: Iterable[str],
    *,
    seed: int,
    rows: int = 300,
    poison: Sequence[int] = (),
    engine: Literal["scripted", "real"] = "scripted",
    workers: int = 3,
    scale: float = 1 / 30,
    spared: frozenset[int] = frozenset(),
    together: Sequence[int] = TOGETHER,
    watch: Callable[[Fleet, Broker, Report], None] = lambda made, broker, report: None,
) -> Report:
    """Make these faults, in this order, alone or a few at once, on jobs of so many rows.

    Raises Wrong.
    `store` must be the one that this process' environment leads to: it is read past the proxy.
    Rows at `poison` end their worker.
    What the real engine says is not compared: it may say it differently beside other rows.
    A fault begins while fewer are under way than one of `together`, drawn for it.
    Workers with a number in `spared` are not ended by faults; `watch` is called at each look.
    """
    manifest, harmless = media(folder / "media", rows, set(poison), seed)
    report = Report()
    began = time.monotonic()
    with fleet(
        folder, store, seed=seed, engine=engine, count=workers, scale=scale, spared=spared
    ) as (made, broker, proxy):
        runs = Runs(made, broker.url, scale, report, said=engine == "scripted")
        clean = runs.begin(harmless)
        while not runs.ended():
            runs.tend()
        runs.expect(runs.records(clean.spec.out), {f"r{place:05}" for place in poison})
        runs.begin(manifest)
        draw = random.Random(seed)
        sides: list[SideJob] = []
        medium = f"{new_place('media')}/large.png"

        def side(*, local: bool = False, large: bool = False) -> SideJob:
            name = f"side-{len(sides)}"
            out = f"{folder}/local/{name}" if local else new_place(name)
            sides.append(
                SideJob(folder, name, out, broker.url, scale, draw, medium if large else None)
            )
            return sides[-1]

        open_store(medium.rpartition("/")[0]).put("large.png", large(seed))
        scene = Scene(made, broker, proxy, draw, runs.current, side)
        under_way: dict[str, Iterator[None]] = {}
        coming = iter(faults)
        name = next(coming, None)
        width = draw.choice(together)
        while name is not None or under_way:
            if name is not None and len(under_way) < width and not _meddles(name, under_way):
                print(f"{time.monotonic() - began:7.1f} s  {name}", flush=True)
                report.mixed += bool(under_way)
                under_way[name] = _tried(name, scene, report)
                name, width = next(coming, None), draw.choice(together)
                continue
            for each, fault in list(under_way.items()):
                if next(fault, "over") == "over":
                    del under_way[each]
            runs.tend()
            watch(made, broker, report)
        runs.over = True
        while not runs.ended():
            runs.tend()
        for each in sides:
            deadline = time.monotonic() + _SIDE_S
            while not each.done():
                if time.monotonic() > deadline:
                    raise Wrong(f"{each.out} does not end")
                runs.tend()
            each.check()
    report.seconds = time.monotonic() - began
    return report


def _meddles(name: str, others: Collection[str]) -> bool:
    """Whether it is one of these, or ends a row's decoder as another of them does.

    A row whose decoder dies twice has that for its error, as it should.
    """
    return name in others or any(name[:7] == other[:7] == "decoder" for other in others)


def _tried(name: str, scene: Scene, report: Report) -> Iterator[None]:
    for _ in range(_TRIES):
        if (yield from FAULTS[name](scene)):
            report.made[name] += 1
            return
        report.missed[name] += 1
