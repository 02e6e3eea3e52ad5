"""Cues: the words once and in order, in lines and times that can be read."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.exports.breaks import MAX_LINE, MAX_LINES
from jobs.exports.cues import MAX_MS, MIN_MS, Cue, make_cues

TIMES = st.floats(0, 600, allow_nan=False)


def segment(start: float, end: float, text: str) -> dict[str, Any]:
    return {"start_s": start, "end_s": end, "text": text}


def cues_of(*segments: dict[str, Any]) -> list[Cue]:
    cues = make_cues(segments)
    assert cues is not None
    return cues


def letters(*texts: str) -> str:
    """All that is shown, without the space that lines and cues may break at."""
    return "".join("".join(text.split()) for text in texts)


def check(cues: list[Cue], segments: list[dict[str, Any]]) -> None:
    """What holds for any segments."""
    shown = letters(*(line for cue in cues for line in cue.lines))
    assert shown == letters(*(s["text"] for s in segments))
    for cue in cues:
        assert 1 <= len(cue.lines) <= MAX_LINES
        assert all(line and line == line.strip() for line in cue.lines)
        assert all(len(line) <= MAX_LINE for line in cue.lines)
        assert 0 <= cue.start_ms < cue.end_ms <= cue.start_ms + MAX_MS
    assert all(a.end_ms <= b.start_ms for a, b in pairwise(cues))


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=300)


@given(st.lists(st.builds(segment, TIMES, TIMES, TEXTS), max_size=6))
def test_any_segments_whatever_their_times_and_text(segments: list[dict[str, Any]]) -> None:
    check(cues_of(*segments), segments)


WORDS = st.text("abcdefgh", min_size=1, max_size=12).flatmap(
    lambda word: st.sampled_from([word, word, word, word + ",", word + "."])
)


@st.composite
def speech(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Segments as transcribe makes them: in order, apart, and at most half a minute long."""
    at, segments = 0.0, []
    for words in draw(st.lists(st.lists(WORDS, min_size=1, max_size=90), min_size=1, max_size=4)):
        text = " ".join(words)
        at += draw(st.floats(0, 5))
        # From twice as fast as can be read to slower than anybody speaks.
        length = max(0.2, len(text) / draw(st.floats(4, 34)))
        segments.append(segment(at, at + length, text))
        at += length
    return segments


@given(speech())
def test_cues_of_speech_keep_to_what_subtitlers_keep_to(segments: list[dict[str, Any]]) -> None:
    cues = cues_of(*segments)
    check(cues, segments)
    for index, said in enumerate(segments):
        start, end = round(said["start_s"] * 1000), round(said["end_s"] * 1000)
        ours = [cue for cue in cues if start <= cue.start_ms < end]
        assert letters(*(line for cue in ours for line in cue.lines)) == letters(said["text"])
        assert ours[0].start_ms == start
        assert all(cue.split == (len(ours) > 1) for cue in ours)
        rate = (len(said["text"]) + 1) / (end - start)
        for cue in ours:
            duration = cue.end_ms - cue.start_ms
            if len(ours) == 1 and duration < MIN_MS:
                assert cue.end_ms == round(segments[index + 1]["start_s"] * 1000)
            if rate * 1000 <= 17:
                # A millisecond each for rounding where a cue begins and where it ends.
                assert len(" ".join(cue.lines)) <= 17 * (duration + 2) / 1000
                assert duration >= MIN_MS - 2 or len(ours) == 1
            assert cue.end_ms <= end or (len(ours) == 1 and duration <= MIN_MS)


def test_a_long_segment_is_cut_at_sentences_then_clauses_then_words() -> None:
    text = (
        "Nobody had told us of the silence in the valley. It lay over the houses and the "
        "gardens like snow, and when we spoke we did so in whispers that nobody else could "
        "hear. Dr. Smith alone had known."
    )
    cues = cues_of(segment(10, 24, text))
    assert [" ".join(cue.lines) for cue in cues] == [
        "Nobody had told us of the silence in the valley.",
        "It lay over the houses and the gardens like snow,",
        "and when we spoke we did so in whispers that nobody else could hear.",
        "Dr. Smith alone had known.",
    ]
    assert cues[1].lines == ("It lay over the houses", "and the gardens like snow,")
    assert (cues[0].start_ms, cues[-1].end_ms) == (10_000, 24_000)
    assert all(a.end_ms == b.start_ms for a, b in pairwise(cues))
    assert all(cue.split for cue in cues)
    # By characters, of which the first cue has a quarter.
    assert cues[0].end_ms - cues[0].start_ms == 14_000 * 49 // (len(text) + 1)
    unpunctuated = cues_of(segment(0, 9, " ".join(["word"] * 24)))
    assert [len(" ".join(cue.lines)) for cue in unpunctuated] == [59, 59]


def test_a_short_cue_lingers_where_nothing_else_is_said() -> None:
    alone, crowded, last = cues_of(
        segment(1, 1.2, "Yes."), segment(5, 5.1, "No."), segment(5.5, 5.9, "Why?")
    )
    assert (alone.start_ms, alone.end_ms) == (1000, 2000)
    assert (crowded.start_ms, crowded.end_ms) == (5000, 5500)
    assert (last.start_ms, last.end_ms) == (5500, 6500)
    assert not any(cue.split for cue in (alone, crowded, last))


def test_a_short_sentence_is_not_gone_before_it_is_read() -> None:
    # Each as long as may be said in seven seconds, so that the word goes with neither whole.
    long = "We went down to the old river, where boats of all sorts were kept."
    said = segment(0, 14, f"{long} No. {long}")
    cues = cues_of(said)
    check(cues, [said])
    assert min(cue.end_ms - cue.start_ms for cue in cues) >= MIN_MS


def test_a_cue_ends_where_the_next_segment_begins() -> None:
    first, second = cues_of(segment(0, 6, "One."), segment(5, 8, "Two."))
    assert (first.end_ms, second.start_ms) == (5000, 5000)


def test_few_words_in_a_long_segment_stay_for_seven_seconds() -> None:
    (cue,) = cues_of(segment(3, 33, "Hello there."))
    assert (cue.start_ms, cue.end_ms, cue.split) == (3000, 10_000, False)
    assert cue.to_json() == {"start_s": 3, "end_s": 10, "text": "Hello there.", "split": False}


def test_text_without_spaces_is_cut_too() -> None:
    text = "今日は天気がいいから散歩しましょう。" * 8
    cues = cues_of(segment(0, 28, text))
    check(cues, [segment(0, 28, text)])
    assert all(cue.lines[-1].endswith("。") for cue in cues)
    address = "https://example.org/" + "a" * 60 + "/index.html?q=1.25"
    assert len(cues_of(segment(0, 20, address))) > 1
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 20
    for cue in cues_of(segment(0, 20, family)):
        assert not any(line[0] == "\u200d" or line[-1] == "\u200d" for line in cue.lines)


def test_control_characters_are_no_words() -> None:
    assert cues_of(segment(0, 1, "\x00 \x1b\n"), segment(1, 2, "")) == []
    (cue,) = cues_of(segment(0, 2, " a\x00b\n\n\u2028c "))
    assert cue.lines == ("ab c",)


@pytest.mark.parametrize("time", [None, math.nan, math.inf])
def test_segments_without_times_make_no_cues(time: float | None) -> None:
    assert make_cues([{"start_s": 0.0, "end_s": time, "text": "a"}]) is None
    assert make_cues([{"start_s": time, "end_s": 1.0, "text": "a"}]) is None
