"""Redoing rows: `_job/retries/<g>.json` is the intent, and makes generation g."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from storage.errors import StoreUnavailable
from storage.objects import Store

_PREFIX = "_job/retries/"


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
    for generation, key in _listed(store):
        if generation not in have:
            have[generation] = Retry.model_validate(json.loads(store.get(key)))
    return [have[g] for g in sorted(have)]


def newest_generation(store: Store) -> int:
    """The number of the newest retry, else 0; by one listing."""
    return max((generation for generation, _ in _listed(store)), default=0)


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


def write_retry(store: Store, rows: dict[int, tuple[int, ...]], options: dict[str, Any]) -> Retry:
    """Write the next generation, whoever writes others beside it."""
    # Each lost try means that another retry took the number.
    for _ in range(100):
        generation = newest_generation(store) + 1
        retry = Retry(generation=generation, options=options, rows=rows, at=store.now())
        if store.put_if_absent(f"{_PREFIX}{generation:06d}.json", retry.model_dump_json().encode()):
            return retry
    raise StoreUnavailable(f"{store.uri}: a hundred other retries came first")


def _listed(store: Store) -> Iterator[tuple[int, str]]:
    """Each generation and its key, without what is none of ours, as a file manager may leave it."""
    for found in store.list(_PREFIX):
        if named := re.fullmatch(r"(\d+)\.json", found.key.removeprefix(_PREFIX)):
            yield int(named[1]), found.key
