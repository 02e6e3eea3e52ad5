"""What tasks share that ask where things are: how media are decoded, and what answers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pyarrow as pa

from jobs.pieces import Reading
from jobs.tasks.asking import planned_tokens
from jobs.tasks.base import Answer, Cost, Task, TaskOptions
from jobs.tasks.boxes import Boxes, read_boxes
from storage.errors import RowError

#: A thing that was found: `box` is in pixels of the original, `box_1000` [y0, x0, y1, x1] on
#: the model's grid.
OBJECT = pa.struct(
    [
        ("label", pa.string()),
        ("box", pa.struct([(name, pa.float64()) for name in ("x0", "y0", "x1", "y1")])),
        ("box_1000", pa.list_(pa.int32())),
        ("media_index", pa.int32()),
        ("time_s", pa.float64()),
    ]
)


class Locating(Task):
    """A task about images, and about frames of video as images: as clips they would get 70
    tokens each."""

    kinds = frozenset({"image", "video"})
    #: Tokens of one request beside its image: question and answer.
    request_tokens: ClassVar[int]

    def reading(self, options: TaskOptions, abilities: frozenset[str]) -> Reading:
        """Each sampled frame of a video is an image."""
        return replace(super().reading(options, abilities), video="frames", sound=False)

    def cost(self, options: TaskOptions) -> Cost:
        """A video costs an image a sampled frame."""
        image = planned_tokens(options)
        return Cost(
            request_tokens=self.request_tokens,
            image_tokens=image,
            second_tokens=options.fps * (image + self.request_tokens),
            part=options.part,
        )


def located(answers: Sequence[Answer]) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The things of every answer that could be read, and warnings; RowError if none could."""
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
        if boxes.cut and answer.finish_reason == "stop" and not warnings:
            warnings.append("truncated_list")
    if answers and unread == len(answers):
        raise RowError("unparsable", _complaint(answers[0]))
    counts = {
        "malformed_boxes": malformed,
        "clipped_boxes": clipped,
        "unparsable_answers": unread,
    }
    warnings += [f"{name}:{count}" for name, count in counts.items() if count]
    return objects, tuple(warnings)


def _boxes(answer: Answer) -> Boxes | None:
    boxes = read_boxes(answer.text)
    if boxes is not None and boxes.cut and answer.finish_reason == "stop":
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


def _complaint(answer: Answer) -> str:
    text = answer.text.strip()
    shown = repr(text[:80] + "…" if len(text) > 80 else text)
    return f"no boxes in the answer {shown}; column raw has it whole, other labels may help"
