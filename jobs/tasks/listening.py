"""What tasks share that put speech into words: windows of sound, and segments with times."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa

from jobs.pieces import Reading
from jobs.tasks.asking import SOUND_TOKENS
from jobs.tasks.base import Cost, Task, TaskOptions

#: Warning of a sound in which voice detection found nobody.
NO_SPEECH = "no_speech"


class Listening(Task):
    """A task about the speech in recordings and sound tracks, cut on pauses into windows.

    Where nobody speaks the model is not asked: no segments, no text, and a warning.
    """

    kinds = frozenset({"audio", "video"})
    needs = frozenset({"audio"})
    verbatim = True
    #: Tokens of one request beside its sound: prompt and, for 30 s of speech, answer.
    request_tokens: ClassVar[int]

    def reading(self, options: TaskOptions, abilities: frozenset[str]) -> Reading:
        """Speech windows of the sound track; frames are not decoded."""
        return Reading(kinds=self.kinds, video="sound")

    def cost(self, options: TaskOptions) -> Cost:
        """A request for every window."""
        return Cost(
            request_tokens=self.request_tokens, second_tokens=SOUND_TOKENS, default_seconds=60.0
        )


def segments(*texts: str) -> pa.Field:
    """The column of segments: times in seconds, and text columns of these names."""
    times = [("start_s", pa.float64()), ("end_s", pa.float64())]
    return pa.field(
        "segments", pa.list_(pa.struct([*times, *((name, pa.string()) for name in texts)]))
    )
