"""Write down speech and put it into another language, with times."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import ask, one_line
from jobs.tasks.base import Answer, Parsed, Prompt, Row
from jobs.tasks.languages import Language, MaybeLanguage, language_name
from jobs.tasks.listening import NO_SPEECH, Listening, ListeningOptions, said_once, segments

#: Google's prompt for speech translation, word for word.
PROMPT = (
    "Transcribe the following speech segment in {source}, then translate it into {target}.\n"
    "When formatting the answer, first output the transcription in {source}, then one newline,"
    " then output the string '{target}: ', then the translation in {target}."
)
#: In place of a language that nobody named.
ORIGINAL = "its original language"


class TranslateSpeechOptions(ListeningOptions):
    """Options of `translate-speech`."""

    language: MaybeLanguage = Field(
        None, description="of the speech: a name or BCP-47 code; none: whatever is spoken"
    )
    target: Language = Field("English", description="language to translate into")


class TranslateSpeech(Listening):
    """What is said, and the same in another language, segment by segment with times."""

    name = "translate-speech"
    summary = "speech in another language, in segments with times"
    prompt_tokens = 60
    answer_tokens = 7.0
    Options = TranslateSpeechOptions
    columns = (
        segments("text", "translation"),
        pa.field("language", pa.string()),
        pa.field("target", pa.string()),
    )

    def prompt(self, row: Row, piece: Piece, options: TranslateSpeechOptions) -> Prompt:
        """Ask greedily for both texts."""
        source = ORIGINAL if options.language is None else language_name(options.language)
        text = PROMPT.format(source=source, target=language_name(options.target))
        return ask(text, row, piece, options, greedy=True)

    def parse(self, row: Row, answers: Sequence[Answer], options: TranslateSpeechOptions) -> Parsed:
        """`text` is the translation; a window whose answer has none is warned of."""
        target = language_name(options.target)
        spans = [answer.span for answer in answers]
        both = [_both(answer.text, target) for answer in answers]
        texts = said_once([text for text, _ in both], spans)
        # What has none is no text at which its neighbours could be parted.
        translations = said_once([translation or "" for _, translation in both], spans)
        found = []
        missing = 0
        for answer, text, said, (_, given) in zip(answers, texts, translations, both, strict=True):
            translation = None if given is None else said
            if not text and not translation:
                continue
            missing += translation is None
            found.append(
                {
                    "start_s": answer.span.start_s,
                    "end_s": answer.span.end_s,
                    "text": text,
                    "translation": translation,
                }
            )
        warnings = [] if answers else [NO_SPEECH]
        if missing:
            warnings.append(f"no_translation:{missing}")
        return Parsed(
            text=" ".join(str(s["translation"]) for s in found if s["translation"]),
            columns={
                "segments": found,
                "language": options.language,
                "target": options.target,
            },
            warnings=tuple(warnings),
        )


def _both(text: str, target: str) -> tuple[str, str | None]:
    """What was said and its translation, which follows its language's name and a colon.

    The last line that begins so counts: what was said may hold the name as well.
    """
    lines = text.strip().splitlines()
    mark = f"{target}:".casefold()
    starts = [i for i, line in enumerate(lines) if line.strip().casefold().startswith(mark)]
    if not starts:
        return one_line(text), None
    at = starts[-1]
    rest = lines[at].strip()[len(mark) :]
    return one_line(" ".join(lines[:at])), one_line(" ".join([rest, *lines[at + 1 :]])) or None
