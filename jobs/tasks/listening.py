"""What tasks share that put speech into words: windows of sound, and segments with times."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from jobs.pieces import MAX_AUDIO_S, Reading
from jobs.tasks.asking import SOUND_TOKENS
from jobs.tasks.base import Cost, Task, TaskOptions

#: Warning of a sound in which voice detection found nobody.
NO_SPEECH = "no_speech"


class ListeningOptions(TaskOptions):
    """Options of tasks about speech."""

    max_segment_s: float = Field(
        15.0, ge=2, le=MAX_AUDIO_S, description="longest segment, which is one request"
    )


class Listening(Task):
    """A task about the speech in recordings and sound tracks, cut on pauses into windows.

    Each window is a segment, of at most `max_segment_s` seconds, and one request. Where
    nobody speaks the model is not asked: no segments, no text, and a warning.
    """

    kinds = frozenset({"audio", "video"})
    needs = frozenset({"audio"})
    verbatim = True
    Options: ClassVar[type[ListeningOptions]] = ListeningOptions
    #: Tokens of a prompt, and of what answers a second of speech.
    prompt_tokens: ClassVar[int]
    answer_tokens: ClassVar[float]

    def reading(self, options: ListeningOptions, abilities: frozenset[str]) -> Reading:
        """Speech windows of the sound track; frames are not decoded."""
        usual = super().reading(options, abilities)
        return replace(usual, video="sound", window_s=options.max_segment_s)

    def cost(self, options: ListeningOptions) -> Cost:
        """A prompt for every segment: planning counts requests of 30 s."""
        return Cost(
            request_tokens=round(self.prompt_tokens * MAX_AUDIO_S / options.max_segment_s),
            second_tokens=SOUND_TOKENS + self.answer_tokens,
            default_seconds=60.0,
            part=options.part,
        )


def segments(*texts: str) -> pa.Field:
    """The column of segments: times in seconds, and text columns of these names."""
    times = [("start_s", pa.float64()), ("end_s", pa.float64())]
    return pa.field(
        "segments", pa.list_(pa.struct([*times, *((name, pa.string()) for name in texts)]))
    )
