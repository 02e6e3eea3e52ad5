"""The demo's table: every answer, and beside it whether that is what is really there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from examples.judging import Record, Verdict, judge

#: Errors that say that a medium has nothing of the kind that was asked about.
UNFIT = ("wrong_kind", "no_audio")
#: Longest answer in the table, in characters; the Parquet has it whole.
SHOWN = 400

#: Records by row id, by task.
Records = Mapping[str, Mapping[str, Record]]


def make_table(records: Records) -> Table:
    """A line for each answer; questions that do not fit their medium are left out."""
    table = Table(title="What was found", title_justify="left", expand=True)
    table.add_column("row", style="cyan", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("answer", ratio=1)
    table.add_column("right?", no_wrap=True)
    for row_id in next(iter(records.values())):
        asked = {task: records[task][row_id] for task in records}
        name = row_id
        for task, record in asked.items():
            if not does_not_fit(record):
                table.add_row(name, task, *cells(record))
                name = ""
        table.add_section()
    return table


def does_not_fit(record: Record) -> bool:
    """Whether the task cannot be asked of such a medium at all."""
    return bool(record["status"] == "error" and record["error"]["kind"] in UNFIT)


def cells(record: Record) -> tuple[Text, Text]:
    """An answer with what it should have been if that differs, and the verdict."""
    if record["status"] != "ok":
        error = record["error"] or {"kind": record["status"], "message": ""}
        return Text(_short(f"{error['kind']}: {error['message']}"), "red"), Text("✗", "red")
    really = judge(record).really
    if not really:
        return Text(answer(record)), Text("✓", "green")
    told = Text.assemble(answer(record), "\n", (f"really: {really}", "yellow"))
    return told, Text("✗", "red")


def answer(record: Record) -> str:
    """What was answered, in a few words."""
    if record["task"] == "detect":
        return _things(record["objects"])
    if record["task"] == "transcribe":
        lines = [
            f"{part['start_s']:.1f}-{part['end_s']:.1f} s: {_short(part['text'])}"
            for part in record["segments"]
        ]
        return "\n".join(lines) or "no speech"
    return _short(record["text"])


def summary(records: Records) -> str:
    """`9 of 10 captions word for word; 3% of 80 words misheard; 20 of 22 things found …`."""
    captions, words, things = (
        _sum(records[task].values()) for task in ("caption", "transcribe", "detect")
    )
    return (
        f"{captions.asked - captions.wrong} of {captions.asked} captions word for word; "
        f"{words.wrong / max(1, words.asked):.0%} of {words.asked} words misheard; "
        f"{things.asked - things.wrong} of {things.asked} things found (IoU of 0.5)"
    )


def _sum(records: Iterable[Record]) -> Verdict:
    verdicts = [judge(record) for record in records if not does_not_fit(record)]
    return Verdict(sum(v.asked for v in verdicts), sum(v.wrong for v in verdicts), "")


def _things(found: list[dict[str, Any]]) -> str:
    """`red cross, 2 of blue star`; of a film, in how many frames."""
    counts = Counter(thing["label"] for thing in found)
    if any(thing["time_s"] is not None for thing in found):
        frames = len({thing["time_s"] for thing in found})
        return ", ".join(counts) + f" in {frames} frames"
    told = ", ".join(f"{n} of {label}" if n > 1 else label for label, n in counts.items())
    return told or "nothing"


def _short(text: str) -> str:
    """One line of at most `SHOWN` characters."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "…"
