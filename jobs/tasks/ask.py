"""Ask a question of the user's own about media."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece, Reading
from jobs.tasks.asking import SOUND_TOKENS, ask, frame_tokens, given, planned_tokens, told
from jobs.tasks.base import Answer, Cost, Parsed, Prompt, Row, Task, TaskOptions
from storage.errors import RowError


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

    def reading(self, options: AskOptions, abilities: frozenset[str]) -> Reading:
        """Windows of frames, with sound if the model hears."""
        return Reading(kinds=self.kinds, video="clip", sound="audio" in abilities, fps=options.fps)

    def cost(self, options: AskOptions) -> Cost:
        """Question and answer of some 60 tokens each."""
        return Cost(
            request_tokens=120,
            image_tokens=planned_tokens(options),
            second_tokens=frame_tokens(options) + SOUND_TOKENS,
        )

    def prompt(self, row: Row, piece: Piece, options: AskOptions) -> Prompt:
        """The question as it is, in the checkpoint's own sampling."""
        return ask(given(options.question, "question"), row, piece, options, greedy=False)

    def parse(self, row: Row, answers: Sequence[Answer], options: AskOptions) -> Parsed:
        """One answer, or a line for each window."""
        if not any(answer.text.strip() for answer in answers):
            raise RowError(
                "unparsable", "the model gave no answer; raise max_tokens or change the question"
            )
        said = told(answers)
        return Parsed(text=said, columns={"answer": said})
