"""Redoing rows: `_job/retries/<g>.json` is the intent, and makes generation g."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from jobs.spec import StoredJob, check_options
from storage.dataset import committed, read_shard
from storage.errors import StoreUnavailable
from storage.objects import Store

_PREFIX = "_job/retries/"


class Selection(BaseModel):
    """Which rows to take: every `error` row, narrowed by what is given.

    `warnings` take rows that are ok too: an answer cut short may be worth a longer one.
    """

    model_config = ConfigDict(frozen=True)

    retryable: bool = False
    kinds: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    quarantined: bool = False

    def takes(self, record: dict[str, Any]) -> bool:
        """Whether a record (status, error, warnings) is to be redone."""
        if record["status"] == "quarantined":
            return self.quarantined
        if self.warnings:
            # A warning may carry a figure (`malformed_boxes:2`); its name is what is asked for.
            names = {w.partition(":")[0] for w in record["warnings"]} | set(record["warnings"])
            if not names & set(self.warnings):
                return False
            if record["status"] == "ok":
                return not (self.retryable or self.kinds)
        if record["status"] != "error":
            return False
        error = record["error"]
        return not (
            (self.retryable and not error["retryable"])
            or (self.kinds and error["kind"] not in self.kinds)
        )


class Retry(BaseModel):
    """Generation `generation` redoes `rows` (shard to places in it) with `options` on top."""

    model_config = ConfigDict(frozen=True)

    generation: int
    options: dict[str, Any]
    rows: dict[int, tuple[int, ...]]
    at: float


def load_retries(store: Store, known: Sequence[Retry] = ()) -> list[Retry]:
    """Every retry of the job, oldest first; those in `known` are not read again."""
    have = {retry.generation: retry for retry in known}
    for found in store.list(_PREFIX):
        generation = _number(found.key)
        if generation not in have:
            have[generation] = Retry.model_validate(json.loads(store.get(found.key)))
    return [have[g] for g in sorted(have)]


def newest_generation(store: Store) -> int:
    """The number of the newest retry, else 0; by one listing."""
    numbers = [_number(found.key) for found in store.list(_PREFIX)]
    return max(numbers, default=0)


def generation_of(shard: int, retries: Sequence[Retry]) -> int:
    """A shard's generation: that of the newest retry that names it, else 0."""
    return max((r.generation for r in retries if shard in r.rows), default=0)


def rows_to_redo(shard: int, footer: int, retries: Sequence[Retry]) -> dict[int, dict[str, Any]]:
    """Places in the shard to redo, with each one's option overrides (of the newest that names it).

    `footer` is the generation that the shard's file has.
    """
    redo: dict[int, dict[str, Any]] = {}
    for retry in retries:
        if retry.generation > footer:
            redo.update(dict.fromkeys(retry.rows.get(shard, ()), retry.options))
    return redo


def add_retry(
    store: Store, job: StoredJob, selection: Selection, options: dict[str, Any]
) -> Retry | None:
    """Write the next generation; None if no row is selected.

    Raises InvalidJob if the options do not validate on top of the job's.
    """
    check_options(job.task, {**job.options, **options}, ())
    rows: dict[int, tuple[int, ...]] = {}
    for shard in committed(store):
        table, _, _ = read_shard(store, shard)
        records = table.select(["status", "error", "warnings"]).to_pylist()
        places = tuple(i for i, record in enumerate(records) if selection.takes(record))
        if places:
            rows[shard] = places
    if not rows:
        return None
    # Each lost try means that another retry took the number.
    for _ in range(100):
        retries = load_retries(store)
        generation = retries[-1].generation + 1 if retries else 1
        retry = Retry(generation=generation, options=options, rows=rows, at=store.now())
        if store.put_if_absent(f"{_PREFIX}{generation:06d}.json", retry.model_dump_json().encode()):
            return retry
    raise StoreUnavailable(f"{store.uri}: a hundred other retries came first")


def _number(key: str) -> int:
    return int(key.removeprefix(_PREFIX).removesuffix(".json"))
