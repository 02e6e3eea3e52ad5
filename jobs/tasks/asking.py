"""What all tasks share when they ask: the options' say, sampling and its seed."""

from __future__ import annotations

import hashlib

from jobs.pieces import Span
from jobs.tasks.base import Prompt, Row, TaskOptions


def ask(text: str, row: Row, span: Span, options: TaskOptions, *, greedy: bool) -> Prompt:
    """The prompt `text`, or the one that the options put in its place.

    `greedy` is the task's habit; a temperature in the options wins. Otherwise the
    checkpoint's own sampling holds. A greedy prompt carries no seed, so that equal
    questions have equal digests.
    """
    temperature = options.temperature
    if temperature is None and greedy:
        temperature = 0.0
    return Prompt(
        text=text if options.prompt is None else options.prompt,
        system=options.system,
        thinking=options.thinking,
        image_tokens=options.image_tokens,
        max_tokens=options.max_tokens,
        temperature=temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        seed=None if temperature == 0 else _seed(options.seed, row, span),
    )


def clock(seconds: float) -> str:
    """Whole seconds from a medium's start as `mm:ss`, from an hour on as `h:mm:ss`."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m:02}:{s:02}"


def one_line(text: str) -> str:
    """The words of a text, with single spaces between them."""
    return " ".join(text.split())


def _seed(seed: int, row: Row, span: Span) -> int:
    # Of the row and not of its number, so that a row's answer does not change when
    # rows before it are taken out; of the span, so that windows differ.
    mixed = f"{seed}\0{row.id}\0{span.media_index}\0{span.start}".encode()
    return int.from_bytes(hashlib.sha256(mixed).digest()[:4], "big") >> 1
