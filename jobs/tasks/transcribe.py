"""Write down speech, with the times at which it was said."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import ask, one_line
from jobs.tasks.base import Answer, Parsed, Prompt, Row
from jobs.tasks.languages import MaybeLanguage, language_name
from jobs.tasks.listening import NO_SPEECH, Listening, ListeningOptions, said_once, segments

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


class TranscribeOptions(ListeningOptions):
    """Options of `transcribe`."""

    language: MaybeLanguage = Field(
        None, description="of the speech: a name or BCP-47 code; none: whatever is spoken"
    )


class Transcribe(Listening):
    """What is said in a recording or a video's sound track, in segments with times.

    Sound is cut on pauses into segments of at most `max_segment_s` seconds.
    """

    name = "transcribe"
    summary = "what is said, in segments with times"
    prompt_tokens = 70
    answer_tokens = 3.7
    Options = TranscribeOptions
    columns = (
        segments("text"),
        pa.field("language", pa.string()),
    )

    def prompt(self, row: Row, piece: Piece, options: TranscribeOptions) -> Prompt:
        """Ask greedily, in the language given."""
        if options.language is None:
            text = ORIGINAL_LANGUAGE_PROMPT
        else:
            text = PROMPT.format(language=language_name(options.language))
        return ask(text, row, piece, options, greedy=True)

    def parse(self, row: Row, answers: Sequence[Answer], options: TranscribeOptions) -> Parsed:
        """A segment for each window with words."""
        spans = [answer.span for answer in answers]
        texts = said_once([one_line(answer.text) for answer in answers], spans)
        found = []
        for answer, text in zip(answers, texts, strict=True):
            if text:
                start, end = answer.span.start_s, answer.span.end_s
                found.append({"start_s": start, "end_s": end, "text": text})
        return Parsed(
            text=" ".join(str(segment["text"]) for segment in found),
            columns={"segments": found, "language": options.language},
            warnings=() if answers else (NO_SPEECH,),
        )
