"""What people see of a job's progress."""

from __future__ import annotations

import dataclasses

import pytest

from jobs.progress import Status
from orchestration import show

STATUS = Status(
    job_id="j",
    state="running",
    rows={"total": 10, "ok": 5, "error": 2, "quarantined": 1, "remaining": 2, "due": 2},
    shards={"total": 2, "done": 1, "live": 1, "due": 1},
    generation=0,
    stalled=False,
    rows_per_s=None,
    eta_s=None,
)


@pytest.mark.parametrize(
    ("rows", "progress", "said"),
    [
        ({}, (8, 3), "10 in all, 5 ok, [red]2 error[/red], [red]1 quarantined[/red], 2 remaining"),
        ({"due": 4}, (6, 1), "2 remaining, 2 to redo"),
        ({"due": 10}, (0, 0), "2 remaining, 8 to redo"),
        ({"ok": 10, "error": 0, "quarantined": 0, "remaining": 0, "due": 0}, (10, 0), "10 ok"),
    ],
)
def test_rows_to_redo_are_not_done(
    rows: dict[str, int], progress: tuple[int, int], said: str
) -> None:
    status = dataclasses.replace(STATUS, rows=STATUS.rows | rows)
    assert show.progress_of(status) == progress
    assert show.counts(status).endswith(said)
