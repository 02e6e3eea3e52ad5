"""One shard: look, claim, work, commit.

Correctness rests on the commit alone, which is one conditional PUT. Everything else
here keeps work from being done twice or lost, and may fail at any point.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pyarrow as pa

from jobs.checkpoint import Progress
from jobs.ledger import MAX_EQUAL_ENDS, Attempt, Ledger
from jobs.plan import PlanReader, ShardRows
from jobs.progress import write_marker
from jobs.retries import Retry, generation_of, load_retries, rows_to_redo
from jobs.spec import StoredJob, check_options, load_job
from jobs.witness import judge
from storage.dataset import Footer, commit, read_footer, read_shard, replace
from storage.errors import EngineDead, Forbidden, NoSuchJob, NotFound, StoreUnavailable
from storage.objects import Store
from storage.records import count_warnings, to_table
from workers.in_hand import Hand
from workers.outcome import Outcome
from workers.services import Services
from workers.shard_work import ShardWork
from workers.wanted import Wanted

_log = logging.getLogger(__name__)


class OpenJob:
    """A job as one worker process holds it: read once, shared by its shards. Thread-safe."""

    def __init__(self, services: Services, store: Store, job: StoredJob) -> None:
        self.services = services
        self.store = store
        self.job = job
        self.task = job.task
        # By this release's rules, which may be older than the job.
        self.options = check_options(self.task, job.options, job.spec.from_columns)
        self.plan = PlanReader(store, job.plan)
        self.ledger = Ledger(store, services.tempo)
        self.wanted = Wanted(store, services.tempo.control_s)
        self._retries: list[Retry] = []
        self._open: set[int] = set()
        self._lock = threading.Lock()

    @property
    def known_retries(self) -> list[Retry]:
        """Every retry there was when a shard was last begun."""
        return self._retries

    def retries(self) -> list[Retry]:
        """Every retry there is now."""
        self._retries = load_retries(self.store, self._retries)
        return self._retries

    def run_shard(self, shard: int, committed: Callable[[Footer], object] | None = None) -> Outcome:
        """Bring the shard to a commit of its generation, unless that is done or under way.

        `committed` is told what the shard's file says of itself, if there is one in the end.
        """
        # A lease may run out while the store is away, and its holder still be here.
        with self._lock:
            if shard in self._open:
                return Outcome.BUSY
            self._open.add(shard)
        try:
            return self._run_shard(shard, committed or _nobody)
        finally:
            with self._lock:
                self._open.discard(shard)

    def _run_shard(self, shard: int, committed: Callable[[Footer], object]) -> Outcome:
        retries = self.retries()
        generation = generation_of(shard, retries)
        footer = read_footer(self.store, shard)
        if footer is not None and footer.generation >= generation:
            # A death between commit and marker: counting needs the marker.
            write_marker(self.store, footer)
            committed(footer)
            return Outcome.ALREADY
        # Afresh, and not as it was seconds ago: what is taken back here waits for a round.
        if not self.wanted.look():
            return Outcome.HALTED
        state = self.ledger.look(shard, generation)
        if state.live:
            return Outcome.BUSY
        if state.equal_ends >= MAX_EQUAL_ENDS and self.ledger.is_given_up(shard):
            return Outcome.GIVEN_UP
        attempt = self.ledger.claim(shard, generation, state.next, self.services.worker)
        if attempt is None:
            return Outcome.BUSY
        hand: Hand | None = None
        try:
            rows = self.plan.shard(shard)
            hand = self.services.in_hand.open(self.store.uri, attempt, len(rows.rows))
            done = _ours(self.ledger.progress(shard, generation), self.job, rows)
            redo = None if footer is None else rows_to_redo(shard, footer.generation, retries)
            due = range(len(rows.rows)) if redo is None else redo
            unfinished = [place for place in due if place not in done.records]
            work = ShardWork(
                self.services,
                self.job,
                self.task,
                self.options,
                attempt,
                rows,
                done,
                redo,
                self.wanted,
                judge(self.store, generation, shard, attempt.number, unfinished),
                hand,
            )
            outcome = self._finish(work, committed)
            hand.close()
            return outcome
        except EngineDead:
            # The process ends, and what it had in hand is told by who outlives it.
            raise
        except Exception as error:
            try:
                attempt.end(error)
            finally:
                # Else a later death would be told of these rows, which have nothing to do with it.
                if hand is not None:
                    hand.close()
            after = self.ledger.look(shard, generation)
            if after.equal_ends >= MAX_EQUAL_ENDS and after.error is not None:
                self.ledger.give_up(shard, after.error)
                return Outcome.GIVEN_UP
            raise

    def _finish(self, work: ShardWork, committed: Callable[[Footer], object]) -> Outcome:
        try:
            work.run()
        except StoreUnavailable:
            raise
        except Exception:
            # What is finished need not be asked again, whatever ended the rest.
            work.save()
            raise
        if work.complete:
            return self._commit(work, committed)
        work.attempt.end()
        return Outcome.HALTED if work.halted else Outcome.STOPPED

    def _commit(self, work: ShardWork, committed: Callable[[Footer], object]) -> Outcome:
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
                committed(there)
                return Outcome.COMMITTED if ours else Outcome.ALREADY
        self._mark(footer, attempt)
        committed(footer)
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


def _nobody(footer: Footer) -> None:
    """Who is told of commits when nobody asked."""


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
