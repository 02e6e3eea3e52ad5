"""Transcripts: Google's prompts word for word, and segments with their windows' times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.pieces import Piece, Span
from jobs.tasks.base import Answer, Parsed, Row
from jobs.tasks.languages import NAMES, language_name
from jobs.tasks.listening import said_once
from jobs.tasks.transcribe import Transcribe, TranscribeOptions
from jobs.tasks.translate_speech import TranslateSpeech, TranslateSpeechOptions

ROW = Row("r", ("a.wav",))
PIECE = Piece(Span(0, 0, 16_000, 0.0, 1.0), sounds=(np.zeros(16_000, np.float32),))
FORMAT = (
    "Follow these specific instructions for formatting the answer:\n"
    "* Only output the transcription, with no newlines.\n"
    "* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, "
    "and write 3 instead of three."
)


def parse(*windows: tuple[float, float, str], language: str | None = None) -> Parsed:
    answers = [
        Answer(Span(0, int(a * 16e3), int(b * 16e3), a, b), text, text, "stop")
        for a, b, text in windows
    ]
    return Transcribe().parse(ROW, answers, TranscribeOptions(language=language))


def test_the_prompt_is_googles_word_for_word() -> None:
    asked = Transcribe().prompt(ROW, PIECE, TranscribeOptions(language="en"))
    assert asked.text == (
        "Transcribe the following speech segment in English into English text.\n\n" + FORMAT
    )
    assert asked.temperature == 0.0
    asked = Transcribe().prompt(ROW, PIECE, TranscribeOptions())
    assert asked.text == (
        "Transcribe the following speech segment in its original language. " + FORMAT
    )


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("en", "English"),
        ("EN", "English"),
        ("pt-BR", "Portuguese"),
        ("zh_Hant", "Chinese"),
        ("cmn", "Mandarin Chinese"),
        ("English", "English"),
        ("Swiss German", "Swiss German"),
        ("Lao", "Lao"),
        (" de ", "German"),
    ],
)
def test_languages_go_by_code_or_name(asked: str, name: str) -> None:
    assert language_name(asked) == name


@pytest.mark.parametrize("asked", ["xx", "xx-YY", "qq_1"])
def test_an_unknown_code_is_refused(asked: str) -> None:
    with pytest.raises(ValidationError, match="unknown language"):
        TranscribeOptions(language=asked)


def test_the_table_of_languages_holds_each_code_once() -> None:
    assert len(NAMES) > 100
    assert NAMES["zu"] == "Zulu"
    assert all(code.islower() and name[0].isupper() for code, name in NAMES.items())


def test_windows_become_segments_and_their_words_one_text() -> None:
    parsed = parse((0.5, 9.25, "Good\nmorning. "), (11.0, 20.0, " "), (21.0, 30.0, "Bye."))
    assert parsed.text == "Good morning. Bye."
    assert parsed.columns["segments"] == [
        {"start_s": 0.5, "end_s": 9.25, "text": "Good morning."},
        {"start_s": 21.0, "end_s": 30.0, "text": "Bye."},
    ]
    assert parsed.columns["language"] is None
    column = Transcribe.columns[0]
    pa.array([parsed.columns["segments"]], type=column.type).validate(full=True)


def test_no_speech_is_an_empty_transcript() -> None:
    parsed = parse(language="de")
    assert (parsed.text, parsed.columns) == ("", {"segments": [], "language": "de"})


def test_only_the_sound_track_of_a_video_is_decoded() -> None:
    reading = Transcribe().reading(TranscribeOptions(), frozenset({"audio"}))
    assert (reading.video, reading.kinds) == ("sound", {"audio", "video"})
    assert Transcribe.needs == {"audio"}


def test_segments_are_fifteen_seconds_unless_told_otherwise() -> None:
    def longest(**options: Any) -> float:
        chosen = TranscribeOptions(**options)
        return Transcribe().reading(chosen, frozenset({"audio"})).window_s

    assert longest() == 15.0
    assert longest(max_segment_s=30) == 30.0
    with pytest.raises(ValidationError, match="less than or equal to 30"):
        longest(max_segment_s=31)
    # The prompt is paid for each of them.
    usual = Transcribe().cost(TranscribeOptions())
    longer = Transcribe().cost(TranscribeOptions(max_segment_s=30))
    assert usual.request_tokens == 2 * longer.request_tokens
    assert usual.second_tokens == longer.second_tokens


@pytest.mark.parametrize(
    ("one", "other", "parted"),
    [
        # The whole of what both heard, whatever its case and marks.
        ("at the old bridge behind the", "Bridge behind the mill.",
         ("at the old", "Bridge behind the mill.")),
        # Half a word at either edge.
        ("at the old bridge behi", "bridge behind the mill",
         ("at the old", "bridge behind the mill")),
        ("at the old bridge behind the mi", "itch behind the mill",
         ("at the old bridge", "behind the mill")),
        # Nothing in common, or only in the middle: nothing is lost.
        ("at the old bridge", "behind the mill", ("at the old bridge", "behind the mill")),
        ("the mill and the old bridge", "we saw the mill",
         ("the mill and the old bridge", "we saw the mill")),
        ("…", "… and", ("…", "… and")),
        ("", "and", ("", "and")),
        # Scripts without spaces.
        ("今日は天気がいい", "がいいですね", ("今日は天気", "がいいですね")),
    ],
)  # fmt: skip
def test_words_that_two_windows_heard_are_said_once(
    one: str, other: str, parted: tuple[str, str]
) -> None:
    adjoining = [Span(0, 0, 100), Span(0, 100, 200)]
    assert said_once([one, other], adjoining) == list(parted)
    apart = [Span(0, 0, 100), Span(0, 101, 200)]
    assert said_once([one, other], apart) == [one, other]
    other_medium = [Span(0, 0, 100), Span(1, 100, 200)]
    assert said_once([one, other], other_medium) == [one, other]


@given(st.text("ab c", max_size=30), st.text("ab c", max_size=30))
def test_what_parting_takes_away_is_said_by_the_other(one: str, other: str) -> None:
    first, second = said_once([one, other], [Span(0, 0, 1), Span(0, 1, 2)])
    assert one.startswith(first)
    assert other.endswith(second)
    # All but half a word on either side.
    gone = one[len(first) :].split()
    assert (
        second.split()[: max(len(gone) - 1, 0)] == gone[:-1] or second.split()[: len(gone)] == gone
    )
    assert len(other.split()) - len(second.split()) <= 1


def test_segments_that_adjoin_say_their_words_once() -> None:
    spans = [Span(0, 0, 160_000, 0.0, 10.0), Span(0, 160_000, 300_000, 10.0, 18.75)]
    answers = [
        Answer(spans[0], "We met at the old bridge", "", "stop"),
        Answer(spans[1], "bridge behind the mill", "", "stop"),
    ]
    parsed = Transcribe().parse(Row("r", ("a.wav",)), answers, TranscribeOptions())
    assert parsed.text == "We met at the old bridge behind the mill"
    assert [s["text"] for s in parsed.columns["segments"]] == [
        "We met at the old",
        "bridge behind the mill",
    ]


def test_translations_that_adjoin_are_said_once_too() -> None:
    spans = [Span(0, 0, 160_000, 0.0, 10.0), Span(0, 160_000, 300_000, 10.0, 18.75)]
    said = [
        "Wir trafen uns an der Brücke\nEnglish: We met at the bridge",
        "der Brücke hinter der Mühle\nEnglish: the bridge behind the mill",
    ]
    answers = [Answer(span, text, "", "stop") for span, text in zip(spans, said, strict=True)]
    parsed = TranslateSpeech().parse(Row("r", ("a.wav",)), answers, TranslateSpeechOptions())
    assert parsed.text == "We met at the bridge behind the mill"
    assert [s["text"] for s in parsed.columns["segments"]] == [
        "Wir trafen uns an",
        "der Brücke hinter der Mühle",
    ]
