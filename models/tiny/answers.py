"""Boxes, calls and thoughts, written as Gemma 4 writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Box = tuple[int, int, int, int]


def to_grid(x0: float, y0: float, x1: float, y1: float, width: int, height: int) -> Box:
    """Pixels to `[y0, x0, y1, x1]` on the grid of 1000 by 1000, whatever the picture's shape."""
    return (
        _grid(y0, height),
        _grid(x0, width),
        _grid(y1, height),
        _grid(x1, width),
    )


def _grid(value: float, length: int) -> int:
    return min(1000, max(0, round(1000 * value / length)))


def boxes(found: Sequence[tuple[str, Box]]) -> str:
    """The answer to `detect`: a fenced JSON list, one object a line; empty if none was found."""
    if not found:
        return "```json\n[]\n```"
    lines = ",\n".join(
        f'  {{"box_2d": {json.dumps(list(box))}, "label": {json.dumps(label)}}}'
        for label, box in found
    )
    return f"```json\n[\n{lines}\n]\n```"


def call(name: str, arguments: Mapping[str, str]) -> str:
    """A tool call with string arguments."""
    inner = ",".join(f'{key}:<|"|>{value}<|"|>' for key, value in sorted(arguments.items()))
    return f"<|tool_call>call:{name}{{{inner}}}<tool_call|>"


def thought(text: str, answer: str) -> str:
    """A thought before an answer, as the model gives it when thinking is on."""
    return f"<|channel>thought\n{text}\n<channel|>{answer}"


def several(captions: Sequence[str]) -> str:
    """Several pictures told one after the other."""
    return " ".join(f"Image {i}: {caption}" for i, caption in enumerate(captions, 1))
