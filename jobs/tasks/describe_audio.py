"""Describe in words what is heard."""

from __future__ import annotations

from dataclasses import replace

from jobs.pieces import Piece, Reading
from jobs.tasks.asking import SOUND_TOKENS
from jobs.tasks.base import Cost, Row
from jobs.tasks.telling import Telling, TellingOptions, telling

PROMPT = "Describe this audio in detail: who speaks, about what and how, and what else is heard."


class DescribeAudio(Telling):
    """A description of a recording or a video's sound track.

    Up to ten minutes are heard in one request, as far as the model's context holds them.
    Gemma 4 was trained on speech: it is given what voices say, and knows little of music.
    """

    name = "describe-audio"
    summary = "a description of what is heard"
    kinds = frozenset({"audio", "video"})
    needs = frozenset({"audio"})
    column = "description"
    columns = telling("description")

    def reading(self, options: TellingOptions, abilities: frozenset[str]) -> Reading:
        """Speech windows of the sound track; frames are not decoded."""
        return replace(super().reading(options, abilities), video="sound")

    def cost(self, options: TellingOptions) -> Cost:
        """Some 40 tokens of prompt and 160 of answer."""
        return Cost(
            request_tokens=200,
            second_tokens=SOUND_TOKENS,
            default_seconds=60.0,
            part=options.part,
        )

    def question(self, row: Row, piece: Piece, options: TellingOptions) -> str:
        """The same of every piece."""
        return PROMPT
