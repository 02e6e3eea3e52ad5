"""One shard: look, claim, work, commit.

Correctness rests on the commit alone, which is one conditional PUT. Everything else
here keeps work from being done twice or lost, and may fail at any point.
"""

from __future__ import annotations

import logging
import threading
import time

import pyarrow as pa

from jobs.control import read_control
from jobs.ledger import MAX_EQUAL_ENDS, Attempt, Ledger, Progress
from jobs.plan import PlanReader, ShardRows
from jobs.progress import write_marker
from jobs.retries import Retry, generation_of, load_retries, rows_to_redo
from jobs.spec import StoredJob, load_job
from storage.dataset import Footer, commit, read_footer, read_shard, replace
from storage.errors import Forbidden, NoSuchJob, NotFound, StoreUnavailable
from storage.objects import Store
from storage.records import count_warnings, to_table
from workers.outcome import Outcome
from workers.services import Services
from workers.shard_work import ShardWork

_log = logging.getLogger(__name__)


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
        self._open: set[int] = set()
        self._lock = threading.Lock()

    def retries(self) -> list[Retry]:
        """Every retry there is now."""
        self._retries = load_retries(self.store, self._retries)
        return self._retries

    def run_shard(self, shard: int) -> Outcome:
        """Bring the shard to a commit of its generation, unless that is done or under way."""
        # A lease may run out while the store is away, and its holder still be here.
        with self._lock:
            if shard in self._open:
                return Outcome.BUSY
            self._open.add(shard)
        try:
            return self._run_shard(shard)
        finally:
            with self._lock:
                self._open.discard(shard)

    def _run_shard(self, shard: int) -> Outcome:
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
        if state.equal_ends >= MAX_EQUAL_ENDS and self.ledger.is_given_up(shard):
            return Outcome.GIVEN_UP
        attempt = self.ledger.claim(shard, generation, state.next, self.services.worker)
        if attempt is None:
            return Outcome.BUSY
        try:
            rows = self.plan.shard(shard)
            work = ShardWork(
                self.services,
                self.job,
                self.task,
                self.options,
                attempt,
                rows,
                _ours(self.ledger.progress(shard, generation), self.job, rows),
                None if footer is None else rows_to_redo(shard, footer.generation, retries),
            )
            return self._finish(work)
        except Exception as error:
            attempt.end(error)
            after = self.ledger.look(shard, generation)
            if after.equal_ends >= MAX_EQUAL_ENDS and after.error is not None:
                self.ledger.give_up(shard, after.error)
                return Outcome.GIVEN_UP
            raise

    def _finish(self, work: ShardWork) -> Outcome:
        try:
            work.run()
        except StoreUnavailable:
            raise
        except Exception:
            # What is finished need not be asked again, whatever ended the rest.
            work.save()
            raise
        if work.complete:
            return self._commit(work)
        work.attempt.end()
        return Outcome.HALTED if work.halted else Outcome.STOPPED

    def _commit(self, work: ShardWork) -> Outcome:
        """One conditional PUT; whoever comes second is told, reads again, and decides again."""
        store, shard, attempt = self.store, work.attempt.shard, work.attempt
        if not self._lies_there():
            return Outcome.REPLACED
        places = work.places
        table = to_table(
            [work.done.records[place] for place in places],
            self.task.columns,
            _taken(work.rows.carried, places),
        )
        footer = self._footer(work, table)
        while True:
            if work.redo is None:
                if commit(store, shard, table, footer):
                    break
                there = read_footer(store, shard)
            else:
                try:
                    old, there, etag = read_shard(store, shard)
                except NotFound as error:
                    raise NotFound(f"{error}; it vanished while rows were redone") from None
                if there.generation < attempt.generation:
                    patched = _patched(old, table, places)
                    footer = self._footer(work, patched)
                    if replace(store, shard, patched, footer, etag):
                        break
                    continue
            if there is not None:
                # Ours, if an outage swallowed the answer to our own write.
                ours = (there.generation, there.attempt, there.worker) == (
                    attempt.generation,
                    attempt.number,
                    self.services.worker,
                )
                self._mark(there, attempt)
                return Outcome.COMMITTED if ours else Outcome.ALREADY
        self._mark(footer, attempt)
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

    def _lies_there(self) -> bool:
        """Whether the place still holds this job: it may be emptied, and used again, meanwhile.

        Between this look and the commit that can still happen, but no longer during the work.
        """
        try:
            there = load_job(self.store)
        except NoSuchJob:
            return False
        # By its plan too: the same job, submitted anew, may be cut into other shards.
        return (there.job_id, there.plan.token) == (self.job.job_id, self.job.plan.token)

    def _mark(self, footer: Footer, attempt: Attempt) -> None:
        """The marker of a commit; and the end of the checkpoints, which nobody needs now."""
        write_marker(self.store, footer)
        try:
            attempt.clean()
        except (StoreUnavailable, Forbidden) as error:
            _log.warning(
                "checkpoints of shard %d stay: %s",
                footer.shard,
                error,
                extra={"action": "not_cleaned", "job": footer.job_id, "shard": footer.shard},
            )

    def _footer(self, work: ShardWork, table: pa.Table) -> Footer:
        status = table.column("status").to_pylist()
        usage = table.column("usage").combine_chunks()
        return Footer(
            job_id=self.job.job_id,
            shard=work.attempt.shard,
            generation=work.attempt.generation,
            attempt=work.attempt.number,
            worker=self.services.worker,
            ok=status.count("ok"),
            error=status.count("error"),
            quarantined=status.count("quarantined"),
            started_at=work.started_at,
            finished_at=time.time(),
            prompt_tokens=sum(usage.field("prompt_tokens").to_pylist()),
            output_tokens=sum(usage.field("output_tokens").to_pylist()),
            warnings=count_warnings(table.column("warnings").to_pylist()),
        )


def _ours(progress: Progress, job: StoredJob, rows: ShardRows) -> Progress:
    """What earlier attempts finished, without what an attempt at another job left here.

    Requests of rows need no look: they are taken by the digests of medium and prompt.
    """
    progress.records = {
        place: record
        for place, record in progress.records.items()
        if record.lineage["job_id"] == job.job_id
        and place < len(rows.rows)
        and record.row_id == rows.rows[place].id
    }
    return progress


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
    # What was written by an older version lacks columns that came since.
    both = pa.concat_tables([old.replace_schema_metadata(metadata), new], promote_options="default")
    return both.select(new.column_names).take(order)
