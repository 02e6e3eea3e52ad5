"""Ask a question of the user's own about media."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from jobs.pieces import Piece, Reading
from jobs.tasks.asking import given, media_cost
from jobs.tasks.base import Answer, Cost, Parsed, Row
from jobs.tasks.documents import PAGES, DocumentOptions, by_page, on_paper
from jobs.tasks.telling import Telling, TellingOptions, telling


class AskOptions(TellingOptions, DocumentOptions):
    """Options of `ask`."""

    question: str | None = Field(None, description="what to ask; may differ by row")


class Ask(Telling):
    """The answer to a question about images, documents, a video, sounds, or several together.

    Up to ten minutes of sound are heard in one request, as far as the model's context
    holds them; longer media are asked about in windows, and once more over the answers.
    The pages of a document are seen together while they are as few as one request takes,
    else one by one: `pages` has the answer of each. `image_tokens=1120` reads small print.
    """

    name = "ask"
    summary = "the answer to a question about media"
    kinds = frozenset({"image", "document", "video", "audio"})
    Options = AskOptions
    required = ("question",)
    column = "answer"
    columns = (*telling("answer"), PAGES)

    def reading(self, options: AskOptions, abilities: frozenset[str]) -> Reading:
        """As usual, and pages as large as the budget is worth."""
        return on_paper(super().reading(options, abilities), options)

    def cost(self, options: AskOptions) -> Cost:
        """Question and answer of some 60 tokens each."""
        return media_cost(options, 120)

    def question(self, row: Row, piece: Piece, options: AskOptions) -> str:
        """The question as it is."""
        return given(options.question, "question")

    def parse(self, row: Row, answers: Sequence[Answer], options: AskOptions) -> Parsed:
        """The answer over all, or a line for each part; `pages` if they were asked one by one."""
        parsed = super().parse(row, answers, options)
        parts = [answer for answer in answers if not answer.concludes]
        pages = by_page((part, part.text.strip()) for part in parts) if len(parts) > 1 else None
        return replace(parsed, columns={**parsed.columns, "pages": pages})
