"""Write down speech, with the times at which it was said."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field, field_validator

from jobs.pieces import Piece, Reading
from jobs.tasks.asking import NO_SPEECH, SOUND_TOKENS, ask, one_line
from jobs.tasks.base import Answer, Cost, Parsed, Prompt, Row, Task, TaskOptions
from jobs.tasks.languages import language_name

_FORMAT = (
    "Follow these specific instructions for formatting the answer:\n"
    "* Only output the transcription, with no newlines.\n"
    "* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven,"
    " and write 3 instead of three."
)
#: Google's prompts for speech, word for word.
PROMPT = "Transcribe the following speech segment in {language} into {language} text.\n\n" + _FORMAT
ORIGINAL_LANGUAGE_PROMPT = (
    "Transcribe the following speech segment in its original language. " + _FORMAT
)


class TranscribeOptions(TaskOptions):
    """Options of `transcribe`."""

    language: str | None = Field(
        None, description="of the speech: a name or BCP-47 code; none: whatever is spoken"
    )

    @field_validator("language")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is None or not value.strip():
            return None
        language_name(value)
        return value.strip()


class Transcribe(Task):
    """What is said in a recording or a video's sound track, in segments with times.

    Sound is cut on pauses into windows of at most 30 s; each window is a segment.
    """

    name = "transcribe"
    summary = "what is said, in segments with times"
    kinds = frozenset({"audio", "video"})
    needs = frozenset({"audio"})
    Options = TranscribeOptions
    columns = (
        pa.field(
            "segments",
            pa.list_(
                pa.struct(
                    [("start_s", pa.float64()), ("end_s", pa.float64()), ("text", pa.string())]
                )
            ),
        ),
        pa.field("language", pa.string()),
    )

    def reading(self, options: TranscribeOptions, abilities: frozenset[str]) -> Reading:
        """Speech windows of the sound track; frames are not decoded."""
        return Reading(kinds=self.kinds, video="sound")

    def cost(self, options: TranscribeOptions) -> Cost:
        """About 80 tokens of prompt and, for 30 s of speech, 100 of answer."""
        return Cost(request_tokens=180, second_tokens=SOUND_TOKENS, default_seconds=60.0)

    def prompt(self, row: Row, piece: Piece, options: TranscribeOptions) -> Prompt:
        """Ask greedily, in the language given."""
        if options.language is None:
            text = ORIGINAL_LANGUAGE_PROMPT
        else:
            text = PROMPT.format(language=language_name(options.language))
        return ask(text, row, piece, options, greedy=True)

    def parse(self, row: Row, answers: Sequence[Answer], options: TranscribeOptions) -> Parsed:
        """A segment for each window with words.

        Where nobody speaks the model is not asked: no segments, no text, and a warning.
        """
        segments = []
        for answer in answers:
            text = one_line(answer.text)
            if text:
                start, end = answer.span.start_s, answer.span.end_s
                segments.append({"start_s": start, "end_s": end, "text": text})
        return Parsed(
            text=" ".join(str(segment["text"]) for segment in segments),
            columns={"segments": segments, "language": options.language},
            warnings=() if answers else (NO_SPEECH,),
        )
