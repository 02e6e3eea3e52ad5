"""What rows are estimated to cost, from columns, sizes and names alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from jobs.cost import seconds_per_token, tokens
from jobs.tasks import TASKS
from jobs.tasks.base import Cost
from storage.blocks import Block

CAPTION = Cost(request_tokens=100, image_tokens=280, second_tokens=95.0)
SPEECH = Cost(request_tokens=180, second_tokens=25.0, default_seconds=60.0)
IMAGES_ONLY = Cost(request_tokens=10, image_tokens=70)


def block(
    uris: list[str], media: list[int] | None = None, **hints: Sequence[float | None]
) -> Block:
    texts = pa.array(uris, type=pa.string())
    counts = np.array(media or [1] * len(uris), dtype=np.int64)
    columns = {name: np.array(values, dtype=np.float64) for name, values in hints.items()}
    numbers = np.arange(len(uris), dtype=np.int64)
    return Block(numbers, texts, texts, counts, columns, pa.table({"id": texts}))


def test_known_length_costs_its_seconds_and_a_request_for_each_half_minute() -> None:
    found = tokens(block(["a.wav"] * 3, duration_s=[10.0, 30.0, 90.5]), SPEECH)
    assert found.tolist() == [180 + 250, 180 + 750, 4 * 180 + 90.5 * 25]


def test_of_a_part_its_seconds_are_counted() -> None:
    rows = block(["a.wav", "a.wav", "a.wav", "a.png"], duration_s=[7200.0, 50.0, 5.0, 0.0])
    found = tokens(rows, replace(SPEECH, part=(20.0, 80.0)))
    assert found.tolist() == [2 * 180 + 60 * 25, 180 + 30 * 25, 180 + 25, 180]
    found = tokens(rows, replace(SPEECH, part=(7000.0, None)))
    assert found[0] == 7 * 180 + 200 * 25


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_of_sound_or_video_tells_its_part(name: str) -> None:
    options = TASKS[name].Options.model_construct(start_s=20.0, end_s=80.0)
    cost = TASKS[name].cost(options)
    assert cost.part == (20.0, 80.0) or not cost.second_tokens


def test_unknown_length_of_speech_is_the_tasks_default() -> None:
    found = tokens(block(["x", "a.mp3", "b.mp4?sig=1"]), SPEECH)
    assert found.tolist() == [2 * 180 + 60 * 25] * 3


def test_length_is_guessed_from_the_size_by_extension() -> None:
    uris = ["a.wav", "b.mp3", "c.mp4", "unknown"]
    sizes = [441_000.0, 160_000.0, 2_500_000.0, 2_500_000.0]
    assert tokens(block(uris, bytes=sizes), SPEECH).tolist() == [180 + 250] * 4


def test_an_image_costs_its_budget_whatever_its_size() -> None:
    uris = ["a.JPG", "b.png?x=1", "no-extension"]
    assert tokens(block(uris, bytes=[1e3, 1e9, 1e6]), CAPTION).tolist() == [380.0] * 3


def test_a_video_of_unknown_length_costs_more_than_an_image() -> None:
    found = tokens(block(["a.mp4", "a.jpg"]), CAPTION)
    assert found.tolist() == [2 * 100 + 60 * 95, 380]


def test_width_and_height_say_that_a_row_without_length_is_an_image() -> None:
    found = tokens(block(["x", "x"], width=[640.0, None], height=[480.0, None]), SPEECH)
    assert found.tolist() == [180, 2 * 180 + 60 * 25]


def test_every_medium_of_a_row_counts() -> None:
    assert tokens(block(["a.jpg", "b.jpg"], [1, 4]), CAPTION).tolist() == [380, 4 * 380]
    assert tokens(block(["a.jpg", "b.jpg"], [1, 4]), IMAGES_ONLY).tolist() == [80, 320]
    assert tokens(block(["a.wav"], [4], duration_s=[20.0]), SPEECH).tolist() == [4 * 180 + 500]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -5.0, 0.0])
def test_a_length_that_is_none_is_not_believed(odd: float) -> None:
    found = tokens(block(["a.wav"], duration_s=[odd]), SPEECH)
    assert found.tolist() == [2 * 180 + 60 * 25]


def test_seconds_a_token_follow_the_published_measurements() -> None:
    # One H100 and E2B: 24.3 images/s of 438 tokens, two CPU cores and tiny: 13.8 of 320.
    assert 1 / (438 * seconds_per_token(2.28e9)) == pytest.approx(24.3, rel=0.1)
    assert 1 / (320 * seconds_per_token(6e6, "cpu")) == pytest.approx(13.8, rel=0.1)
    assert seconds_per_token(4 * 2.28e9) == pytest.approx(4 * seconds_per_token(2.28e9))
    assert seconds_per_token(None) == seconds_per_token(2.28e9)
    assert seconds_per_token(2.28e9, "cpu") > 100 * seconds_per_token(2.28e9)


def test_a_document_is_as_many_images_as_its_bytes_have_pages() -> None:
    uris = ["a.pdf", "b.PDF?x=1", "c.pdf", "d.jpg", "e.pdf"]
    sizes = [1e3, 350e3, None, 350e3, 1e12]
    for cost, each in ((IMAGES_ONLY, 80), (CAPTION, 380)):
        found = tokens(block(uris, bytes=sizes), cost)
        assert found.tolist() == [each, 4 * each, each, each, 2000 * each]
