"""The demo: gather sample media, annotate them with the real command, and show what came out.

Run as `python -m examples.demo`, or `make demo`, which sets everything up first.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.packages import ROOT
from examples.samples import gather

TASKS = ("caption", "transcribe", "detect")
#: Longest answer, in tokens: a model with random parameters never ends by itself.
MAX_TOKENS = 320
#: Longest text in a cell, in characters; the Parquet has it whole.
SHOWN = 100


def main() -> int:
    """Run the demo; returns the exit code."""
    console = Console()
    folder = ROOT / ".demo"
    started = time.monotonic()
    console.print("[bold]Gathering[/] photographs, speech and videos …")
    manifest = gather(folder)
    out = folder / "out"
    # A demo shows the work: what an earlier one finished would not be done again.
    shutil.rmtree(out, ignore_errors=True)
    command = ["mediamill", "run", str(manifest.relative_to(ROOT))]
    for task in TASKS:
        command += ["--task", task]
    command += ["--set", f"max_tokens={MAX_TOKENS}", "--out", str(out.relative_to(ROOT))]
    console.print(f"[bold]Running[/]   {' '.join(command)}\n", soft_wrap=True, highlight=False)
    program = str(Path(sys.executable).parent / command[0])
    code = subprocess.run([program, *command[1:]], cwd=ROOT, check=False).returncode
    if code != 0:
        console.print(f"\n[red]mediamill run ended with code {code}[/]; what it said is above.")
        return code
    show(console, out)
    console.print(f"\nAll of it in {time.monotonic() - started:.0f} s.")
    return 0


def show(console: Console, out: Path) -> None:
    """Print what every task found for every row, and where the Parquet files lie."""
    records = {task: read(out / task) for task in TASKS}
    table = Table(title="What was found", title_justify="left", show_lines=True, expand=True)
    table.add_column("row", ratio=1)
    for task in TASKS:
        table.add_column(task, ratio=1, overflow="fold")
    unfit = 0
    for row_id in records[TASKS[0]]:
        row = [records[task][row_id] for task in TASKS]
        unfit += sum(does_not_fit(record) for record in row)
        # Columns of the manifest are carried into every record.
        title = Text.assemble((row_id, "cyan"), "\n", (row[0]["title"], "dim"))
        table.add_row(title, *(cell(record) for record in row))
    console.print(table)
    console.print(
        f"{unfit} of {len(TASKS) * len(records[TASKS[0]])} questions do not fit their medium "
        "(what is said in a photograph?): each has a record too, with error.kind = wrong_kind.",
        style="dim",
    )
    console.print(
        "The model is tiny, so that it runs anywhere. As long as its parameters are random, "
        "it answers noise: what you see is that every part works.",
        style="dim",
    )
    console.print()
    for task in TASKS:
        counts = Counter(record["status"] for record in records[task].values())
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        place = (out / task / "data").relative_to(ROOT)
        console.print(f"[bold]{task:10}[/] {place}/*.parquet  ({told})", highlight=False)


def read(out: Path) -> dict[str, dict[str, Any]]:
    """A job's records by row id, in the manifest's order."""
    rows: dict[str, dict[str, Any]] = {}
    for file in sorted((out / "data").glob("*.parquet")):
        for record in pq.read_table(file).to_pylist():
            rows[record["row_id"]] = record
    return rows


def does_not_fit(record: dict[str, Any]) -> bool:
    """Whether the task cannot be asked of such a medium at all."""
    return bool(record["status"] == "error" and record["error"]["kind"] == "wrong_kind")


def cell(record: dict[str, Any]) -> Text:
    """A record in a few words."""
    if does_not_fit(record):
        return Text("·", style="dim")
    if record["status"] != "ok":
        return Text(short(f"{record['error']['kind']}: {record['error']['message']}"), style="red")
    if record["task"] == "detect":
        return Text(short(boxes(record["objects"])) or "nothing", style="green")
    if record["task"] == "transcribe":
        return Text(segments(record["segments"]) or "no speech", style="green")
    return Text(short(record["text"]), style="green")


def segments(found: list[dict[str, Any]]) -> str:
    """`0.2-4.1 s: words`, a line a segment."""
    lines = [f"{s['start_s']:.1f}-{s['end_s']:.1f} s: {short(s['text'])}" for s in found]
    return "\n".join(lines[:4]) + ("\n…" if len(lines) > 4 else "")


def boxes(found: list[dict[str, Any]]) -> str:
    """`2 cat, 1 dog`, with the place of a lone object."""
    if len(found) == 1:
        corners = " ".join(f"{found[0]['box'][name]:.0f}" for name in ("x0", "y0", "x1", "y1"))
        return f"{found[0]['label']} at {corners}"
    return ", ".join(f"{n} {label}" for label, n in Counter(o["label"] for o in found).items())


def short(text: str) -> str:
    """One line of at most `SHOWN` characters."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "…"


if __name__ == "__main__":
    sys.exit(main())
