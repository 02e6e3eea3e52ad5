"""What people see of a job's progress."""

from __future__ import annotations

import dataclasses

import pytest
from rich.console import Console

from jobs.progress import Status
from jobs.spec import JobSpec, StoredJob
from orchestration import show
from orchestration.look import Look
from tests.unit.scripted import MODEL

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


def test_warnings_stand_in_the_table_where_there_are_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = StoredJob.model_construct(
        spec=JobSpec(manifest="m.jsonl", task="caption", out="out"), model=MODEL
    )
    warned = dataclasses.replace(STATUS, warnings={"repetition": 1200, "upscaled": 1})
    said = []
    for status in (STATUS, warned):
        Console().print(show.status_table(Look(status, job)))
        said.append(capsys.readouterr().out)
    assert "warnings" not in said[0]
    assert "1,200 repetition, 1 upscaled" in said[1]
    assert Look(warned, job).to_json()["warnings"] == {"repetition": 1200, "upscaled": 1}
