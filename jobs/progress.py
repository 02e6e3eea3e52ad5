"""How far a job is, read from storage alone: state, counts, throughput, what is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from jobs.control import read_control
from jobs.ledger import Heartbeat, Ledger
from jobs.marker import Marker, marker_name, read_marker, told
from jobs.retries import Retry, generation_of, load_retries, rows_to_redo
from jobs.side_by_side import ABREAST, side_by_side
from jobs.spec import StoredJob
from jobs.tempo import Tempo
from storage.dataset import Footer, read_footer, shard_name
from storage.objects import Store

State = Literal["planned", "running", "paused", "cancelled", "done"]

#: Keys that S3 lists at a time, and how many such pages a lister covers at least.
_PAGE = 1_000
_PAGES_A_LISTER = 2
#: A job with so few unfinished shards is looked at file by file for markers that got lost.
_MEND_BELOW = 64
#: Throughput is that of the last ten minutes.
_RATE_WINDOW_S = 600.0


@dataclass(frozen=True, slots=True)
class Done:
    """A committed shard as its marker tells it; `at` is when, by the store's clock."""

    generation: int
    ok: int
    error: int
    quarantined: int
    at: float
    warnings: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, footer: Footer) -> Done:
        """What the marker of a shard with this footer tells."""
        return cls(
            footer.generation,
            footer.ok,
            footer.error,
            footer.quarantined,
            footer.finished_at,
            told(footer.warnings),
        )

    @property
    def rows(self) -> int:
        """Rows of the shard that have a record: all of them."""
        return self.ok + self.error + self.quarantined


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` says. Rates are None until something was committed.

    Of `rows`, `remaining` have no record yet, and `due` are those and the ones that a retry
    is to redo. `warnings` counts rows by the names of their warnings; those that do not go
    into a marker's name count as `other`. `finished_at` is when the last shard was committed,
    once none is due.
    """

    job_id: str
    state: State
    rows: dict[str, int]
    shards: dict[str, int]
    generation: int
    stalled: bool
    rows_per_s: float | None
    eta_s: float | None
    finished_at: float | None = None
    given_up: dict[int, str] = field(default_factory=dict)
    workers_alive: int | None = None
    warnings: dict[str, int] = field(default_factory=dict)


def write_marker(store: Store, footer: Footer) -> None:
    """Say in a name that a shard is committed and how its rows went."""
    done = Done.of(footer)
    marker = Marker(footer.shard, done.ok, done.error, done.quarantined, done.warnings)
    store.put(_prefix(footer.generation) + marker_name(marker), b"")


class JobView:
    """One process' view of a job, refreshed by listings. Not thread-safe."""

    def __init__(self, store: Store, job: StoredJob, tempo: Tempo) -> None:
        self.store = store
        self.job = job
        self.ledger = Ledger(store, tempo)
        self.tempo = tempo
        self.retries: list[Retry] = []
        self.done: dict[int, Done] = {}
        #: Every shard below is done in generation 0: listings start after it.
        self._low = 0

    def generation(self, shard: int) -> int:
        """The generation that the shard is to have."""
        return generation_of(shard, self.retries)

    def refresh(self) -> None:
        """Read retries and done markers; mend markers that a death lost, when few are missing."""
        self.retries = load_retries(self.store, self.retries)
        for generation in (0, *(retry.generation for retry in self.retries)):
            for shard, done in self._markers(generation):
                self.note(shard, done)
        while self._low in self.done:
            self._low += 1
        missing = list(islice(self.due(), _MEND_BELOW + 1))
        if len(missing) <= _MEND_BELOW and self.started():
            for shard in missing:
                self.mend(shard)

    def note(self, shard: int, done: Done) -> None:
        """Take note of a commit."""
        known = self.done.get(shard)
        if known is None or known.generation <= done.generation:
            self.done[shard] = done

    def mend(self, shard: int) -> Footer | None:
        """If the shard is committed in its generation, see to its marker and give its footer."""
        footer = read_footer(self.store, shard)
        if footer is None or footer.generation < self.generation(shard):
            return None
        write_marker(self.store, footer)
        self.note(shard, Done.of(footer))
        return footer

    def due(self, first: int = 0) -> Iterator[int]:
        """Shards that are not committed in their generation, in order."""
        redone = sorted({shard for retry in self.retries for shard in retry.rows})
        for shard in redone:
            if first <= shard < self._low and not self.is_done(shard):
                yield shard
        for shard in range(max(first, self._low), self.job.plan.shards):
            if not self.is_done(shard):
                yield shard

    def is_done(self, shard: int) -> bool:
        """Whether the shard is committed in its generation, as far as is known here."""
        done = self.done.get(shard)
        return done is not None and done.generation >= self.generation(shard)

    @property
    def complete(self) -> bool:
        """Whether no shard is due."""
        return next(self.due(), None) is None

    def started(self) -> bool:
        """Whether there was ever an attempt or a commit."""
        return bool(self.done) or next(iter(self.store.list("_job/attempts/")), None) is not None

    def status(self) -> Status:
        """Everything `status` says but what only Redis knows; call `refresh` first."""
        total = self.job.plan.rows
        ok = sum(d.ok for d in self.done.values())
        error = sum(d.error for d in self.done.values())
        quarantined = sum(d.quarantined for d in self.done.values())
        finished = sum(self.is_done(shard) for shard in self.done)
        now = self.store.now()
        state = self._state()
        heartbeats = self._heartbeats() if state == "running" else {}
        live = [s for s in self.ledger.live(heartbeats, now) if not self.is_done(s)]
        rate = self._rate(now)
        remaining = total - ok - error - quarantined
        due = remaining + self._rows_to_redo()
        beats = [beat.at for beat in heartbeats.values()]
        newest = max([self.job.created_at, *(d.at for d in self.done.values()), *beats])
        return Status(
            job_id=self.job.job_id,
            state=state,
            rows={
                "total": total,
                "ok": ok,
                "error": error,
                "quarantined": quarantined,
                "remaining": remaining,
                "due": due,
            },
            shards={
                "total": self.job.plan.shards,
                "done": finished,
                "live": len(live),
                "due": self.job.plan.shards - finished,
            },
            generation=self.retries[-1].generation if self.retries else 0,
            stalled=state == "running" and now - newest > self.tempo.stalled_s,
            rows_per_s=rate,
            eta_s=due / rate if rate and state == "running" else None,
            warnings=self._warnings(),
            given_up=self.ledger.given_up() if state != "done" else {},
            finished_at=max(d.at for d in self.done.values()) if state == "done" else None,
        )

    def _warnings(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for done in self.done.values():
            counts.update(done.warnings)
        return dict(counts.most_common())

    def _state(self) -> State:
        if self.complete:
            return "done"
        wanted = read_control(self.store).wanted
        if wanted != "run":
            return "paused" if wanted == "pause" else "cancelled"
        return "running" if self.started() else "planned"

    def _heartbeats(self) -> dict[int, Heartbeat]:
        return self.ledger.heartbeats({0, *(retry.generation for retry in self.retries)})

    def live(self) -> set[int]:
        """Shards under way now, as far as storage tells."""
        return set(self.ledger.live(self._heartbeats(), self.store.now()))

    def _rows_to_redo(self) -> int:
        """Rows with a record that retries have named and no worker has redone."""
        shards = {shard for retry in self.retries for shard in retry.rows}
        return sum(
            len(rows_to_redo(shard, self.done[shard].generation, self.retries))
            for shard in shards
            if shard in self.done
        )

    def _rate(self, now: float) -> float | None:
        """Rows a second since the job, its newest retry, or the window began."""
        asked_at = self.retries[-1].at if self.retries else self.job.created_at
        began = max(asked_at, now - _RATE_WINDOW_S)
        # What was committed before a retry says nothing of the pace since.
        since = began if self.retries else now - _RATE_WINDOW_S
        recent = {shard: d for shard, d in self.done.items() if d.at >= since}
        if not recent:
            return None
        worked = sum(self._worked(shard, done) for shard, done in recent.items())
        return worked / max(now - began, 1.0)

    def _worked(self, shard: int, done: Done) -> int:
        """Rows that the shard's last commit was made of: a retry redoes only some."""
        for retry in self.retries:
            if retry.generation == done.generation:
                return len(retry.rows.get(shard, ()))
        return done.rows

    def _markers(self, generation: int) -> list[tuple[int, Done]]:
        """One generation's markers; side by side over ranges of shards where there are many."""
        shards: Sequence[int] = range(self._low, self.job.plan.shards)
        if generation:
            shards = next(sorted(r.rows) for r in self.retries if r.generation == generation)
        # A local folder is read whole, whatever range of it is asked for.
        listers = ABREAST if self.store.uri.startswith("s3://") else 1
        # Whole pages: a range that ends within one costs the store a page more.
        pages = max(_PAGES_A_LISTER, -(-len(shards) // (listers * _PAGE)))
        parts = [shards[i : i + pages * _PAGE] for i in range(0, len(shards), pages * _PAGE)]
        found = side_by_side(lambda part: self._marker_range(generation, part), parts)
        return [marker for markers in found for marker in markers]

    def _marker_range(self, generation: int, shards: Sequence[int]) -> list[tuple[int, Done]]:
        prefix = _prefix(generation)
        markers: list[tuple[int, Done]] = []
        # "0000007" sorts before "0000007-1-0-0", so the range starts at its first shard.
        for found in self.store.list(prefix, after=prefix + shard_name(shards[0])):
            shard, ok, error, quarantined, warnings = read_marker(found.key.removeprefix(prefix))
            if shard > shards[-1]:
                break
            done = Done(generation, ok, error, quarantined, found.modified, warnings)
            markers.append((shard, done))
            if shard == shards[-1]:
                break
        return markers


def _prefix(generation: int) -> str:
    return f"_job/done/{generation}/"
