"""Detection: any text the model may write becomes boxes, a count of bad ones, or `unparsable`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.pieces import Piece, Span
from jobs.tasks.base import Answer, Parsed, Row
from jobs.tasks.boxes import Box, read_boxes
from jobs.tasks.detect import Detect, DetectOptions
from storage.errors import RowError

ROW = Row("r", ("a.jpg",))
SPAN = Span(0, 0, 1, width=200, height=100)
CAT = '{"box_2d": [100, 200, 300, 400], "label": "cat"}'
DOG = '{"box_2d": [0, 0, 1000, 1000], "label": "dog"}'


def parse(*texts: str, reason: str = "stop", spans: Sequence[Span] | None = None) -> Parsed:
    places = spans or [SPAN] * len(texts)
    answers = [Answer(span, text, text, reason) for span, text in zip(places, texts, strict=True)]
    return Detect().parse(ROW, answers, DetectOptions())


def labels(parsed: Parsed) -> list[str]:
    return [o["label"] for o in parsed.columns["objects"]]


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n[{CAT}, {DOG}]\n```",
        f"[{CAT}, {DOG}]",
        f"Here are the boxes:\n[{CAT},\n {DOG},]\nAnything else?",
        f"[{CAT} {DOG}]",
        f"[{CAT},, {DOG}]".replace('"', "'"),
        f'{{"objects": [{CAT}, {DOG}]}}',
        f"{CAT}\n{DOG}",
        f"```json\n{CAT}\n```\n```json\n{DOG}\n```",
        '[{"box_2d": [100.2, "199.9", 300, 4e2], "label": "cat"}, ' + DOG + "]",
        '[{"box_2d": [300, 400, 100, 200], "label": "cat"}, ' + DOG + "]",
        f"[[see above]] [{CAT}, {DOG}]",
        f"[{CAT}, {DOG}",
    ],
    ids=[
        "fence", "bare", "prose", "no comma", "single quotes", "wrapped", "lines", "two fences",
        "floats and strings", "reversed corners", "brackets in prose", "unclosed",
    ],
)  # fmt: skip
def test_every_usual_form_gives_the_same_boxes(text: str) -> None:
    parsed = parse(text)
    assert parsed.columns["objects"] == [
        {
            "label": "cat",
            "box": {"x0": 40.0, "y0": 10.0, "x1": 80.0, "y1": 30.0},
            "box_1000": [100, 200, 300, 400],
            "media_index": 0,
            "time_s": None,
        },
        {
            "label": "dog",
            "box": {"x0": 0.0, "y0": 0.0, "x1": 200.0, "y1": 100.0},
            "box_1000": [0, 0, 1000, 1000],
            "media_index": 0,
            "time_s": None,
        },
    ]


def test_a_list_cut_at_the_token_limit_keeps_its_whole_objects() -> None:
    whole = f'[{CAT}, {DOG}, {{"box_2d": [5, 6, 70, 80], "label": "bird"}}]'
    for end in range(len(f"[{CAT}, {DOG}"), len(whole) - 1):
        parsed = parse(whole[:end], reason="length")
        expected = ["cat", "dog"] + ["bird"] * (end == len(whole) - 1)
        assert labels(parsed) == expected
        # The row's own warning, cut_at_token_limit, says it already.
        assert parsed.warnings == ()


def test_a_list_cut_for_another_reason_is_warned_about() -> None:
    parsed = parse(f"[{CAT}, {{'box_2d': [1, 2, 3, 4], 'la")
    assert labels(parsed) == ["cat"]
    assert parsed.warnings == ("truncated_list",)


def test_a_cut_before_the_first_whole_object_is_an_empty_list() -> None:
    assert parse('```json\n[{"box_2d": [1', reason="length").columns["objects"] == []


@pytest.mark.parametrize(
    "bad",
    [
        '{"box_2d": [1, 2, 3], "label": "x"}',
        '{"box_2d": [1, 2, 3, 4, 5], "label": "x"}',
        '{"box_2d": [1, 2, NaN, 4], "label": "x"}',
        '{"box_2d": [1, 2, Infinity, 4], "label": "x"}',
        '{"box_2d": [1, 2, null, 4], "label": "x"}',
        '{"box_2d": [1, true, 3, 4], "label": "x"}',
        '{"box_2d": [10, 2, 10, 400], "label": "no height"}',
        '{"box_2d": [10, 2, 11, 2.3], "label": "no width"}',
        '{"box_2d": [10, 20, 1500, 1900], "label": "in pixels"}',
        '{"box_2d": [10, 20, 30, 40]}',
        '{"box_2d": [10, 20, 30, 40], "label": ""}',
        '{"box_2d": [10, 20, 30, 40], "label": 7}',
        '{"box_2d": "left", "label": "x"}',
        '{"label": "x"}',
        '{"box_2d": [10, 20, 30, 40], "label": x}',
        "[10, 20, 30, 40]",
        '"cat"',
    ],
)
def test_nonsense_is_counted_and_its_neighbours_are_kept(bad: str) -> None:
    parsed = parse(f"[{CAT}, {bad}, {DOG}]")
    assert labels(parsed) == ["cat", "dog"]
    assert parsed.warnings == ("malformed_boxes:1",)


def test_an_overshot_edge_is_clipped_and_counted() -> None:
    parsed = parse('[{"box_2d": [-20, 10, 1000, 1050], "label": "wide"}]')
    assert parsed.columns["objects"][0]["box_1000"] == [0, 10, 1000, 1000]
    assert parsed.warnings == ("clipped_boxes:1",)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "```json\n[]\n```",
        '{"objects": []}',
        "There are no cats in this image.",
        "No objects were detected.",
        "I cannot see any of these.",
        "There isn't any person visible.",
        "None",
    ],
)
def test_saying_that_there_is_nothing_gives_an_empty_list(text: str) -> None:
    parsed = parse(text)
    assert parsed.columns["objects"] == []
    assert parsed.warnings == ()


@pytest.mark.parametrize(
    "text",
    ["", "A cat sits on a sofa.", "[3]", "[1, 2, 3, 4]", "I see [", "12 40 7", "[[[[[[", "{"],
)
def test_what_is_no_list_of_boxes_is_unparsable(text: str) -> None:
    with pytest.raises(RowError) as caught:
        parse(text)
    assert caught.value.kind == "unparsable"


def test_a_bracket_at_the_end_of_a_long_ramble_is_no_list() -> None:
    with pytest.raises(RowError, match="unparsable"):
        parse("grey grey grey grey [", reason="length")


def test_frames_keep_their_times_and_one_bad_answer_costs_its_own_frame() -> None:
    spans = [
        Span(0, 0, 1, 0.0, 1.0, 640, 480),
        Span(0, 25, 26, 1.0, 2.0, 640, 480),
        Span(0, 50, 51, 2.0, 3.0, 640, 480),
    ]
    parsed = parse(f"[{CAT}]", "noise", f"[{DOG}]", spans=spans)
    assert [(o["label"], o["time_s"]) for o in parsed.columns["objects"]] == [
        ("cat", 0.0),
        ("dog", 2.0),
    ]
    assert parsed.warnings == ("unparsable_answers:1",)
    with pytest.raises(RowError, match="unparsable"):
        parse("noise", "noise", "noise", spans=spans)


def test_labels_are_asked_for_in_googles_words() -> None:
    piece = Piece(SPAN, images=(np.zeros((2, 2, 3), np.uint8),))

    def asked(value: object) -> str:
        options = DetectOptions.model_validate({"labels": value})
        return Detect().prompt(ROW, piece, options).text

    assert asked("person") == "detect person, output only ```json"
    assert asked(["person", "car"]) == "detect person and car, output only ```json"
    assert asked("person, car , dog") == "detect person, car and dog, output only ```json"
    assert asked('["person", "car"]') == "detect person and car, output only ```json"
    assert asked("") == "detect all prominent objects, output only ```json"
    assert Detect().prompt(ROW, piece, DetectOptions()).temperature == 0.0
    with pytest.raises(ValueError, match="labels"):
        DetectOptions.model_validate({"labels": 3})


boxes = st.builds(
    lambda label, y, x: Box(label, y[0], x[0], y[1], x[1]),
    st.text(min_size=1, max_size=12).map(lambda s: " ".join(s.split())).filter(bool),
    st.lists(st.integers(0, 1000), min_size=2, max_size=2, unique=True).map(sorted),
    st.lists(st.integers(0, 1000), min_size=2, max_size=2, unique=True).map(sorted),
)


@given(st.lists(boxes, max_size=6), st.booleans())
def test_what_json_writes_is_read_back(written: list[Box], escaped: bool) -> None:
    items = [{"box_2d": [b.y0, b.x0, b.y1, b.x1], "label": b.label} for b in written]
    read = read_boxes(f"```json\n{json.dumps(items, ensure_ascii=escaped)}\n```")
    assert read is not None
    assert (list(read.found), read.malformed, read.clipped, read.cut) == (written, 0, 0, False)


fragments = st.sampled_from(
    ["[", "]", "{", "}", '"box_2d"', '"label"', ":", ",", "'", '"', "\\", "1", "-3.5e9", "NaN",
     "cat", " ", "\n", "```json", "```", CAT, "no", "\\ud800", "9" * 30, "null"]
)  # fmt: skip


@settings(max_examples=400)
@given(
    st.one_of(st.text(), st.lists(fragments, max_size=40).map("".join)),
    st.sampled_from(["stop", "length"]),
)
@example('[{"box_2d": [1, 2, 30, 40], "label": "\\ud800"}]', "stop")
@example('[{"box_2d": [1, 2, 30, 40], "label": "' + "9" * 5000, "length")
def test_no_text_raises_anything_but_unparsable(text: str, reason: str) -> None:
    span = Span(1, 0, 1, 2.5, 3.5, 1920, 1080)
    try:
        parsed = parse(text, reason=reason, spans=[span])
    except RowError as error:
        assert error.kind == "unparsable"  # noqa: PT017 - either outcome is right
        return
    objects = parsed.columns["objects"]
    # What comes out is inside the picture, ordered, and fits the record's column.
    for o in objects:
        box, grid = o["box"], o["box_1000"]
        assert 0 <= box["x0"] < box["x1"] <= 1920
        assert 0 <= box["y0"] < box["y1"] <= 1080
        assert 0 <= grid[0] < grid[2] <= 1000
        assert 0 <= grid[1] < grid[3] <= 1000
    pa.array([objects], type=Detect.columns[0].type).validate(full=True)


def test_reading_stays_quick_on_noise() -> None:
    started = time.monotonic()
    # Each would take minutes if every bracket were read to the text's end.
    for noise in ("[" * 20_000, '{"a":' * 8_000, "[1," * 12_000, '["' * 16_000, "['\"" * 12_000):
        read_boxes(noise)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "detect all prominent objects, output only ```json"),
        ({"labels": "person, cat"}, "detect person and cat, output only ```json"),
        ({"gui": True}, "detect all elements of the user interface, output only ```json"),
        (
            {"gui": True, "labels": "view recipe"},
            'What\'s the bounding box for the "view recipe" element in the image?',
        ),
        (
            {"gui": True, "labels": "Send,Save,Back"},
            'What are the bounding boxes for the "Send", "Save" and "Back" elements in the image?',
        ),
    ],
)
def test_objects_and_elements_of_screens_are_asked_for(options: dict[str, Any], said: str) -> None:
    assert Detect().prompt(ROW, Piece(SPAN), DetectOptions(**options)).text == said
