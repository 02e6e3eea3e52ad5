"""The demo: draw and speak sample media, annotate them with the real command, show what came out.

Run as `python -m examples.demo`, or `make demo`, which sets everything up first. With
`--svg FILE` the table is also written as a picture, which is how docs/demo.svg is made.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

from examples.boxes import draw_boxes
from examples.picture import write_svg
from examples.samples import gather
from examples.table import does_not_fit, make_table, summary
from models.tiny.evaluation.packages import ROOT

TASKS = ("caption", "transcribe", "detect")


def main(arguments: list[str]) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo")
    parser.add_argument("--svg", type=Path, help="also write the table to this file, as a picture")
    given = parser.parse_args(arguments)
    console = Console()
    folder = ROOT / ".demo"
    started = time.monotonic()
    console.print("[bold]Making[/]    drawings, speech and films …")
    manifest = gather(folder)
    # A demo shows the work: what an earlier one finished would not be done again.
    out, boxes = folder / "out", folder / "boxes"
    for made in (out, boxes):
        shutil.rmtree(made, ignore_errors=True)
    command = ["mediamill", "run", str(manifest.relative_to(ROOT))]
    for task in TASKS:
        command += ["--task", task]
    # Named, whatever the settings of whoever tries it are.
    command += ["--model", "tiny"]
    command += ["--out", str(out.relative_to(ROOT))]
    console.print(f"[bold]Running[/]   {' '.join(command)}\n", soft_wrap=True, highlight=False)
    program = str(Path(sys.executable).parent / command[0])
    code = subprocess.run([program, *command[1:]], cwd=ROOT, check=False).returncode
    if code != 0:
        console.print(f"\n[red]mediamill run ended with code {code}[/]; what it said is above.")
        return code
    records = {task: read(out / task) for task in TASKS}
    drawn = draw_boxes(records["detect"].values(), folder, boxes)
    show(console, records)
    for task in TASKS:
        counts = Counter(record["status"] for record in records[task].values())
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        place = (out / task / "data").relative_to(ROOT)
        console.print(f"[bold]{task:10}[/] {place}/*.parquet  ({told})", highlight=False)
    console.print(f"[bold]{'boxes':10}[/] {boxes.relative_to(ROOT)}/*.png  ({drawn} pictures)",
                  highlight=False)  # fmt: skip
    if given.svg is not None:
        write_svg(given.svg, records)
    console.print(f"\nAll of it in {time.monotonic() - started:.0f} s.", highlight=False)
    return 0


def show(console: Console, records: dict[str, dict[str, Any]]) -> None:
    """Print what every task found for every row, how much of it is right, and by which model."""
    console.print(make_table(records))
    console.print(f"[bold]{summary(records)}[/]", highlight=False)
    asked = [record for found in records.values() for record in found.values()]
    unfit = sum(does_not_fit(record) for record in asked)
    console.print(
        f"\n{unfit} of {len(asked)} questions do not fit their medium (what is said in a drawing?) "
        "and are not shown: each has a record too, which says why in its error.",
        style="dim",
        highlight=False,
    )
    console.print(
        "The model is tiny, so that it runs anywhere: it knows drawings, films and sentences like "
        "these, and nothing of photographs. For real work name a real one: "
        "--model google/gemma-4-E2B-it\n",
        style="dim",
        highlight=False,
    )


def read(out: Path) -> dict[str, dict[str, Any]]:
    """A job's records by row id, in the manifest's order."""
    rows: dict[str, dict[str, Any]] = {}
    for file in sorted((out / "data").glob("*.parquet")):
        for record in pq.read_table(file).to_pylist():
            rows[record["row_id"]] = record
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
