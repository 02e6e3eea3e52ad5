"""One attempt at a shard: its rows to records, checkpointed on the way, until done or stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from jobs.checkpoint import Finished, Progress
from jobs.ledger import Attempt
from jobs.plan import ShardRows
from jobs.spec import StoredJob
from jobs.tasks.base import Task, TaskOptions
from jobs.witness import Verdict, name_suspect
from storage.errors import RowError
from storage.records import Record
from workers.in_hand import Hand
from workers.request import Interrupted, RowJob
from workers.rows import make_record
from workers.services import Services
from workers.tally import Tally
from workers.wanted import Wanted

#: A checkpoint is written early once so many rows wait for one. What waits is lost by a death,
#: and is seconds of an engine; each checkpoint is a write, and another to remove it.
_CHECKPOINT_ROWS = 512
#: Rows that take their steps side by side from the start. Were it all of a shard's, the engine
#: would have its first request only once the last row is ready for it too.
_BEGUN_TOGETHER = 8
#: A checkpoint is begun once this share of the longest pause is over: it has to be written, too,
#: and what finishes meanwhile waits for the next.
_BEGIN = 0.8


@dataclass(slots=True)
class ShardWork:
    """The rows of a shard on their way. `done` is what earlier attempts finished, and grows.

    `redo` are places to redo with their options; None means all rows. `verdict` says which rows
    run alone or not at all, and `hand` is told of each row that is begun.
    """

    services: Services
    job: StoredJob
    task: Task
    options: TaskOptions
    attempt: Attempt
    rows: ShardRows
    done: Progress
    redo: Mapping[int, Mapping[str, Any]] | None
    wanted: Wanted
    verdict: Verdict
    hand: Hand
    started_at: float = field(default_factory=time.time)
    #: The job was paused or cancelled meanwhile.
    halted: bool = False
    _fresh: list[tuple[int, Record | Finished]] = field(default_factory=list)

    @property
    def places(self) -> list[int]:
        """Places in the shard that this attempt is to bring to records, in order."""
        return list(range(len(self.rows.rows))) if self.redo is None else sorted(self.redo)

    @property
    def complete(self) -> bool:
        """Whether each of them has one."""
        return all(place in self.done.records for place in self.places)

    def run(self) -> None:
        """Work until every row has a record, or the worker or the job is to stop.

        Raises what is the shard's fault and not a row's; `save` then keeps what is finished.
        """
        # Not asyncio.run: that ends with a look at every task of every shard in this process.
        with closing(asyncio.new_event_loop()) as loop:
            try:
                loop.run_until_complete(self._work())
            finally:
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
        if not self.complete:
            self.save()

    def save(self) -> None:
        """Checkpoint what is finished and not yet in a checkpoint."""
        if self._fresh:
            work, self._fresh = self._fresh, []
            self.attempt.checkpoint(work)

    def _stopping(self) -> bool:
        return self.halted or self.services.stop.is_set()

    async def _work(self) -> None:
        shared = RowJob(
            services=self.services,
            job=self.job,
            task=self.task,
            options=self.options,
            shard=self.attempt.shard,
            attempt=self.attempt.number,
            finished=lambda place, value: self._fresh.append((place, value)),
            stopping=self._stopping,
        )
        for place, why in self.verdict.condemned.items():
            self._quarantine(shared, place, why)
        apart = set(self.verdict.suspects)
        todo = [p for p in self.places if p not in self.done.records and p not in apart]
        # Long rows first, so that the shard does not end waiting for one of them.
        weights = _weights(self.rows.carried)
        todo.sort(key=lambda place: -weights[place])
        rows: list[asyncio.Task[None]] = []
        heart = asyncio.create_task(self._beat())
        try:
            for place in todo:
                rows.append(asyncio.create_task(self._row(shared, place)))
                if len(rows) % _BEGUN_TOGETHER == 0:
                    await asyncio.sleep(0)
            rows.append(asyncio.create_task(self._alone(shared, tuple(rows))))
            await self._until_done(rows, heart)
        finally:
            for task in (heart, *rows):
                task.cancel()
            await asyncio.gather(heart, *rows, return_exceptions=True)

    async def _row(self, shared: RowJob, place: int) -> None:
        async with self._floor(1):
            await self._make(shared, place)

    async def _alone(self, shared: RowJob, others: tuple[asyncio.Task[None], ...]) -> None:
        """Suspects, one by one: after all others, and with nothing else begun in the worker."""
        if not self.verdict.suspects:
            return
        # How they end is looked at elsewhere; a fault there ends this one too.
        await asyncio.wait(others) if others else None
        for place in self.verdict.suspects:
            async with self._floor(self.services.begun):
                await asyncio.to_thread(name_suspect, self.attempt, place)
                await self._make(shared, place)
                # On record before anything else is begun: the next death is not this row's.
                await self._checkpoint()

    @asynccontextmanager
    async def _floor(self, share: int) -> AsyncIterator[None]:
        await self.services.floor.acquire(share)
        try:
            if self._stopping():
                raise Interrupted
            yield
        finally:
            self.services.floor.release(share)

    async def _make(self, shared: RowJob, place: int) -> None:
        overrides = (self.redo or {}).get(place, {})
        earlier = self.done.requests.get(place, ())
        self.hand.take(place)
        record = await make_record(shared, place, self.rows.rows[place], overrides, earlier)
        # Not when it fails: what ends the worker is told of by the rows it had in hand.
        self.hand.drop(place)
        self.done.records[place] = record
        self._fresh.append((place, record))

    def _quarantine(self, shared: RowJob, place: int, why: str) -> None:
        record = shared.maker.record(self.rows.rows[place], Tally(), RowError("quarantined", why))
        self.services.counters.add_row(failed=True)
        self.done.records[place] = record
        self._fresh.append((place, record))

    async def _until_done(self, rows: list[asyncio.Task[None]], heart: asyncio.Task[None]) -> None:
        # A queue and not asyncio.wait, which looks at every row each time that one ends.
        ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
        for task in (*rows, heart):
            task.add_done_callback(ended.put_nowait)
        for _ in rows:
            task = await ended.get()
            if task is heart:
                task.result()  # raises what ended it; without that it ended on a stop
                await self._drain(rows)
                return
            _raise_fault(task)

    async def _drain(self, rows: list[asyncio.Task[None]]) -> None:
        """Let what is in the engine finish for a while; rows that only wait are interrupted."""
        # What is finished already goes first: whoever asks for an end may not wait for it.
        saving = asyncio.create_task(self._checkpoint())
        await asyncio.wait(rows, timeout=self.services.tempo.drain_s)
        # How that went is not looked at: what it could not write is in `save`'s hands again.
        await asyncio.gather(saving, return_exceptions=True)
        for task in rows:
            if task.done():
                _raise_fault(task)

    async def _beat(self) -> None:
        """Checkpoint often enough to keep the lease, watch control; ends when it is to stop."""
        tempo = self.services.tempo
        # The first at once: `status` and the feeder see attempts by their checkpoints.
        checkpoint_at = time.monotonic()
        while not self._stopping():
            # The stop flag is set by another thread, so it is looked at, not awaited.
            await asyncio.sleep(tempo.look_s)
            now = time.monotonic()
            if now >= checkpoint_at or len(self._fresh) >= _CHECKPOINT_ROWS:
                checkpoint_at = now + _BEGIN * tempo.checkpoint_s
                await self._checkpoint()
            if self.wanted.due():
                await asyncio.to_thread(self.wanted.look)
            self.halted = not self.wanted.goes_on

    async def _checkpoint(self) -> None:
        """Write what is finished, if only that there is nothing; what fails is to be saved yet."""
        work, self._fresh = self._fresh, []
        try:
            await asyncio.to_thread(self.attempt.checkpoint, work)
        except Exception:
            self._fresh[:0] = work
            raise


def _raise_fault(task: asyncio.Task[None]) -> None:
    # Cancelled by nobody here: it waited in a pool that was closed under it.
    if not task.cancelled() and not isinstance(task.exception(), Interrupted):
        task.result()


def _weights(carried: pa.Table) -> list[float]:
    """How long each row is likely to take, by the manifest; equal where it says nothing."""
    for name in ("duration_s", "bytes"):
        index = carried.schema.get_field_index(name)
        if index < 0:
            continue
        kind = carried.schema.field(index).type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return [float(value or 0) for value in carried.column(index).to_pylist()]
    return [0.0] * carried.num_rows
