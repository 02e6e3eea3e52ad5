"""What all tasks share when they ask: the options' say, sampling and its seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from jobs.pieces import TOKEN_PIXELS, Piece, Span
from jobs.tasks.base import IMAGE_BUDGETS, Answer, Cost, Prompt, Row, TaskOptions
from storage.errors import RowError

#: What `auto` is taken for where no image was seen yet.
USUAL_TOKENS = 280
#: Soft tokens of one video frame, fixed by the model's processor, with its timestamp.
FRAME_TOKENS = 78
#: Soft tokens of a second of sound.
SOUND_TOKENS = 25


T = TypeVar("T")


def ask(
    text: str,
    row: Row,
    piece: Piece,
    options: TaskOptions,
    *,
    greedy: bool,
    json_schema: Mapping[str, Any] | None = None,
    tools: tuple[Mapping[str, Any], ...] = (),
) -> Prompt:
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
        image_tokens=_budget(options, piece),
        max_tokens=options.max_tokens,
        temperature=temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        seed=None if temperature == 0 else _seed(options.seed, row, piece.span),
        json_schema=json_schema,
        tools=tools,
        raw=options.prompt_format == "raw",
    )


def planned_tokens(options: TaskOptions) -> int:
    """Soft tokens of an image of unknown size, for planning."""
    return USUAL_TOKENS if options.image_tokens == "auto" else options.image_tokens


def media_cost(options: TaskOptions, request_tokens: int) -> Cost:
    """What a row costs whose media are decoded as tasks usually have them.

    Sound is counted whether or not the model hears: a third at most, and safe.
    """
    return Cost(
        request_tokens=request_tokens,
        image_tokens=planned_tokens(options),
        second_tokens=FRAME_TOKENS * options.fps + SOUND_TOKENS,
        part=options.part,
    )


def given(value: T | None, name: str) -> T:
    """An option that a row must have. Raises RowError("invalid_row") if it has none."""
    if not value or (isinstance(value, str) and not value.strip()):
        raise RowError("invalid_row", f"this row has no {name}, which the task needs")
    return value


def told(answers: Sequence[Answer], what: str, asked: str) -> str:
    """What the answers say together: of several, a line each with where in which medium.

    Raises RowError("unparsable") if they say nothing; `what` they should be and how they
    were `asked` for stand in its message.
    """
    if not any(answer.text.strip() for answer in answers):
        raise RowError(
            "unparsable", f"the model gave no {what}; raise max_tokens or change the {asked}"
        )
    if len(answers) == 1:
        return answers[0].text.strip()
    several = len({answer.span.media_index for answer in answers}) > 1
    return "\n".join(_line(answer, several) for answer in answers)


def clock(seconds: float) -> str:
    """Whole seconds from a medium's start as `mm:ss`, from an hour on as `h:mm:ss`."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m:02}:{s:02}"


def one_line(text: str) -> str:
    """The words of a text, with single spaces between them."""
    return " ".join(text.split())


def _line(answer: Answer, several: bool) -> str:
    """`[mm:ss-mm:ss] text` or `[page n] text`, the medium's number first if there are several."""
    span = answer.span
    parts = [f"#{span.media_index + 1}"] if several else []
    if span.start_s is not None and span.end_s is not None:
        parts.append(f"{clock(span.start_s)}-{clock(span.end_s)}")
    elif span.page is not None:
        last = span.end - 1
        parts.append(f"page {span.page}" if last == span.page else f"pages {span.page}-{last}")
    where = f"[{' '.join(parts)}] " if parts else ""
    return where + one_line(answer.text)


def _budget(options: TaskOptions, piece: Piece) -> int:
    """Soft tokens an image: of `auto`, the fewest at which it is not made smaller.

    More would blow it up and say nothing new.
    """
    if options.image_tokens != "auto":
        return options.image_tokens
    pixels = piece.span.width * piece.span.height
    if len(piece.images) > 1 or (piece.images and not pixels):
        pixels = max(image.shape[0] * image.shape[1] for image in piece.images)
    enough = next((b for b in IMAGE_BUDGETS if b * TOKEN_PIXELS >= pixels), IMAGE_BUDGETS[-1])
    return min(enough, options.most_image_tokens)


def _seed(seed: int, row: Row, span: Span) -> int:
    # Of the row and not of its number, so that a row's answer does not change when
    # rows before it are taken out; of the span, so that windows differ.
    mixed = f"{seed}\0{row.id}\0{span.media_index}\0{span.start}".encode()
    return int.from_bytes(hashlib.sha256(mixed).digest()[:4], "big") >> 1
