"""Who does what, read from storage: attempts, their leases, checkpoints and ends.

An attempt is one worker's try at one shard. Its object, put if absent, is the lease;
its checkpoints are the heartbeat and hold finished work, so that an attempt after it
does not do that again.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from jobs.checkpoint import Finished, Progress, pack, unpack
from jobs.side_by_side import side_by_side
from jobs.tempo import Tempo
from storage.dataset import shard_name
from storage.errors import EngineDead, MediamillError, NotFound, Permanent
from storage.objects import Object, Store
from storage.records import Record

#: After so many ends with the same permanent error a shard is fed no more until `resume`.
MAX_EQUAL_ENDS = 5
_GIVEN_UP = "_job/given_up/"
_CHECKPOINT = re.compile(r"_job/checkpoints/\d+/(\d+)/(\d+)-\d+\.parquet")
_OF_AN_ATTEMPT = re.compile(r"(\d+)[.-]")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardState:
    """Attempts at a shard in one generation. `equal_ends` counts the last ends that gave
    the same permanent error, which is `error`; `next` is the number of a new attempt."""

    live: bool
    next: int
    equal_ends: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The newest checkpoint of a shard: when, by the store's clock, and of which attempt."""

    at: float
    generation: int
    attempt: int


class Attempt:
    """A lease that was won. Used by the shard's own loop, whose checkpoints may overlap."""

    def __init__(self, store: Store, shard: int, generation: int, number: int) -> None:
        self.store = store
        self.shard = shard
        self.generation = generation
        self.number = number
        self._sequence = itertools.count()

    def checkpoint(self, work: Sequence[tuple[int, Record | Finished]]) -> None:
        """Write finished work, or nothing at all: the object itself says that we live."""
        name = f"{self.number:04d}-{next(self._sequence):06d}.parquet"
        self.store.put(f"{_checkpoints(self.generation, self.shard)}{name}", pack(work))

    def end(self, error: BaseException | None = None) -> None:
        """Give the shard back: the next attempt need not wait for the lease to run out."""
        value = {
            "at": self.store.now(),
            "error": None if error is None else f"{type(error).__name__}: {error}",
            "permanent": error is not None and _is_of_the_shard(error),
        }
        key = _end_key(self.generation, self.shard, self.number)
        self.store.put_if_absent(key, json.dumps(value).encode())

    def clean(self) -> None:
        """Remove the shard's checkpoints, after its commit."""
        for found in list(self.store.list(_checkpoints(self.generation, self.shard))):
            self.store.delete(found.key)


