"""What tasks share that put speech into words: windows of sound, and segments with times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from jobs.pieces import MAX_AUDIO_S, Reading, Span
from jobs.tasks.asking import SOUND_TOKENS
from jobs.tasks.base import Cost, Task, TaskOptions

#: A word, or a letter of those scripts that put no spaces between words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")
#: Seconds that two windows share where speech had no pause to cut it at: a long word, or
#: some short ones.
OVER_S = 1.0
#: So many words, at most, are said in that time.
_SHARED = 10
#: Words that may be half heard at a window's edge.
_HALF = 1
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
        return replace(usual, video="sound", window_s=options.max_segment_s, over_s=OVER_S)

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


def said_once(texts: Sequence[str], spans: Sequence[Span]) -> list[str]:
    """What was heard in windows, without words that two of them heard.

    Windows adjoin where speech had no pause to cut it at: the first of them is heard
    `OVER_S` longer, and what it says of that is left to the next one, which has it whole.
    """
    said = list(texts)
    for at in range(1, len(said)):
        before, after = spans[at - 1], spans[at]
        if before.media_index == after.media_index and before.end == after.start:
            said[at - 1], said[at] = _parted(said[at - 1], said[at])
    return said


def _parted(one: str, other: str) -> tuple[str, str]:
    """Two texts, cut where the end of the first is the beginning of the second.

    The first was heard for longer than both were together: something of it is left.
    """
    ends = list(_WORD.finditer(one))[1:][-_SHARED:]
    begins = list(_WORD.finditer(other))[:_SHARED]
    tail, head = ([_bare(word[0]) for word in words] for words in (ends, begins))
    for size in range(min(len(tail), len(head)), 0, -1):
        for half in range(min(_HALF, len(tail) - size) + 1):
            i = len(tail) - half - size
            for j in range(min(_HALF, len(head) - size) + 1):
                same = tail[i : i + size]
                if all(same) and same == head[j : j + size]:
                    return one[: ends[i].start()].rstrip(), other[begins[j].start() :]
    return one, other


def _bare(word: str) -> str:
    return "".join(filter(str.isalnum, word)).casefold()
