"""What the sides of the GPU benchmark have in common: rows, lengths, plain arguments, figures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: Rows that warm a side up before the clock: kernels are compiled at their first use.
WARM = 32


def read_rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifest's rows, with the absolute `path` of each one's file."""
    manifest = Path(spec["manifest"]).resolve()
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    return [row | {"path": str(manifest.parent / row["uri"])} for row in rows]


def sampling(row: dict[str, Any]) -> dict[str, Any]:
    """vLLM's sampling parameters: an answer of exactly `max_tokens`, whatever the model says."""
    return {
        "temperature": 0.0,
        "max_tokens": row["max_tokens"],
        "min_tokens": row["max_tokens"],
        "ignore_eos": True,
        "skip_special_tokens": False,
    }


def plain_arguments(spec: dict[str, Any]) -> dict[str, Any]:
    """The engine arguments of somebody who leaves vLLM at its defaults.

    On a CPU it does not start with them; there mediamill's own stand in.
    """
    if spec["device"] == "cuda":
        return dict(spec["arguments"])
    from jobs.models import folder_facts
    from workers.cpu import cpu_arguments

    arguments = cpu_arguments(folder_facts(Path(spec["model"])).shape.context)
    return {**arguments, **spec["arguments"]}


def processor_arguments(path: str, image_tokens: int) -> dict[str, Any]:
    """vLLM's `mm_processor_kwargs` for a file: the budget of an image, nothing for a sound."""
    if Path(path).suffix != ".jpg":
        return {}
    return {"images_kwargs": {"max_soft_tokens": image_tokens}}


def figures(
    rows: list[dict[str, Any]],
    answers: Iterable[dict[str, Any]],
    *,
    start: float,
    end: float,
    start_s: float,
) -> dict[str, Any]:
    """A repeat's line: what was asked, what came, in what time.

    `answers` have `id`, `prompt_tokens`, `output_tokens` and, where a side knows it, `finished_at`;
    `start` and `end` are times of the same clock, in seconds. Raises SystemExit where rows lack or
    an answer has not exactly its row's `max_tokens`: such a side would be measured at other work.
    """
    found = list(answers)
    asked = {row["id"]: row["max_tokens"] for row in rows}
    wrong = {a["id"]: a["output_tokens"] for a in found if asked.get(a["id"]) != a["output_tokens"]}
    if wrong or len(found) != len(asked) or {a["id"] for a in found} != set(asked):
        raise SystemExit(
            f"{len(found)} answers to {len(asked)} rows, {len(wrong)} of them of another length "
            f"than asked: {dict(list(wrong.items())[:5])}"
        )
    line = {
        "rows": len(found),
        "seconds": end - start,
        "prompt_tokens": sum(answer["prompt_tokens"] for answer in found),
        "output_tokens": sum(answer["output_tokens"] for answer in found),
        "start_s": start_s,
    }
    ends = [answer["finished_at"] for answer in found if "finished_at" in answer]
    if ends:
        line["tail"] = tail(ends, end - start)
    return line


def tail(ends: Iterable[float], seconds: float) -> float:
    """The share of the time that the last 5% of the rows took, by when each ended."""
    ordered = sorted(ends)
    return round((ordered[-1] - ordered[int(0.95 * (len(ordered) - 1))]) / seconds, 3)
