"""Ask a question of the user's own about media."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import ask, given, media_cost, told
from jobs.tasks.base import Answer, Cost, Parsed, Prompt, Row, Task, TaskOptions


class AskOptions(TaskOptions):
    """Options of `ask`."""

    question: str | None = Field(None, description="what to ask; may differ by row")


class Ask(Task):
    """The answer to a question about an image, several images together, a video or a sound.

    A medium longer than one window is asked window by window, a line each.
    """

    name = "ask"
    summary = "the answer to a question about media"
    kinds = frozenset({"image", "video", "audio"})
    together = True
    Options = AskOptions
    required = ("question",)
    columns = (pa.field("answer", pa.string()),)

    def cost(self, options: AskOptions) -> Cost:
        """Question and answer of some 60 tokens each."""
        return media_cost(options, 120)

    def prompt(self, row: Row, piece: Piece, options: AskOptions) -> Prompt:
        """The question as it is, in the checkpoint's own sampling."""
        return ask(given(options.question, "question"), row, piece, options, greedy=False)

    def parse(self, row: Row, answers: Sequence[Answer], options: AskOptions) -> Parsed:
        """One answer, or a line for each window."""
        said = told(answers, "answer", "question")
        return Parsed(text=said, columns={"answer": said})
