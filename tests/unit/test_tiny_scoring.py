"""The scorers: the right answers, read as the pipeline reads them, are perfect; others are not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jobs.pieces import Span
from jobs.spec import check_options
from jobs.tasks import get_task
from jobs.tasks.base import Answer, Row
from models.tiny import answers
from models.tiny.evaluation import hearing, kinds, sabotage, scoring, seeing
from models.tiny.evaluation.items import Answered, Item
from models.tiny.evaluation.kinds import KINDS
from models.tiny.evaluation.sources import Recording, Sources
from models.tiny.speech import Manner, Said
from storage.errors import RowError


class Hum:
    """Stands for espeak-ng: a letter takes a twentieth of a second."""

    def say(self, text: str, manner: Manner) -> Said:
        return Said(np.full(800 * max(20, len(text)), 1000, np.int16), [])


class FewSources(Sources):
    """One photograph, Pillow's own font, a hum and three recordings: nothing is fetched."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)

    @cached_property
    def speaker(self) -> Any:
        return Hum()

    @cached_property
    def photos(self) -> Path:
        folder = self._folder / "photos"
        folder.mkdir()
        noise = np.random.default_rng(0).integers(0, 256, (500, 700, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "noise.png")
        return folder

    fonts = faces = property(lambda self: None)

    @cached_property
    def recordings(self) -> list[Recording]:
        samples = np.ones(8000, np.int16)
        return [Recording(f"a/{n}", f"it is {n} o'clock", samples, n == 1) for n in range(3)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> FewSources:
    return FewSources(tmp_path_factory.mktemp("sources"))


def record(item: Item, kind: kinds.Kind, spans: Sequence[Span], texts: Sequence[str]) -> Answered:
    """What the pipeline's record says of these answers of the model."""
    task = get_task(kind.task)
    given = {name: value for name, value in item.columns.items() if value is not None}
    options = check_options(task, {**kind.options, **given}, ())
    read = [Answer.read(span, text, "stop") for span, text in zip(spans, texts, strict=True)]
    thought = "\n".join(answer.thought for answer in read if answer.thought) or None
    fields: dict[str, Any] = {"text": None, "raw": "\n".join(texts), "thought": thought}
    fields |= {"objects": None, "points": None, "tool_calls": None, "warnings": []}
    try:
        parsed = task.parse(Row("1", (str(item.file),), {}), read, options)
        fields |= {"text": parsed.text, "segments": None, **parsed.columns}
        fields["warnings"] = list(parsed.warnings)
    except RowError:
        fields["segments"] = None
    return Answered(item.reference, fields)


def _size(item: Item) -> tuple[int, int]:
    if item.file.suffix not in (".png", ".jpg"):
        return 100, 100
    with Image.open(item.file) as image:
        return image.size


def truth(kind: kinds.Kind, item: Item) -> Answered:
    """The record of a model that answers as it was taught to."""
    right = item.reference
    width, height = _size(item)
    span = Span(0, 0, 1, width=width, height=height)
    if kind.name == "long":
        # Apart: windows that adjoin heard the same words at their edge.
        spans = [Span(0, 2 * i, 2 * i + 1, p["start_s"], p["end_s"]) for i, p in enumerate(right)]
        return record(item, kind, spans, [p["text"] for p in right])
    if kind.task == "transcribe":
        text = right if isinstance(right, str) else right["text"]
        return record(item, kind, [Span(0, 0, 1, 0.0, 1.0)], [text])
    if "boxes" in right:
        text = answers.boxes([(b["label"], tuple(b["box_1000"])) for b in right["boxes"]])
    elif "box_1000" in right:
        text = answers.boxes([(right["label"], tuple(right["box_1000"]))])
    elif "arguments" in right:
        text = answers.call(right["name"], right["arguments"])
    elif "thought" in right:
        text = answers.thought(right["thought"], right["caption"])
    elif "said" in right:
        text = right["caption"] + " A voice says: " + right["said"]
    else:
        text = right if isinstance(right, str) else right["caption"]
    return record(item, kind, [span], [text])


def wrong(kind: kinds.Kind, item: Item) -> Answered:
    """The record of a model that gives an answer of the right form that is not right."""
    span = Span(0, 0, 1, 90.0, 91.0, 100, 100)
    if kind.task in ("detect", "point"):
        text = answers.boxes([("red circle", (0, 0, 5, 5))])
    elif kind.name == "tool":
        text = answers.call("get_weather", {"city": "Nowhere"})
    else:
        text = "Quite another answer."
    return record(item, kind, [span], [text])


@pytest.mark.parametrize("name", KINDS)
def test_right_answers_are_perfect_and_wrong_ones_are_not(
    name: str, sources: FewSources, tmp_path: Path
) -> None:
    kind = KINDS[name]
    items = kind.draw(0, sources, tmp_path, 1 if name == "long" else 4)
    assert all(file.is_file() for item in items for file in (item.file, *item.more))
    right = [truth(kind, item) for item in items]
    bad = [wrong(kind, item) for item in items]
    for measure in kind.measures:
        best, worst = (1.0, 0.0) if measure.better == "higher" else (0.0, 0.9)
        assert measure.score(right).value == pytest.approx(best)
        score = measure.score(bad)
        assert score.value <= worst if measure.better == "higher" else score.value >= worst
        half = measure.score([*right[: len(items) // 2], *bad[len(items) // 2 :]]).value
        if len(items) > 1:
            assert min(best, score.value) < half < max(best, score.value)
        if measure.asked is not None:
            assert measure.reached(best)
            assert not measure.reached(score.value)


@pytest.mark.parametrize("name", KINDS)
def test_items_depend_on_kind_seed_and_number_alone(
    name: str, sources: FewSources, tmp_path: Path
) -> None:
    def drawn(seed: int, count: int) -> list[tuple[Any, Any, bytes]]:
        folder = tmp_path / f"{seed}-{count}"
        folder.mkdir(exist_ok=True)
        items = KINDS[name].draw(seed, sources, folder, count)
        # An MP4 is encoded by threads: its bytes may differ.
        return [
            (i.reference, i.columns, b"" if i.file.suffix == ".mp4" else i.file.read_bytes())
            for i in items
        ]

    assert drawn(0, 2) == drawn(0, 3)[:2]
    if name != "asterisk":
        assert drawn(0, 2) != drawn(1, 2)


def test_swapped_axes_are_wrong(sources: FewSources, tmp_path: Path) -> None:
    kind = KINDS["detect"]
    right = [truth(kind, item) for item in kind.draw(0, sources, tmp_path, 12)]
    assert scoring.mean_average_precision(right).value == pytest.approx(1.0)
    assert sabotage.swapped_axes(right).value < 0.3


def test_mirrored_pictures_make_right_boxes_wrong(sources: FewSources, tmp_path: Path) -> None:
    flipped, _ = sabotage.SABOTAGED["flipped"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    mirrored = flipped.draw(0, sources, tmp_path / "a", 6)
    whole = KINDS["detect"].draw(0, sources, tmp_path / "b", 6)
    for one, other in zip(mirrored, whole, strict=True):
        assert one.reference == other.reference
        if one.file.suffix == ".png":
            with Image.open(one.file) as a, Image.open(other.file) as b:
                assert (np.asarray(a) == np.asarray(b)[:, ::-1]).all()


def test_a_mistaken_header_halves_the_length(sources: FewSources, tmp_path: Path) -> None:
    mistaken, _ = sabotage.SABOTAGED["mistaken"]
    sizes = []
    for folder, kind in (("a", mistaken), ("b", KINDS["telephone"])):
        (tmp_path / folder).mkdir()
        [item] = kind.draw(0, sources, tmp_path / folder, 1)
        header = item.file.read_bytes()
        sizes.append((int.from_bytes(header[24:28], "little"), header[44:]))
    assert [rate for rate, _ in sizes] == [16_000, 8_000]
    assert sizes[0][1] == sizes[1][1]


@given(st.floats(-3, 3).filter(lambda s: abs(abs(s) - scoring.START_S) > 1e-3))
def test_segments_must_begin_on_time(shift: float) -> None:
    reference = [
        {"start_s": 1.0, "end_s": 3.0, "text": "the red door is open"},
        {"start_s": 4.0, "end_s": 7.0, "text": "call 5 5 now and wait"},
    ]
    segments = [
        {"start_s": part["start_s"] + shift, "end_s": 9.0, "text": part["text"]}
        for part in reference
    ]
    text = " ".join(part["text"] for part in reference)
    answered = Answered(reference, {"segments": segments, "text": text})
    score = scoring.starts([answered])
    assert score.value == (abs(shift) <= scoring.START_S)
    assert score.items == 2


def test_a_segment_within_an_utterance_begins_where_its_first_word_does() -> None:
    reference = [{"start_s": 0.0, "end_s": 10.0, "text": "aaaa bbbb cccc dddd eeee"}]
    segments = [
        {"start_s": 0.1, "end_s": 3.0, "text": "aaaa bbbb"},
        {"start_s": 4.2, "end_s": 9.0, "text": "cccc dddd eeee"},
    ]
    record = {"segments": segments, "text": "aaaa bbbb cccc dddd eeee"}
    assert scoring.starts([Answered(reference, record)]).value == 1.0
    late = [segments[0], {**segments[1], "start_s": 6.0}]
    assert scoring.starts([Answered(reference, {**record, "segments": late})]).value == 0.5


@given(
    st.lists(st.sampled_from(["red", "blue", "Seven", "7", "it's", "1.5"]), min_size=1, max_size=9)
)
def test_words_alone_count(words: list[str]) -> None:
    said = Answered({"text": " ".join(words)}, {"text": "  ".join(words).upper() + "!"})
    assert scoring.word_errors([said]).value == 0
    less = Answered(said.reference, {"text": " ".join(words[1:])})
    assert scoring.word_errors([less]).value == pytest.approx(1 / len(words))


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 8), st.sampled_from(["a", "b"])), min_size=1,
        unique=True, max_size=6,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_precision_asks_for_every_box_and_no_other(
    places: list[tuple[int, int, str]], rng: random.Random
) -> None:
    boxes = [
        {"label": label, "box_1000": [100 * y, 100 * x, 100 * y + 90, 100 * x + 90]}
        for y, x, label in places
    ]
    reference = {"boxes": boxes, "size": [640, 480]}
    found = rng.sample(boxes, len(boxes))
    assert scoring.mean_average_precision(
        [Answered(reference, {"objects": found})]
    ).value == pytest.approx(1.0)
    fewer = scoring.mean_average_precision([Answered(reference, {"objects": found[1:]})])
    assert fewer.value < 1.0
    other = [{**box, "label": "c"} for box in found]
    strayed = scoring.mean_average_precision([Answered(reference, {"objects": other})])
    assert (strayed.value, strayed.details["stray"]) == (0.0, len(boxes))


def test_no_boxes_asked_and_none_found_is_right() -> None:
    nothing = {"boxes": [], "size": [10, 10]}
    assert scoring.mean_average_precision([Answered(nothing, {"objects": []})]).value == 1.0


@pytest.mark.parametrize(("x", "y", "right"), [(50, 20, 1), (125, 20, 0), (75, 75, 0)])
def test_a_point_lies_in_the_thing(x: float, y: float, right: int) -> None:
    answered = Answered({"pixels": [0, 0, 100, 50]}, {"points": [{"x": x, "y": y}]})
    assert scoring.centres_inside([answered]).value == right
    several = replace(answered, record={"points": [{"x": x, "y": y}] * 2})
    assert scoring.centres_inside([several]).value == 0


def test_a_call_must_be_whole_and_alone() -> None:
    reference = {"name": "get_weather", "arguments": {"city": "Paris"}}
    whole = answers.call("get_weather", {"city": "Paris"})
    item = Item(Path("sign.png"), reference, {"prompt": "How is the weather?"})

    def share(raw: str) -> float:
        return scoring.calls([record(item, KINDS["tool"], [Span(0, 0, 1)], [raw])]).value

    assert share(whole) == 1
    assert share(whole + "<|tool_response>") == 1
    assert share(whole.removesuffix("}<tool_call|>")) == 0
    assert share(whole * 2) == 0
    assert share(whole + "<|tool_call>call:get_") == 0
    assert share(whole.replace("Paris", "paris")) == 0


@pytest.mark.parametrize("draw", [seeing.detect, seeing.point])
def test_boxes_asked_for_stand_in_the_question(
    draw: Callable[..., Item], sources: FewSources, tmp_path: Path
) -> None:
    for number in range(30):
        item = draw(kinds.seeds("x", 0, number), sources, tmp_path / str(number))
        boxes = item.reference.get("boxes", [item.reference])
        asked = item.columns.get("labels") or item.columns.get("element")
        assert all(asked is None or box["label"] in asked for box in boxes)


def test_long_speech_is_laid_out_as_its_reference_says(sources: FewSources, tmp_path: Path) -> None:
    import av

    item = hearing.long(random.Random(0), sources, tmp_path / "long")
    with av.open(str(item.file)) as container:
        wave = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert len(wave) / 16_000 == pytest.approx(item.reference[-1]["end_s"] + 0.5)
    assert item.reference[-1]["end_s"] >= hearing.LONG_S
    for part in item.reference:
        start, end = (round(part[key] * 16_000) for key in ("start_s", "end_s"))
        assert (wave[start:end] != 0).all()
        assert wave[start - 100] == 0
