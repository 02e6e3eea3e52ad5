"""One row to one record; never raises for a bad row."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from jobs.checkpoint import Finished
from jobs.tasks.base import Parsed, Row, TaskOptions
from storage.errors import MediamillError, RowError
from storage.records import Record, check_columns
from storage.spool import NoRoom
from workers.asking import answer
from workers.request import Interrupted, RowJob, of_task
from workers.tally import Tally

_log = logging.getLogger(__name__)

#: How often a row without room for its medium is begun again before that is its error.
_LOOKS_FOR_ROOM = 20
#: What a row's error may be because its worker goes down.
_OF_AN_END = ("decoder_died", "unavailable")
#: Seconds between two looks whether the shard is to stop.
_LOOK_S = 0.2


async def make_record(
    shared: RowJob,
    place: int,
    row: Row,
    overrides: Mapping[str, object],
    earlier: Sequence[Finished],
) -> Record:
    """The outcome of the row at `place` in its shard.

    `overrides` are a retry's options; `earlier` are requests of this row that former
    attempts finished. Raises Interrupted when the shard stops first, and what is the
    worker's or the shard's fault (EngineDead, BadCredentials, StoreUnavailable, MemoryError).
    Anything else that goes wrong is this row's error, of kind `internal` if nobody foresaw it.
    A row whose decoder died is begun once more: that may have been another's fault. One that
    found no room for its medium is begun again while others may give some back.
    """
    finished: list[Finished] = list(earlier)

    def keep(of: int, done: Finished) -> None:
        finished.append(done)
        shared.finished(of, done)

    keeping = replace(shared, finished=keep)
    tally, outcome = await _tried(keeping, place, row, overrides, earlier)
    room_until = time.monotonic() + shared.services.tempo.room_s
    while isinstance(outcome, NoRoom) and time.monotonic() < room_until:
        await _pause(shared, shared.services.tempo.room_s / _LOOKS_FOR_ROOM)
        tally, outcome = await _tried(keeping, place, row, overrides, finished)
    if isinstance(outcome, RowError) and outcome.kind == "decoder_died":
        tally, outcome = await _tried(keeping, place, row, overrides, finished)
    record = shared.maker.record(row, tally, outcome)
    shared.services.counters.add_row(failed=isinstance(outcome, RowError))
    return record


async def _pause(shared: RowJob, seconds: float) -> None:
    """Wait for so long. Raises Interrupted as soon as the shard is to stop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if shared.stopping():
            raise Interrupted
        await asyncio.sleep(min(_LOOK_S, seconds))


async def _tried(
    shared: RowJob,
    place: int,
    row: Row,
    overrides: Mapping[str, object],
    earlier: Sequence[Finished],
) -> tuple[Tally, Parsed | RowError]:
    """How far the row came, and what came of it."""
    tally = Tally()
    try:
        options = _options(shared, row, overrides)
        await answer(shared, place, row, options, tuple(earlier), tally)
        return tally, of_task(
            "unparsable", shared.task, lambda: _parse(shared, row, tally, options)
        )
    except Exception as error:
        return tally, _row_error(shared, row, error)


def _row_error(shared: RowJob, row: Row, error: Exception) -> RowError:
    """What the row's record says of an error; raises those that are not the row's own."""
    if isinstance(error, RowError):
        known = error
    elif isinstance(error, MediamillError | Interrupted | MemoryError):
        raise error
    else:
        known = None
    if shared.services.stop.is_set() and (known is None or known.kind in _OF_AN_END):
        # A worker that goes down ends its pools, decoders and waits for stores under the rows
        # that use them, which says nothing of the rows: they stay to be done.
        raise Interrupted from error
    if known is not None:
        return known
    _log.error(
        "row %s: %s",
        row.id,
        error,
        exc_info=error,
        extra={
            "action": "row_failed",
            "job": shared.job.job_id,
            "shard": shared.shard,
            "row": row.id,
        },
    )
    said = f"{type(error).__name__}: {error}"
    return RowError("internal", f"{said}; the log of worker {shared.services.worker} says where")


def _options(shared: RowJob, row: Row, overrides: Mapping[str, object]) -> TaskOptions:
    columns = {
        name: row.columns[name]
        for name in shared.job.spec.from_columns
        if row.columns.get(name) is not None
    }
    if not columns and not overrides:
        return shared.options
    # What a retry sets wins over a row's column: else it could not change what went wrong.
    values = {**shared.job.options, **columns, **overrides}
    try:
        return shared.task.Options.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"]))
        raise RowError("invalid_row", f"row {row.id}, column {name}: {fault['msg']}") from None


def _parse(shared: RowJob, row: Row, tally: Tally, options: TaskOptions) -> Parsed:
    parsed = shared.task.parse(row, tally.in_order(), options)
    # Found out here, where it is this row's; in the shard's table it would be everybody's.
    check_columns(parsed.text, parsed.columns, shared.task.columns)
    return parsed
