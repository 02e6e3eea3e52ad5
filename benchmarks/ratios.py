"""The ratios that are asked for, out of the repeats of one run of `benchmarks.gpu`."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Repeat = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One side's rows a second ÷ another's, for a model and a task; what is asked and hoped for."""

    side: str
    base: str
    model: str
    task: str
    least: float
    hoped: float

    def __str__(self) -> str:
        return f"{self.side} ÷ {self.base}, {self.model} {self.task}"


ASKED = (
    Asked("mill-1", "tuned", "E2B", "caption", 0.95, 1.0),
    Asked("mill-1", "tuned", "E2B", "transcribe", 0.95, 1.0),
    Asked("mill", "raw", "E2B", "transcribe", 2.2, 3.0),
    Asked("mill", "raw", "E2B", "caption", 1.7, 2.5),
    Asked("mill", "raw", "E4B", "caption", 1.3, 1.8),
    Asked("mill", "naive", "E2B", "caption", 2.0, 3.0),
    Asked("mill", "ray", "E2B", "caption", 1.25, 2.0),
)
#: Sides do the same work while none makes more tokens than another by this factor.
SAME_WORK = 1.02
#: Share of the time that the last 5% of the rows may take, and should.
TAIL, TAIL_HOPED = 0.10, 0.06


@dataclass(frozen=True, slots=True)
class Ratio:
    """Means divided, and between which values repeats would have it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def verdict(self, least: float) -> str:
        """Whether it is as much as asked; what repeats do not tell apart counts as equal."""
        if self.value >= least:
            return "met"
        return "within the spread" if self.high >= least else "missed"


def ratio(side: Sequence[Repeat], base: Sequence[Repeat]) -> Ratio:
    """Of rows a second."""
    ours, theirs = ([float(r["rows_per_s"]) for r in repeats] for repeats in (side, base))
    return Ratio(
        statistics.mean(ours) / statistics.mean(theirs),
        min(ours) / max(theirs),
        max(ours) / min(theirs),
    )


def lines(repeats: Sequence[Repeat]) -> Iterator[str]:
    """What these repeats, of one run, say of what is asked."""
    sides = _sides(repeats)
    for asked in ASKED:
        ours = sides.get((asked.model, asked.task, asked.side))
        theirs = sides.get((asked.model, asked.task, asked.base))
        if ours and theirs:
            found = ratio(ours, theirs)
            yield f"{asked}: {found}, asked {asked.least:g}: {found.verdict(asked.least)}"
    for (model, task, side), found_ in sides.items():
        tails = [r["tail"] for r in found_ if r.get("tail") is not None]
        if tails and side.startswith("mill"):
            share = statistics.mean(tails)
            verdict = "met" if share <= TAIL else "missed"
            yield f"last 5% of the rows, {side}, {model} {task}: {share:.1%} of the time: {verdict}"


def unequal(repeats: Sequence[Repeat]) -> Iterator[str]:
    """Where sides of a run did other work than each other, which makes their ratio nothing."""
    done: dict[tuple[str, str], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for repeat in repeats:
        done[repeat["model"], repeat["task"]][repeat["output_tokens"]].add(repeat["side"])
    for (model, task), counts in done.items():
        if max(counts) > SAME_WORK * min(counts):
            told = "; ".join(f"{n:,} by {', '.join(sorted(s))}" for n, s in sorted(counts.items()))
            yield f"NOT THE SAME WORK, {model} {task}: output tokens {told}"


def _sides(repeats: Sequence[Repeat]) -> dict[tuple[str, str, str], list[Repeat]]:
    found: dict[tuple[str, str, str], list[Repeat]] = defaultdict(list)
    for repeat in repeats:
        found[repeat["model"], repeat["task"], repeat["side"]].append(repeat)
    return found
