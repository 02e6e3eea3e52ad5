"""The results as people look at them: `python -m benchmarks.table` writes README.md and a plot.

Reads `benchmarks/results/*.jsonl`, a line a repeat. Ratios are within one run alone, to the
engine at its best (`tuned`) and to vLLM's defaults (`raw`); one within the spread of
the repeats says nothing.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.ratios import ASKED, ratio

RESULTS = Path(__file__).parent / "results"
_HEAD = (
    "run", "model", "task", "side", "repeats", "rows/s", "spread", "÷ raw", "÷ tuned", "tokens/s",
    "GPU busy", "GiB", "last 5%", "start, s", "CPU ms a row",
)  # fmt: skip
_LEGEND = """
| side | what it is |
| --- | --- |
| `mill`, `mill-N` | mediamill, manifest to committed Parquet, with the engines it chooses, or N |
| `raw` | one `LLM.generate` with vLLM's defaults, all media decoded before and in memory |
| `tuned` | the same with mediamill's engine arguments |
| `naive`, `run-batch`, `ray` | the peers, as [NOTES.md](../NOTES.md) tells |
| `mill-turns` | `mill` with engines that take turns on their GPU |
| `mill-single` | `mill` whose requests begin one by one |

`mill` is the worker of its day: engines took turns on 29 November 2026 (`mill-mps` did not) and
shared their GPU on 30 November, 05:39; requests began by sixteens in `mill-together`, and do so,
with pictures that take less of the GPU, since 06:26. A ratio is of means within one run, with what
its repeats allow at worst and at best in brackets; targets were set before anything was measured.
GiB are the GPU's; CPU is told by what used it.
"""
_COLORS = {"mill": "#0a7", "raw": "#888", "tuned": "#555"}

Group = tuple[str, str, str]


def read(folder: Path = RESULTS) -> dict[Group, dict[str, list[dict[str, Any]]]]:
    """Repeats by side, by run, model and task."""
    found: dict[Group, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            result = json.loads(line)
            group = (result["run"], result["model"], result["task"])
            found[group][result["side"]].append(result)
    return found


def table(found: dict[Group, dict[str, list[dict[str, Any]]]]) -> str:
    """All of it as Markdown."""
    lines = [" | ".join(("", *_HEAD, "")).strip(), "|" + " --- |" * len(_HEAD)]
    for group, sides in sorted(found.items()):
        for side, repeats in sides.items():
            rate = _rate(repeats)
            cells = (
                *group,
                side,
                len(repeats),
                f"{rate:.2f}",
                f"{_spread(repeats):.0%}" if len(repeats) > 1 else "",
                *(
                    f"{rate / _rate(sides[base]):.2f}" if base in sides and base != side else ""
                    for base in ("raw", "tuned")
                ),
                f"{statistics.mean(r['output_tokens_per_s'] for r in repeats):,.0f}",
                _percent(repeats, "gpu_busy"),
                repeats[-1]["gpu_memory_gib"] or "",
                _percent(repeats, "tail"),
                f"{repeats[-1]['start_s']:.0f}",
                ", ".join(f"{k} {v:.0f}" for k, v in repeats[-1]["cpu_ms_per_row"].items() if v),
            )
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def asked(found: dict[Group, dict[str, list[dict[str, Any]]]]) -> str:
    """What is asked, with the newest run that has both sides of it, as Markdown."""
    lines = ["| figure | target | hoped for | seen | run |", "|" + " --- |" * 5]
    for one in ASKED:
        cells = ["not measured", ""]
        for (run, model, task), sides in sorted(found.items()):
            ours, theirs = sides.get(one.side), sides.get(one.base)
            if (model, task) == (one.model, one.task) and ours and theirs:
                seen = ratio(ours, theirs)
                cells = [f"{seen}: {seen.verdict(one.least)}", run]
        lines.append(
            "| " + " | ".join((str(one), f"{one.least:g}", f"{one.hoped:g}", *cells)) + " |"
        )
    return "\n".join(lines) + "\n"


def plot(found: dict[Group, dict[str, list[dict[str, Any]]]]) -> str:
    """Rows a second of every side as bars, a block a run, as SVG."""
    bars: list[str] = []
    y = 10
    most = max(_rate(repeats) for sides in found.values() for repeats in sides.values())
    for (run, model, task), sides in sorted(found.items()):
        bars.append(f'<text x="10" y="{y + 14}" font-weight="bold">{model} {task}, {run}</text>')
        y += 24
        for side, repeats in sides.items():
            rate = _rate(repeats)
            color = _COLORS.get(side.split("-")[0], "#b60")
            width = 480 * rate / most
            bars.append(
                f'<text x="10" y="{y + 13}">{side}</text>'
                f'<rect x="110" y="{y}" width="{width:.0f}" height="16" fill="{color}"/>'
                f'<text x="{116 + width:.0f}" y="{y + 13}">{rate:.1f} rows/s</text>'
            )
            y += 22
        y += 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{y}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
        + "".join(bars)
        + "</svg>\n"
    )


def _rate(repeats: list[dict[str, Any]]) -> float:
    return statistics.mean(float(r["rows_per_s"]) for r in repeats)


def _spread(repeats: list[dict[str, Any]]) -> float:
    rates = [float(r["rows_per_s"]) for r in repeats]
    return (max(rates) - min(rates)) / statistics.mean(rates)


def _percent(repeats: list[dict[str, Any]], name: str) -> str:
    values = [r[name] for r in repeats if r.get(name) is not None]
    return f"{statistics.mean(values):.1%}" if values else ""


def main() -> None:
    """Write `README.md` and `rows.svg` beside the results."""
    found = read()
    machines = sorted(
        {
            f"{r['machine']}, vLLM {r['vllm']}, torch {r['torch']}"
            for sides in found.values()
            for repeats in sides.values()
            for r in repeats
        }
    )
    (RESULTS / "README.md").write_text(
        "# Results\n\n"
        f"Made by `python -m benchmarks.table` from what `python -m benchmarks.gpu` measured on: "
        f"{'; '.join(machines)}.\nModels have their full size and random weights; "
        "[NOTES.md](../NOTES.md) says what was expected and tried.\n\n"
        f"![rows a second](rows.svg)\n\n{asked(found)}{_LEGEND}\n{table(found)}"
    )
    (RESULTS / "rows.svg").write_text(plot(found))


if __name__ == "__main__":
    main()
