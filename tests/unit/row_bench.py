"""Rows of a job made into records one by one or together, over the scripted doubles."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, cast

from jobs.checkpoint import Finished
from jobs.plan import PlanReader
from jobs.spec import StoredJob
from storage.records import Record
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import (
    ScriptedDecoders,
    ScriptedEngine,
    ScriptedMedia,
    plan_job,
    services,
)
from workers.request import RowJob
from workers.rows import make_record
from workers.services import Services


class Bench:
    """One job's rows, made one by one or together."""

    def __init__(self, made: Services, store: MemoryStore, job: StoredJob) -> None:
        self.services = made
        self.engine = cast("ScriptedEngine", made.engine)
        self.media = cast("ScriptedMedia", made.media)
        self.decoders = cast("ScriptedDecoders", made.decoders)
        self.rows = PlanReader(store, job.plan).shard(0).rows
        self.finished: list[Finished] = []
        self.stop = False
        self.shared = RowJob(
            services=made,
            job=job,
            task=job.task,
            options=job.task.Options.model_validate(job.options),
            shard=0,
            attempt=2,
            finished=lambda place, done: self.finished.append(done),
            stopping=lambda: self.stop,
        )

    async def make(self, place: int, earlier: Any = (), **overrides: Any) -> Record:
        return await make_record(self.shared, place, self.rows[place], overrides, earlier)

    def make_all(self, earlier: Any = (), **overrides: Any) -> list[Record]:
        async def body() -> list[Record]:
            places = range(len(self.rows))
            return list(await asyncio.gather(*(self.make(p, earlier, **overrides) for p in places)))

        return asyncio.run(body())


class Build(Protocol):
    """Opens a bench over rows: each a URI or several, and `plan_job`'s arguments."""

    def __call__(self, *rows: Any, engine: ScriptedEngine | None = None, **job: Any) -> Bench: ...


@contextmanager
def benches() -> Iterator[Build]:
    """What opens benches; in the end nothing may be held in any of them."""
    with ExitStack() as stack:

        def build(*rows: Any, engine: ScriptedEngine | None = None, **job: Any) -> Bench:
            made = stack.enter_context(services(engine or ScriptedEngine()))
            store = MemoryStore()
            uris = [[row] if isinstance(row, str) else row for row in rows]
            return Bench(made, store, plan_job(store, uris, **job))

        yield build
