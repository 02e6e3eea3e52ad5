"""A page for each task, with what its example looks like: `python -m docs.pages`.

Draws the examples' media, has the tiny model answer those that it was taught, reads the
hand-written answers of the others, and writes docs/tasks/ anew. Twice the same code gives
twice the same bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from docs.by_hand import by_hand
from docs.drawing import draw_row, png, thumbnail
from docs.drawn import drawn
from docs.example import Columns, Example, Outcome, answered_by_hand, answered_by_model
from docs.markdown import overview, page, small
from jobs.models import TINY
from jobs.spec import JobSpec, make_spec
from jobs.tasks import get_task
from models.tiny.evaluation.running import run
from orchestration.look import open_place
from storage.dataset import read_tables

TASKS_FOLDER = Path(__file__).resolve().parent / "tasks"


def main() -> None:
    """Make all pages."""
    with tempfile.TemporaryDirectory(prefix="mediamill-docs-") as scratch:
        work = Path(scratch)
        media = work / "media"
        media.mkdir()
        examples = [*drawn(media), *by_hand(media)]
        records = _asked([e for e in examples if not e.by_hand], work)
        files: dict[str, bytes] = {}
        for example in examples:
            files |= _page(example, records)
    files["README.md"] = overview(files).encode()
    # Only now, so that a run that fails leaves the old pages.
    shutil.rmtree(TASKS_FOLDER, ignore_errors=True)
    (TASKS_FOLDER / "media").mkdir(parents=True)
    for name, content in files.items():
        (TASKS_FOLDER / name).write_bytes(content)


def _asked(examples: list[Example], work: Path) -> dict[tuple[str, str], Columns]:
    """The tiny model's records by task and row."""
    specs = [_job(example, work) for example in examples]
    # As on any laptop, whatever this machine has: other roundings are other answers.
    run(specs, {"dtype": "float32"})
    found = {}
    for spec in specs:
        for table in read_tables(open_place(spec.out)[0]):
            found.update({(spec.task, record["row_id"]): record for record in table.to_pylist()})
    return found


def _job(example: Example, work: Path) -> JobSpec:
    manifest = work / f"{example.task}.jsonl"
    rows = [json.dumps(line.manifest()) + "\n" for line in example.lines]
    manifest.write_text("".join(rows), encoding="utf-8")
    return make_spec(
        {
            "manifest": str(manifest),
            "task": example.task,
            "out": str(work / f"{example.task}-records"),
            "model": TINY,
            "options": example.given(),
            "from_columns": example.from_columns,
        }
    )


def _page(example: Example, records: dict[tuple[str, str], Columns]) -> dict[str, bytes]:
    """A task's page and pictures, by their places."""
    task = get_task(example.task)
    files: dict[str, bytes] = {}
    outcomes: list[Outcome] = []
    pictures: list[str] = []
    for number, line in enumerate(example.lines, 1):
        if example.by_hand:
            outcome = answered_by_hand(example, line)
        else:
            outcome = answered_by_model(example, line, records[example.task, line.id])
        outcomes.append(outcome)
        pictures.append(f"media/{task.name}-{number}.png" if line.files else "")
        if line.files:
            picture = draw_row(line.files, outcome.columns)
            files[pictures[-1]] = png(picture)
            files.setdefault(small(task.name), png(thumbnail(picture)))
    files[f"{task.name}.md"] = page(task, example, outcomes, pictures).encode()
    return files


if __name__ == "__main__":
    main()
