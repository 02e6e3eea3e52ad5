"""Which rows a retry takes, found by reading as little as tells."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from jobs.progress import JobView
from jobs.retries import Retry, write_retry
from jobs.side_by_side import side_by_side
from jobs.spec import check_options
from storage.dataset import committed, read_shard
from storage.records import warning_name

_COLUMNS = ["status", "error", "warnings"]


class Selection(BaseModel):
    """Which rows to take: every `error` row, narrowed by what is given.

    `warnings` are looked for in ok rows too: an answer cut short may be worth a longer one.
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
            names = {*map(warning_name, record["warnings"]), *record["warnings"]}
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


def add_retry(view: JobView, selection: Selection, options: dict[str, Any]) -> Retry | None:
    """Write the next generation of the job; None if no row is selected.

    Shards whose markers say that they have no such row are not read. Raises InvalidJob if
    the options do not validate on top of the job's.
    """
    store, job = view.store, view.job
    asked = check_options(job.task, {**job.options, **options}, job.spec.from_columns)
    job.task.check(asked, {column.source for column in job.plan.columns})
    view.refresh()

    def places(shard: int) -> tuple[int, ...]:
        records = read_shard(store, shard, _COLUMNS)[0].to_pylist()
        return tuple(i for i, record in enumerate(records) if selection.takes(record))

    # By the files and not by the markers: a death may have cost a commit its marker.
    shards = [shard for shard in committed(store) if _may_have_some(view, shard, selection)]
    found = zip(shards, side_by_side(places, shards), strict=True)
    rows = {shard: taken for shard, taken in found if taken}
    return write_retry(store, rows, options) if rows else None


def _may_have_some(view: JobView, shard: int, selection: Selection) -> bool:
    """Whether rows of a committed shard may be selected, as far as its marker tells."""
    # Without a marker of its generation nothing is known of the shard.
    if selection.warnings or not view.is_done(shard):
        return True
    done = view.done[shard]
    return bool(done.error or (selection.quarantined and done.quarantined))
