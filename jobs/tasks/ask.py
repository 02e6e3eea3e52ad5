"""Ask a question of the user's own about media."""

from __future__ import annotations

from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import given, media_cost
from jobs.tasks.base import Cost, Row
from jobs.tasks.telling import Telling, TellingOptions, telling


class AskOptions(TellingOptions):
    """Options of `ask`."""

    question: str | None = Field(None, description="what to ask; may differ by row")


class Ask(Telling):
    """The answer to a question about images, a video, sounds, or several of them together.

    Up to ten minutes of sound are heard in one request, as far as the model's context
    holds them; longer media are asked about in windows, and once more over the answers.
    """

    name = "ask"
    summary = "the answer to a question about media"
    kinds = frozenset({"image", "video", "audio"})
    Options = AskOptions
    required = ("question",)
    column = "answer"
    columns = telling("answer")

    def cost(self, options: AskOptions) -> Cost:
        """Question and answer of some 60 tokens each."""
        return media_cost(options, 120)

    def question(self, row: Row, piece: Piece, options: AskOptions) -> str:
        """The question as it is."""
        return given(options.question, "question")
