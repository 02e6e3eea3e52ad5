"""Manifests in, Parquet out: the evaluation's jobs on one engine, as `mediamill run` does them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs.spec import JobSpec, make_spec
from models.tiny.evaluation.items import Answered, Item
from models.tiny.evaluation.kinds import Kind
from models.tiny.evaluation.sources import Sources
from orchestration.cli_run import run_here
from orchestration.settings import load_settings


def draw(kind: Kind, seed: int, count: int, sources: Sources, out: Path) -> list[Item]:
    """Draw items and write media and manifest under OUT/<kind>; the reference is a column.

    The manifest is what a user would write: one line a row, media by relative places.
    """
    folder = out / kind.name
    media = folder / "media"
    media.mkdir(parents=True)
    items = kind.draw(seed, sources, media, count)
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as file:
        for number, item in enumerate(items):
            row = {
                "id": f"{number:04}",
                "uris": [f"media/{file.name}" for file in (item.file, *item.more)],
                "reference": json.dumps(item.reference),
                **item.columns,
            }
            file.write(json.dumps(row) + "\n")
    return items


def job(kind: Kind, model: str, out: Path) -> JobSpec:
    """The job that asks about a kind's items."""
    return make_spec(
        {
            "manifest": str(out / kind.name / "manifest.jsonl"),
            "task": kind.task,
            "out": str(out / kind.name / "records"),
            "model": model,
            "options": dict(kind.options),
            "from_columns": kind.from_columns,
        }
    )


def run(specs: Sequence[JobSpec], engine_options: Mapping[str, Any]) -> None:
    """Run the jobs one after another on one engine. Raises SystemExit if they cannot be run."""
    settings = load_settings(engine_options=dict(engine_options), log_level="WARNING")
    if code := run_here(settings, list(specs), json_output=False, strict=False):
        raise SystemExit(code)


def answered(out: Path, kind: Kind) -> list[Answered]:
    """The records of a kind, in the manifest's order, with their references."""
    found: dict[str, Answered] = {}
    for file in sorted((out / kind.name / "records" / "data").glob("*.parquet")):
        for record in pq.read_table(file).to_pylist():
            found[record["row_id"]] = Answered(json.loads(record["reference"]), record)
    rows = (out / kind.name / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    if len(found) != len(rows):
        raise SystemExit(f"{kind.name}: {len(rows)} rows were asked, {len(found)} have a record")
    return [found[row_id] for row_id in sorted(found)]
