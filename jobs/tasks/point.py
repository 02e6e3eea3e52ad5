"""Point at one named thing: its box and the box's centre."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece, Reading
from jobs.tasks.asking import ask, given, planned_tokens
from jobs.tasks.base import Answer, Cost, Parsed, Prompt, Row, Task, TaskOptions
from jobs.tasks.located import BOX, located

#: Google's wording for elements of a screen and for pointing.
PROMPT = 'What\'s the bounding box for the "{element}" element in the image?'

_POINT = pa.struct(
    [
        ("label", pa.string()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("box", BOX),
        ("box_1000", pa.list_(pa.int32())),
        ("media_index", pa.int32()),
        ("time_s", pa.float64()),
    ]
)


class PointOptions(TaskOptions):
    """Options of `point`."""

    max_tokens: int = Field(256, ge=1, le=32768, description="longest answer, in tokens")
    element: str | None = Field(None, description="what to point at: a button's text, a thing")


class Point(Task):
    """Where one named thing is, in pixels of the original; of a video, in each sampled frame.

    A point is the centre of the box that the model gives; several if it sees several.
    """

    name = "point"
    summary = "where one named thing is: a point and its box"
    kinds = frozenset({"image", "video"})
    Options = PointOptions
    required = ("element",)
    columns = (pa.field("points", pa.list_(_POINT)),)

    def reading(self, options: PointOptions, abilities: frozenset[str]) -> Reading:
        """Images, and frames of video as images."""
        return Reading(kinds=self.kinds, video="frames", sound=False, fps=options.fps)

    def cost(self, options: PointOptions) -> Cost:
        """One box an image; a video costs an image a sampled frame."""
        image = planned_tokens(options)
        return Cost(request_tokens=70, image_tokens=image, second_tokens=options.fps * (image + 70))

    def prompt(self, row: Row, piece: Piece, options: PointOptions) -> Prompt:
        """Ask greedily for the element of the row."""
        element = given(options.element, "element").strip()
        return ask(PROMPT.format(element=element), row, piece, options, greedy=True)

    def parse(self, row: Row, answers: Sequence[Answer], options: PointOptions) -> Parsed:
        """Centres of the boxes in the answers; raises RowError if none could be read."""
        objects, warnings = located(answers)
        points = [
            {
                **thing,
                "x": (thing["box"]["x0"] + thing["box"]["x1"]) / 2,
                "y": (thing["box"]["y0"] + thing["box"]["y1"]) / 2,
            }
            for thing in objects
        ]
        return Parsed(
            text="\n".join(answer.text.strip() for answer in answers),
            columns={"points": points},
            warnings=warnings,
        )
