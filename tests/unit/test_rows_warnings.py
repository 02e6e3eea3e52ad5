"""Warnings of answers that look right and are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.checkpoint import Finished
from jobs.pieces import Piece, Span
from jobs.tasks.asking import ask
from jobs.tasks.base import IMAGE_BUDGETS, DetailOptions, Row, TaskOptions
from tests.unit.row_bench import Build, benches
from tests.unit.scripted import ScriptedEngine
from workers.prompts import blown_up

BOXES = '[{"box_2d": [100, 200, 300, 400], "label": "cat"}]'
NO = "I'm sorry, but I can't help with that."


@pytest.fixture
def bench() -> Iterator[Build]:
    with benches() as build:
        yield build


@pytest.mark.parametrize(
    ("options", "warnings"),
    [({}, ["upscaled"]), ({"image_tokens": "auto"}, []), ({"image_tokens": 70}, [])],
)
def test_an_image_of_few_pixels(bench: Build, options: dict[str, Any], warnings: list[str]) -> None:
    (record,) = bench("image:a", options=options).make_all()
    assert record.warnings == warnings


def test_of_several_images_and_of_what_fails_too(bench: Build) -> None:
    (record,) = bench(["image:a", "image:b"]).make_all()
    assert record.warnings == ["upscaled"]
    (record,) = bench("image:a", task="detect").make_all()
    assert (record.status, record.warnings) == ("error", ["upscaled"])


def test_sound_and_film_are_not_upscaled(bench: Build) -> None:
    (record,) = bench("video:20").make_all()
    assert record.warnings == []


def test_frames_that_an_earlier_attempt_asked_about_count(bench: Build) -> None:
    b = bench("video:20", task="detect", engine=ScriptedEngine(lambda request: BOXES))
    b.make_all()
    media = b.decoders.decoded[0]
    frame = dataclasses.replace(media, width=40, height=30)
    (asked,) = b.engine.asked
    sha256 = b.make_all()[0].media[0]["sha256"]
    done = Finished(0, sha256, asked.prompt.sha256, frame, BOXES, "stop", 10, 5, 0.25)
    (record,) = b.make_all(earlier=[done])
    assert record.warnings == ["upscaled"]


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    options=st.sampled_from((TaskOptions, DetailOptions)),
)
def test_auto_blows_nothing_up(width: int, height: int, options: type[TaskOptions]) -> None:
    image = np.broadcast_to(np.uint8(0), (height, width, 3))
    piece = Piece(Span(0, 0, 1, width=width, height=height), images=(image,))
    auto = options(image_tokens="auto")
    asked = ask("What?", Row("r", ("a",)), piece, auto, greedy=True)
    assert not blown_up(width, height, asked.image_tokens)


def test_what_is_blown_up() -> None:
    # 280 tokens of 48 by 48 pixels are 645,120 pixels; of a square, 16 by 16 tokens.
    assert blown_up(383, 384, 280)
    assert not blown_up(384, 384, 280)
    assert [b for b in IMAGE_BUDGETS if blown_up(200, 200, b)] == [140, 280, 560, 1120]
    assert not blown_up(4000, 3000, 1120)


@pytest.mark.parametrize("task", ["caption", "ask", "detect", "classify"])
def test_a_model_that_declines(bench: Build, task: str) -> None:
    options: dict[str, Any] = {"image_tokens": "auto"}
    options |= {"ask": {"question": "Who?"}, "classify": {"labels": ["a", "b"]}}.get(task, {})
    b = bench("image:a", task=task, options=options, engine=ScriptedEngine(lambda request: NO))
    (record,) = b.make_all()
    assert record.warnings == ["refused"]
    assert record.raw == NO


@pytest.mark.parametrize(
    ("task", "uri", "options"),
    [
        ("transcribe", "audio:5", {}),
        ("translate-speech", "audio:5", {"target": "French"}),
        ("ocr", "image:a", {}),
    ],
)
def test_what_is_said_or_written_is_no_refusal(
    bench: Build, task: str, uri: str, options: dict[str, Any]
) -> None:
    b = bench(uri, task=task, options=options, engine=ScriptedEngine(lambda request: NO))
    (record,) = b.make_all()
    assert "refused" not in record.warnings
