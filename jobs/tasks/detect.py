"""Find objects in images and in the frames of videos, as labelled boxes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import Field, field_validator

from jobs.pieces import Piece, Reading
from jobs.tasks.asking import ask
from jobs.tasks.base import Answer, Cost, Parsed, Prompt, Row, Task, TaskOptions
from jobs.tasks.boxes import Boxes, read_boxes
from storage.errors import RowError

#: Google's form, `detect person and car, output only ```json`; without labels the model
#: chooses what is worth a box.
PROMPT = "detect {what}, output only ```json"
ANYTHING = "all prominent objects"

_CORNER = pa.float64()
_OBJECT = pa.struct(
    [
        ("label", pa.string()),
        ("box", pa.struct([(name, _CORNER) for name in ("x0", "y0", "x1", "y1")])),
        ("box_1000", pa.list_(pa.int32())),
        ("media_index", pa.int32()),
        ("time_s", pa.float64()),
    ]
)


class DetectOptions(TaskOptions):
    """Options of `detect`.

    Images keep the model's default budget of 280 soft tokens, which Google's own
    detection examples use; raise it where small objects matter.
    """

    # About 35 tokens an object: enough for some 30 of them.
    max_tokens: int = Field(1024, ge=1, le=32768, description="longest answer, in tokens")
    labels: tuple[str, ...] = Field(
        (), description="what to look for, separated by commas; none: all prominent objects"
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if value is None:
            return ()
        if isinstance(value, str):
            # A manifest's column of lists reaches a row as JSON text.
            value = json.loads(value) if value.lstrip().startswith("[") else value.split(",")
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise ValueError("labels are words separated by commas, or a list of words")
        return tuple(label.strip() for label in value if label.strip())


class Detect(Task):
    """Labelled boxes in pixels of the original; of a video, in each sampled frame."""

    name = "detect"
    summary = "objects as labelled boxes, in images and in frames of videos"
    kinds = frozenset({"image", "video"})
    Options = DetectOptions
    columns = (pa.field("objects", pa.list_(_OBJECT)),)

    def reading(self, options: DetectOptions, abilities: frozenset[str]) -> Reading:
        """Images, and frames of video as images: as clips they would get 70 tokens each."""
        return Reading(kinds=self.kinds, video="frames", sound=False, fps=options.fps)

    def cost(self, options: DetectOptions) -> Cost:
        """Ten objects an image; a video costs an image a sampled frame."""
        return Cost(
            request_tokens=370,
            image_tokens=options.image_tokens,
            second_tokens=options.fps * (options.image_tokens + 370),
        )

    def prompt(self, row: Row, piece: Piece, options: DetectOptions) -> Prompt:
        """Ask greedily, for the labels given."""
        what = _spoken(options.labels) if options.labels else ANYTHING
        return ask(PROMPT.format(what=what), row, piece.span, options, greedy=True)

    def parse(self, row: Row, answers: Sequence[Answer], options: DetectOptions) -> Parsed:
        """Boxes of every answer that could be read; raises RowError if none could."""
        objects: list[dict[str, Any]] = []
        warnings: list[str] = []
        malformed = clipped = unread = 0
        for answer in answers:
            boxes = _boxes(answer)
            if boxes is None:
                unread += 1
                continue
            objects += _objects(boxes, answer)
            malformed += boxes.malformed
            clipped += boxes.clipped
            if boxes.cut and answer.finish_reason != "length" and not warnings:
                warnings.append("truncated_list")
        if answers and unread == len(answers):
            raise RowError("unparsable", _complaint(answers[0]))
        counts = {
            "malformed_boxes": malformed,
            "clipped_boxes": clipped,
            "unparsable_answers": unread,
        }
        warnings += [f"{name}:{count}" for name, count in counts.items() if count]
        return Parsed(
            text="\n".join(answer.text.strip() for answer in answers),
            columns={"objects": objects},
            warnings=tuple(warnings),
        )


def _boxes(answer: Answer) -> Boxes | None:
    boxes = read_boxes(answer.text)
    if boxes is not None and boxes.cut and answer.finish_reason != "length":
        # An open bracket in prose looks like a list cut off; with no whole box in it,
        # nothing shows that it was one.
        return boxes if boxes.found else None
    return boxes


def _objects(boxes: Boxes, answer: Answer) -> list[dict[str, Any]]:
    span = answer.span
    return [
        {
            "label": box.label,
            "box": box.pixels(span.width, span.height),
            "box_1000": [box.y0, box.x0, box.y1, box.x1],
            "media_index": span.media_index,
            "time_s": span.start_s,
        }
        for box in boxes.found
    ]


def _spoken(labels: Sequence[str]) -> str:
    """`person`, `person and cat`, `person, cat and dog`."""
    *first, last = labels
    return f"{', '.join(first)} and {last}" if first else last


def _complaint(answer: Answer) -> str:
    text = answer.text.strip()
    shown = repr(text[:80] + "…" if len(text) > 80 else text)
    return f"no boxes in the answer {shown}; column raw has it whole, other labels may help"
