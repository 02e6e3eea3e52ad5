"""What tasks share whose answer is text: one for each row, however long its media are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from jobs.pieces import WHOLE, Piece, Span
from jobs.tasks.asking import ask, told
from jobs.tasks.base import Answer, Parsed, Prompt, Row, Task, TaskOptions
from jobs.tasks.listening import NO_SPEECH, segments

#: Asked over the answers about parts that no one request could hold.
CONCLUSION = (
    "{question}\n\nThis was asked about each part, one after the other, and answered:\n"
    "{answers}\n\n"
    "Give one answer for the whole."
)


class TellingOptions(TaskOptions):
    """Options of tasks whose answer is text."""

    summary: bool = Field(
        True,
        description="of media too long for one request: ask for one answer from those of the parts",
    )


class Telling(Task):
    """A task whose answer is text: one over all of a row's media.

    Media too long for one request are asked about in windows; `segments` has the answer of
    each, and one more request makes the row's answer of them. With `summary=false` it is
    their lines, `[mm:ss-mm:ss] text`. Of a sound in which nobody speaks it is empty.
    """

    together = True
    Options: ClassVar[type[TellingOptions]] = TellingOptions
    #: The column of the answer.
    column: ClassVar[str]

    @abstractmethod
    def question(self, row: Row, piece: Piece, options: Any) -> str:
        """What is asked about this piece, which is empty where it stands for all of a row."""

    def prompt(self, row: Row, piece: Piece, options: Any) -> Prompt:
        """The question in the checkpoint's own sampling."""
        return ask(self.question(row, piece, options), row, piece, options, greedy=False)

    def conclude(self, row: Row, answers: Sequence[Answer], options: Any) -> Prompt | None:
        """The question once more, with the answers about the parts."""
        if not options.summary:
            return None
        timed = answers[0].span
        whole = Piece(Span(WHOLE, 0, 1, timed.start_s, timed.end_s))
        question = options.prompt or self.question(row, whole, options)
        text = CONCLUSION.format(question=question, answers=told(answers, self.column, "prompt"))
        return ask(text, row, whole, options.model_copy(update={"prompt": None}), greedy=False)

    def parse(self, row: Row, answers: Sequence[Answer], options: Any) -> Parsed:
        """The answer over all, or a line for each window."""
        parts = [answer for answer in answers if not answer.concludes]
        over_all = [answer for answer in answers if answer.concludes]
        said = told(over_all or parts, self.column, "prompt") if answers else ""
        found = [
            {"start_s": part.span.start_s, "end_s": part.span.end_s, "text": part.text.strip()}
            for part in parts
            if part.span.start_s is not None
        ]
        warnings = () if answers else (NO_SPEECH,)
        return Parsed(said, {self.column: said, "segments": found}, warnings)


def telling(column: str) -> tuple[pa.Field, ...]:
    """The columns of a task whose answer goes into `column`."""
    return pa.field(column, pa.string()), segments("text")
