"""What outlives a worker's process tells each job which rows that process had in hand."""

from __future__ import annotations

import logging
from pathlib import Path

from jobs.spec import load_job
from jobs.witness import write_death
from storage.errors import MediamillError
from storage.objects import open_store
from workers.in_hand import Left, left_in

_log = logging.getLogger(__name__)


def report(folder: Path, cause: str) -> None:
    """Close the attempts that a dead process left in `folder`, naming their rows in hand.

    `cause` says how it ended ("was killed by SIGSEGV"). Where a store does not take it, the
    attempt's lease runs out as if the machine had gone.
    """
    for left in left_in(folder):
        try:
            _report(left, cause)
        except MediamillError as error:
            _log.warning(
                "shard %d of %s: its end is not told: %s",
                left.shard,
                left.out,
                error,
                extra={"action": "death_untold", "shard": left.shard, "out": left.out},
            )
    for path in folder.glob("*.hand"):
        path.unlink()


def _report(left: Left, cause: str) -> None:
    store = open_store(left.out)
    store = open_store(left.out, load_job(store).traits)
    write_death(
        store,
        left.generation,
        left.shard,
        left.attempt,
        rows=left.rows,
        alone=left.alone,
        cause=cause,
    )
    _log.warning(
        "shard %d of %s: the worker's process %s with %d rows in hand",
        left.shard,
        left.out,
        cause,
        len(left.rows),
        extra={"action": "death_told", "shard": left.shard, "rows": len(left.rows)},
    )
