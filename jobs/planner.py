"""A manifest becomes a plan: checked, hashed, costed, cut and staged in one streaming pass."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.cost import tokens
from jobs.cutting import Cutter
from jobs.plan import Carried, Plan, plan_prefix
from jobs.staging import Staging
from jobs.tasks.base import Cost
from storage.blocks import Block, Column, Faults
from storage.errors import InvalidManifest, MediamillError, StoreUnavailable
from storage.ids import IdSpill
from storage.manifest import Manifest, open_manifest
from storage.objects import Store

#: Bytes of rows held back at most until it is known whether they are the last.
_HELD_BYTES = 64 << 20

Progress = Callable[[int], None]


def make_plan(
    store: Store,
    manifest_uri: str,
    *,
    token: str,
    costs: Cost,
    slots: int,
    seconds_per_token: float,
    reserved: frozenset[str],
    limit: int | None,
    sample: int | None,
    seed: int,
    text_alone: bool = False,
    media_column: str | None = None,
    scratch: Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[Plan, list[str]]:
    """Check the manifest and stage its rows under `_job/plan/<token>/` in `store`.

    Gives the plan, and notes for the user: columns that are renamed because they are
    `reserved` (names of record columns), or become JSON text. `limit` takes the first
    rows; `sample` that many spread over the manifest, the same ones for a `seed` and a
    content. `slots` is the number of shards that can be open at once, 0 if unknown.
    Rows may be without media if the task asks about `text_alone`; those of a table may
    have them in the column `media_column`.
    `on_progress` gets the number of rows read so far. Local files go to `scratch`, or a
    folder of the system's for temporary files.

    Raises InvalidManifest naming what is wrong and where; whatever is raised, nothing
    stays staged.
    """
    planner = _Planner(
        store,
        token,
        costs,
        slots,
        seconds_per_token,
        reserved,
        text_alone,
        on_progress or (lambda _: None),
    )
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mediamill-", dir=scratch) as folder,
            open_manifest(
                manifest_uri, Path(folder), media_column=media_column, text_alone=text_alone
            ) as manifest,
        ):
            return planner.plan(manifest, Path(folder), limit, sample, seed)
    except BaseException as error:
        try:
            drop_plan(store, token)
        except MediamillError as failure:
            error.add_note(f"{plan_prefix(token)} in {store.uri} could not be removed: {failure}")
        if isinstance(error, OSError):
            raise StoreUnavailable(
                f"{manifest_uri}: planning needs local disk, which failed ({error}); free some, "
                "or set TMPDIR to another folder"
            ) from error
        raise


def drop_plan(store: Store, token: str) -> None:
    """Remove what is staged of a plan that no spec names."""
    for found in list(store.list(plan_prefix(token))):
        store.delete(found.key)


class _Planner:
    def __init__(
        self,
        store: Store,
        token: str,
        cost: Cost,
        slots: int,
        seconds_per_token: float,
        reserved: frozenset[str],
        text_alone: bool,
        progress: Progress,
    ) -> None:
        self._store = store
        self._token = token
        self._cost = cost
        self._slots = slots
        self._seconds_per_token = seconds_per_token
        self._reserved = reserved
        self._text_alone = text_alone
        self._progress = progress

    def plan(
        self, manifest: Manifest, folder: Path, limit: int | None, sample: int | None, seed: int
    ) -> tuple[Plan, list[str]]:
        source = manifest.source
        if sample is not None:
            # The whole manifest is checked first; only then is it known how many rows it has.
            rows = sum(len(block.numbers) for block in self._checked(manifest, folder, None))
            keep = _sample(rows, sample, seed)
            blocks = source.blocks(Faults(manifest.uri, self._text_alone), keep=keep)
        else:
            blocks = self._checked(manifest, folder, limit)
        with Staging(self._store, self._token) as staging:
            total = self._stage(blocks, staging)
            firsts = staging.finish()
        columns, notes = _carried(source.columns(), self._reserved)
        plan = Plan(
            token=self._token,
            format=source.format,
            shards=staging.shards,
            rows=staging.rows,
            tokens=total,
            columns=columns,
            manifest_digest=manifest.digest(),
            base=manifest.base,
            firsts=firsts,
        )
        return plan, notes

    def _checked(self, manifest: Manifest, folder: Path, limit: int | None) -> Iterator[Block]:
        """The manifest's blocks while no row is at fault; raises InvalidManifest in the end."""
        faults = Faults(manifest.uri, self._text_alone)
        with IdSpill(folder) as ids:
            for block in manifest.source.blocks(faults, limit=limit):
                ids.add(block.numbers, block.ids)
                if not faults:
                    yield block
                self._progress(int(block.numbers[-1]) + 1 if len(block.numbers) else ids.rows)
            repeats = ids.repeats()
            if repeats.total:
                named = [f"{row} (row {first} is {i!r} too)" for row, first, i in repeats.first]
                faults.add_named(
                    "the 'id' of an earlier row",
                    repeats.total,
                    named,
                    "ids are unique; leave the column out to use row numbers",
                )
            faults.check()
            if not ids.rows:
                raise InvalidManifest(f"{manifest.uri}: no rows; a job needs at least one")

    def _stage(self, blocks: Iterator[Block], staging: Staging) -> int:
        """Cut and stage the rows; the tokens that they are estimated to take."""
        total = 0.0
        cutter = Cutter(self._slots)
        held: deque[pa.Table] = deque()
        size = 0
        for block in blocks:
            if not len(block.numbers):
                continue
            held.append(block.body)
            size += block.body.nbytes
            estimated = tokens(block, self._cost)
            total += float(estimated.sum())
            seconds = estimated * self._seconds_per_token
            rows = sum(table.num_rows for table in held)
            most = rows * _HELD_BYTES // size if size > _HELD_BYTES else None
            lengths = cutter.add(seconds, most=most)
            if lengths:
                _hand_over(held, lengths, staging)
                size = sum(table.nbytes for table in held)
        _hand_over(held, cutter.finish(), staging)
        return round(total)


def _hand_over(held: deque[pa.Table], lengths: list[int], staging: Staging) -> None:
    """Stage shards of these lengths from the tables that are held, and keep the rest."""
    wanted = sum(lengths)
    taken: list[pa.Table] = []
    rows = 0
    while rows < wanted:
        taken.append(held.popleft())
        rows += taken[-1].num_rows
    if not taken:
        return
    staging.add(pa.concat_tables(taken), lengths)
    if rows > wanted:
        held.appendleft(taken[-1].slice(taken[-1].num_rows - (rows - wanted)))


def _sample(rows: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Numbers of `count` of the rows (all if there are fewer), sorted."""
    if count >= rows:
        return np.arange(rows, dtype=np.int64)
    chosen = np.random.default_rng(seed).choice(rows, count, replace=False, shuffle=False)
    return np.sort(chosen.astype(np.int64))


def _carried(
    columns: list[Column], reserved: frozenset[str]
) -> tuple[tuple[Carried, ...], list[str]]:
    """The columns under the names they have in records, and notes for the user."""
    taken = {column.source for column in columns} - reserved
    carried, notes = [], []
    for column in columns:
        name = column.source
        if name in reserved:
            while name in reserved or name in taken:
                name = f"in_{name}"
            taken.add(name)
            notes.append(f"column {column.source}: {name} in the records, which have their own")
        if column.note:
            notes.append(column.note)
        carried.append(Carried(source=column.source, name=name, type=column.type))
    return tuple(carried), notes