class Ledger:
    """Attempts of a job's shards."""

    def __init__(self, store: Store, tempo: Tempo) -> None:
        self.store = store
        self.tempo = tempo

    def look(self, shard: int, generation: int) -> ShardState:
        """The state of a shard, by two listings."""
        attempts = list(self.store.list(attempts_of(generation, shard)))
        checkpoints = list(self.store.list(_checkpoints(generation, shard)))
        if not attempts:
            return ShardState(live=False, next=0)
        now = self.store.now()
        numbers: set[int] = set()
        young: set[int] = set()
        closed: set[int] = set()
        ends: list[Object] = []
        for found in (*attempts, *checkpoints):
            name = found.key.rpartition("/")[2]
            if (named := _OF_AN_ATTEMPT.match(name)) is None:
                continue
            number = int(named[1])
            numbers.add(number)
            if self._is_young(found.modified, now):
                young.add(number)
            if name.endswith((".end.json", ".died.json")):
                closed.add(number)
            if name.endswith(".end.json"):
                ends.append(found)
        equal, error = self._equal_ends(ends)
        return ShardState(bool(young - closed), max(numbers) + 1, equal, error)

    def claim(self, shard: int, generation: int, number: int, worker: str) -> Attempt | None:
        """Try to win attempt `number`; None if another worker has it."""
        key = f"{attempts_of(generation, shard)}{number:04d}.json"
        value = {"worker": worker, "at": self.store.now()}
        if not self.store.put_if_absent(key, json.dumps(value).encode()):
            return None
        return Attempt(self.store, shard, generation, number)

    def progress(self, shard: int, generation: int) -> Progress:
        """What earlier attempts finished and checkpointed."""
        progress = Progress()
        for found in self.store.list(_checkpoints(generation, shard)):
            try:
                data = self.store.get(found.key)
            except NotFound:
                # An attempt that was thought dead has committed, and cleans up.
                continue
            try:
                read = unpack(data)
            except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
                # Damaged, or of another release. It saves work, and no more than that.
                _log.warning(
                    "%s/%s cannot be used, and what it holds is done again: %s",
                    self.store.uri,
                    found.key,
                    error,
                    extra={"action": "checkpoint_unread"},
                )
                continue
            for row, value in read:
                progress.add(row, value)
        return progress

    def heartbeats(self, generations: Iterable[int]) -> dict[int, Heartbeat]:
        """The newest checkpoint of each shard that has any, by one listing a generation.

        Attempts younger than their first checkpoint are not seen; taking one of them for
        idle costs its next worker a look and nothing else.
        """
        newest: dict[int, Heartbeat] = {}
        for generation in generations:
            for found in self.store.list(f"_job/checkpoints/{generation}/"):
                named = _CHECKPOINT.fullmatch(found.key)
                if named is None:  # as a file manager may leave it
                    continue
                shard = int(named[1])
                beat = Heartbeat(found.modified, generation, int(named[2]))
                known = newest.get(shard)
                if known is None or known.at <= beat.at:
                    newest[shard] = beat
        return newest

    def live(self, heartbeats: Mapping[int, Heartbeat], now: float) -> dict[int, float]:
        """Shards under way, and when each last showed it; `now` is by the store's clock.

        A look or two more for each: a shard that was given back is free at once.
        """
        young = {s: b for s, b in heartbeats.items() if self._is_young(b.at, now)}
        closed = side_by_side(self._is_closed, list(young.items()))
        return {
            shard: beat.at
            for (shard, beat), over in zip(young.items(), closed, strict=True)
            if not over
        }

    def give_up(self, shard: int, error: str) -> None:
        """Mark a shard that ended too often with one error; it is fed no more until `resume`."""
        self.store.put(f"{_GIVEN_UP}{shard_name(shard)}", error.encode())

    def given_up(self) -> dict[int, str]:
        """Shards that are fed no more, and the error of each."""
        listed = (found.key for found in self.store.list(_GIVEN_UP))
        keys = [key for key in listed if key.removeprefix(_GIVEN_UP).isdecimal()]
        return {
            int(key.removeprefix(_GIVEN_UP)): error
            for key, error in zip(keys, side_by_side(self._error_of, keys), strict=True)
            if error is not None
        }

    def is_given_up(self, shard: int) -> bool:
        """Whether this one is."""
        return self.store.head(f"{_GIVEN_UP}{shard_name(shard)}") is not None

    def forgive(self) -> None:
        """Let every shard that was given up be fed again; each gets one more attempt."""
        for found in list(self.store.list(_GIVEN_UP)):
            self.store.delete(found.key)

    def _is_young(self, modified: float, now: float) -> bool:
        # Nor is one from long after now a sign of life: the store's clock was put back.
        return abs(now - modified) < self.tempo.lease_s

    def _is_closed(self, found: tuple[int, Heartbeat]) -> bool:
        shard, beat = found
        attempt = f"{attempts_of(beat.generation, shard)}{beat.attempt:04d}"
        return any(self.store.head(f"{attempt}.{end}.json") for end in ("end", "died"))

    def _error_of(self, key: str) -> str | None:
        try:
            return self.store.get(key).decode()
        except NotFound:
            return None  # forgiven between the listing and the look

    def _equal_ends(self, ends: list[Object]) -> tuple[int, str | None]:
        last: str | None = None
        count = 0
        for found in sorted(ends, key=lambda o: o.key, reverse=True)[:MAX_EQUAL_ENDS]:
            value = json.loads(self.store.get(found.key))
            if not value["permanent"] or (count and value["error"] != last):
                break
            last = value["error"]
            count += 1
        return count, last


def _is_of_the_shard(error: BaseException) -> bool:
    """Whether another attempt would meet the same error, wherever it runs."""
    # A dead engine takes every open shard with it, and none of them has to be the cause.
    if isinstance(error, EngineDead):
        return False
    return isinstance(error, Permanent) or not isinstance(error, MediamillError)


def _end_key(generation: int, shard: int, number: int) -> str:
    return f"{attempts_of(generation, shard)}{number:04d}.end.json"


def attempts_of(generation: int, shard: int) -> str:
    """Where the attempts at a shard lie."""
    return f"_job/attempts/{generation}/{shard_name(shard)}/"


def _checkpoints(generation: int, shard: int) -> str:
    return f"_job/checkpoints/{generation}/{shard_name(shard)}/"
