"""Find objects in images and in the frames of videos, as labelled boxes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks import point
from jobs.tasks.asking import ask
from jobs.tasks.base import Answer, Parsed, Prompt, Row, TaskOptions
from jobs.tasks.located import OBJECT, Locating, located
from jobs.tasks.words import Words

#: Google's form, `detect person and car, output only ```json`; without labels the model
#: chooses what is worth a box.
PROMPT = "detect {what}, output only ```json"
ANYTHING = "all prominent objects"
ANY_ELEMENT = "all elements of the user interface"
#: As Google asks for one element of a screen, which is `point`'s question.
ELEMENTS_PROMPT = "What are the bounding boxes for the {what} elements in the image?"


class DetectOptions(TaskOptions):
    """Options of `detect`.

    Images keep the model's default budget of 280 soft tokens, which Google's own
    detection examples use; raise it where small objects matter.
    """

    # About 35 tokens an object: enough for some 30 of them.
    max_tokens: int = Field(1024, ge=1, le=32768, description="longest answer, in tokens")
    labels: Words = Field(
        (), description="what to look for, separated by commas; none: all prominent objects"
    )
    gui: bool = Field(
        False, description="images are screens: labels name elements, such as buttons by their text"
    )


class Detect(Locating):
    """Labelled boxes in pixels of the original; of a video, in each sampled frame."""

    name = "detect"
    summary = "objects as labelled boxes, in images and in frames of videos"
    # Ten objects an image.
    request_tokens = 370
    Options = DetectOptions
    columns = (pa.field("objects", pa.list_(OBJECT)),)

    def prompt(self, row: Row, piece: Piece, options: DetectOptions) -> Prompt:
        """Ask greedily, for the labels given."""
        return ask(_question(options), row, piece, options, greedy=True)

    def parse(self, row: Row, answers: Sequence[Answer], options: DetectOptions) -> Parsed:
        """Boxes of every answer that could be read; raises RowError if none could."""
        objects, warnings = located(answers)
        return Parsed(
            text="\n".join(answer.text.strip() for answer in answers),
            columns={"objects": objects},
            warnings=warnings,
        )


def _question(options: DetectOptions) -> str:
    if not options.labels:
        return PROMPT.format(what=ANY_ELEMENT if options.gui else ANYTHING)
    if not options.gui:
        return PROMPT.format(what=_spoken(options.labels))
    if len(options.labels) == 1:
        return point.PROMPT.format(element=options.labels[0])
    return ELEMENTS_PROMPT.format(what=_spoken([f'"{label}"' for label in options.labels]))


def _spoken(labels: Sequence[str]) -> str:
    """`person`, `person and cat`, `person, cat and dog`."""
    *first, last = labels
    return f"{', '.join(first)} and {last}" if first else last
