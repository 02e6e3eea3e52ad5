"""Point at one named thing: its box and the box's centre."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import ask, given
from jobs.tasks.base import Answer, Parsed, Prompt, Row, TaskOptions
from jobs.tasks.located import OBJECT, Locating, located

#: Google's wording for elements of a screen and for pointing.
PROMPT = 'What\'s the bounding box for the "{element}" element in the image?'

_label, *_place = OBJECT
_POINT = pa.struct([_label, ("x", pa.float64()), ("y", pa.float64()), *_place])


class PointOptions(TaskOptions):
    """Options of `point`."""

    max_tokens: int = Field(256, ge=1, le=32768, description="longest answer, in tokens")
    element: str | None = Field(None, description="what to point at: a button's text, a thing")


class Point(Locating):
    """Where one named thing is, in pixels of the original; of a video, in each sampled frame.

    A point is the centre of the box that the model gives; several if it sees several.
    """

    name = "point"
    summary = "where one named thing is: a point and its box"
    request_tokens = 70
    Options = PointOptions
    required = ("element",)
    columns = (pa.field("points", pa.list_(_POINT)),)

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
