"""One shard: look, claim, work, checkpoint, commit.

Correctness rests on the commit alone, which is one conditional PUT. Everything else
here keeps work from being done twice or lost, and may fail at any point.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from jobs.control import read_control
from jobs.ledger import MAX_EQUAL_ENDS, Attempt, Finished, Ledger, Progress
from jobs.plan import PlanReader, ShardRows
from jobs.progress import write_marker
from jobs.retries import Retry, generation_of, load_retries, rows_to_redo
from jobs.spec import StoredJob
from storage.dataset import Footer, commit, read_footer, read_shard, replace
from storage.errors import NotFound
from storage.objects import Store
from storage.records import Record, to_table
from workers.asking import Interrupted, RowJob
from workers.outcome import Outcome
from workers.rows import make_record
from workers.services import Services

_log = logging.getLogger(__name__)

#: A checkpoint is written early once so many rows wait for one.
_CHECKPOINT_ROWS = 64


class OpenJob:
    """A job as one worker process holds it: read once, shared by its shards. Thread-safe."""

    def __init__(self, services: Services, store: Store, job: StoredJob) -> None:
        self.services = services
        self.store = store
        self.job = job
        self.task = job.task
        self.options = self.task.Options.model_validate(job.options)
        self.plan = PlanReader(store, job.plan)
        self.ledger = Ledger(store, services.tempo)
        self._retries: list[Retry] = []

    def retries(self) -> list[Retry]:
        """Every retry there is now."""
        self._retries = load_retries(self.store, self._retries)
        return self._retries

    def run_shard(self, shard: int) -> Outcome:
        """Bring the shard to a commit of its generation, unless that is done or under way."""
        retries = self.retries()
        generation = generation_of(shard, retries)
        footer = read_footer(self.store, shard)
        if footer is not None and footer.generation >= generation:
            # A death between commit and marker: counting needs the marker.
            write_marker(self.store, footer)
            return Outcome.ALREADY
        if read_control(self.store).wanted != "run":
            return Outcome.HALTED
        state = self.ledger.look(shard, generation)
        if state.live:
            return Outcome.BUSY
        attempt = self.ledger.claim(shard, generation, state.next, self.services.worker)
        if attempt is None:
            return Outcome.BUSY
        redo = None if footer is None else rows_to_redo(shard, footer.generation, retries)
        work = _Work(self, attempt, retries, redo)
        try:
            outcome = work.run()
        except Exception as error:
            attempt.end(error)
            after = self.ledger.look(shard, generation)
            if after.equal_ends >= MAX_EQUAL_ENDS and after.error is not None:
                self.ledger.give_up(shard, after.error)
                return Outcome.GIVEN_UP
            raise
        if outcome in (Outcome.STOPPED, Outcome.HALTED):
            attempt.end()
        return outcome


@dataclass(slots=True)
class _Work:
    """One attempt under way. `redo` are places to redo with their options; None means all rows."""

    open: OpenJob
    attempt: Attempt
    retries: list[Retry]
    redo: Mapping[int, Mapping[str, Any]] | None
    started_at: float = field(default_factory=time.time)
    fresh: list[tuple[int, Record | Finished]] = field(default_factory=list)
    halted: bool = False

    def run(self) -> Outcome:
        """Work the rows, then commit."""
        rows = self.open.plan.shard(self.attempt.shard)
        earlier = self.open.ledger.progress(self.attempt.shard, self.attempt.generation)
        asyncio.run(self._work(rows, earlier))
        if self.halted:
            return Outcome.HALTED
        if self.open.services.stop.is_set() and len(earlier.records) < len(self._places(rows)):
            return Outcome.STOPPED
        return self._commit(rows, earlier)

    def _places(self, rows: ShardRows) -> list[int]:
        return list(range(len(rows.rows))) if self.redo is None else sorted(self.redo)

    def _stopping(self) -> bool:
        return self.halted or self.open.services.stop.is_set()

    async def _work(self, rows: ShardRows, done: Progress) -> None:
        """Every row to a record in `done.records`, or as many as there is time for."""
        open_job = self.open
        shared = RowJob(
            services=open_job.services,
            job=open_job.job,
            task=open_job.task,
            options=open_job.options,
            shard=self.attempt.shard,
            attempt=self.attempt.number,
            finished=lambda place, value: self.fresh.append((place, value)),
            stopping=self._stopping,
        )
        todo = [place for place in self._places(rows) if place not in done.records]
        # Long rows first, so that the shard does not end waiting for one of them.
        weights = _weights(rows.carried)
        todo.sort(key=lambda place: -weights[place])

        async def work(place: int) -> None:
            overrides = (self.redo or {}).get(place, {})
            earlier = done.requests.get(place, ())
            record = await make_record(shared, place, rows.rows[place], overrides, earlier)
            done.records[place] = record
            self.fresh.append((place, record))

        pending = {asyncio.create_task(work(place)) for place in todo}
        heart = asyncio.create_task(self._beat())
        try:
            while pending:
                finished, pending = await asyncio.wait(
                    {*pending, heart}, return_when=asyncio.FIRST_COMPLETED
                )
                if heart in finished:
                    heart.result()  # raises what ended it; without that it ended on `stopping`
                    pending.discard(heart)
                    await self._drain(pending)
                    return
                pending.discard(heart)
                for task in finished:
                    if not isinstance(task.exception(), Interrupted):
                        task.result()
        finally:
            heart.cancel()
            for task in pending:
                task.cancel()
            await asyncio.gather(heart, *pending, return_exceptions=True)

    async def _drain(self, pending: set[asyncio.Task[None]]) -> None:
        """Let what is in the engine finish for a while; rows that stop raise Interrupted."""
        if pending:
            await asyncio.wait(pending, timeout=self.open.services.tempo.drain_s)
        await self._checkpoint()

    async def _beat(self) -> None:
        """Checkpoint often enough to keep the lease, watch control; ends when it is to stop."""
        tempo = self.open.services.tempo
        checkpoint_at = time.monotonic() + tempo.checkpoint_s
        control_at = time.monotonic() + tempo.control_s
        while not self._stopping():
            # The stop flag is set by another thread, so it is looked at, not awaited.
            await asyncio.sleep(min(0.2, tempo.control_s / 4))
            now = time.monotonic()
            if now >= checkpoint_at or len(self.fresh) >= _CHECKPOINT_ROWS:
                await self._checkpoint()
                checkpoint_at = time.monotonic() + tempo.checkpoint_s
            if now >= control_at:
                control = await asyncio.to_thread(read_control, self.open.store)
                self.halted = control.wanted != "run"
                control_at = time.monotonic() + tempo.control_s

    async def _checkpoint(self) -> None:
        work, self.fresh = self.fresh, []
        await asyncio.to_thread(self.attempt.checkpoint, work)

    def _commit(self, rows: ShardRows, done: Progress) -> Outcome:
        """One conditional PUT; whoever comes second is told, and looks again."""
        places = self._places(rows)
        table = to_table(
            [done.records[place] for place in places],
            self.open.task.columns,
            _taken(rows.carried, places),
        )
        store, shard = self.open.store, self.attempt.shard
        if self.redo is None:
            footer = self._footer(table)
            won = commit(store, shard, table, footer)
        else:
            try:
                old, before, etag = read_shard(store, shard)
            except NotFound:
                raise NotFound(f"{store.uri}: shard {shard} vanished while it was redone") from None
            if before.generation >= self.attempt.generation:
                return Outcome.ALREADY
            table = _patched(old, table, places)
            footer = self._footer(table)
            won = replace(store, shard, table, footer, etag)
        if not won:
            return Outcome.ALREADY
        write_marker(store, footer)
        self.attempt.clean()
        _log.info(
            "shard %d committed",
            shard,
            extra={
                "action": "shard_committed",
                "job": footer.job_id,
                "shard": shard,
                "generation": footer.generation,
                "ok": footer.ok,
                "error": footer.error,
                "seconds": round(footer.finished_at - footer.started_at, 3),
            },
        )
        return Outcome.COMMITTED

    def _footer(self, table: pa.Table) -> Footer:
        status = table.column("status").to_pylist()
        usage = table.column("usage").combine_chunks()
        return Footer(
            job_id=self.open.job.job_id,
            shard=self.attempt.shard,
            generation=self.attempt.generation,
            attempt=self.attempt.number,
            worker=self.open.services.worker,
            ok=status.count("ok"),
            error=status.count("error"),
            quarantined=status.count("quarantined"),
            started_at=self.started_at,
            finished_at=time.time(),
            prompt_tokens=sum(usage.field("prompt_tokens").to_pylist()),
            output_tokens=sum(usage.field("output_tokens").to_pylist()),
        )


def _weights(carried: pa.Table) -> list[float]:
    """How long each row is likely to take, by the manifest; equal where it says nothing."""
    for name in ("duration_s", "bytes"):
        index = carried.schema.get_field_index(name)
        if index >= 0 and pa.types.is_primitive(carried.schema.field(index).type):
            return [float(value or 0) for value in carried.column(index).to_pylist()]
    return [0.0] * carried.num_rows


def _taken(carried: pa.Table, places: list[int]) -> pa.Table:
    """The rows at these places."""
    # `take` of a table without columns forgets how many rows it has; `slice` does not.
    return carried.take(places) if carried.num_columns else carried.slice(0, len(places))


def _patched(old: pa.Table, new: pa.Table, places: list[int]) -> pa.Table:
    """The old table with the rows at `places` taken from the new one; rows keep their place."""
    order = list(range(old.num_rows))
    for index, place in enumerate(places):
        order[place] = old.num_rows + index
    metadata = new.schema.metadata
    both = pa.concat_tables([old.replace_schema_metadata(metadata), new])
    return both.take(order)
