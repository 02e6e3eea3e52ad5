"""Captions: what is asked of images and videos, and how windows are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from jobs.pieces import Clip, Piece, Span
from jobs.tasks.base import Answer, Row
from jobs.tasks.caption import Caption, CaptionOptions
from storage.errors import RowError

ROW = Row("row-1", ("a.jpg",))
IMAGE = np.zeros((4, 6, 3), np.uint8)
ONE = Piece(Span(0, 0, 1, width=6, height=4), images=(IMAGE,))


def answer(text: str, start_s: float | None = None, media: int = 0) -> Answer:
    end_s = None if start_s is None else start_s + 30
    return Answer(Span(media, int(start_s or 0), 1, start_s, end_s), text, text, "stop")


def caption(*answers: Answer) -> str:
    parsed = Caption().parse(ROW, answers, CaptionOptions())
    assert parsed.columns["caption"] == parsed.text
    assert parsed.warnings == ()
    return parsed.text


def test_images_and_videos_are_asked_about_in_the_models_own_sampling() -> None:
    task, options = Caption(), CaptionOptions()
    clip = Piece(Span(0, 0, 9), clip=Clip(np.zeros((2, 4, 6, 3), np.uint8), (0, 1), 1.0, 9))
    asked = task.prompt(ROW, ONE, options)
    assert asked.text == "Write single detailed caption for this image."
    assert task.prompt(ROW, Piece(ONE.span, images=(IMAGE, IMAGE)), options).text.endswith(
        "for these images."
    )
    assert task.prompt(ROW, clip, options).text.endswith("for this video.")
    assert (asked.temperature, asked.image_tokens, asked.max_tokens) == (None, 280, 256)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Write single detailed caption for this image."),
        ({"style": " ", "language": ""}, "Write single detailed caption for this image."),
        (
            {"length": "short"},
            "Write single short caption for this image. Use one sentence of at most 15 words.",
        ),
        (
            {"length": "medium"},
            "Write single detailed caption for this image. Use two or three sentences.",
        ),
        (
            {"length": "long", "style": "a museum label.", "language": "pt-BR"},
            "Write single very detailed caption for this image. Use a paragraph of six to eight "
            "sentences. Style: a museum label. Write it in Portuguese.",
        ),
    ],
)
def test_length_style_and_language_are_told(options: dict[str, Any], said: str) -> None:
    assert Caption().prompt(ROW, ONE, CaptionOptions(**options)).text == said


def test_a_summary_of_windows_is_asked_for_in_the_same_words() -> None:
    options = CaptionOptions(length="short", language="German")
    asked = Caption().conclude(ROW, [answer("a", 0.0), answer("b", 30.0)], options)
    assert asked is not None
    assert asked.text.startswith("Write single short caption for this video. Use one sentence")
    assert "Write it in German." in asked.text


def test_what_no_caption_can_be() -> None:
    for wrong in ({"length": "epic"}, {"language": "xx"}):
        with pytest.raises(ValidationError):
            CaptionOptions(**wrong)


def test_options_win_over_the_tasks_habits() -> None:
    options = CaptionOptions(prompt="Why?", system="Be brief.", temperature=0.0, image_tokens=70)
    asked = Caption().prompt(ROW, ONE, options)
    assert (asked.text, asked.system, asked.temperature) == ("Why?", "Be brief.", 0.0)
    assert asked.image_tokens == 70
    # A greedy question has no seed, so that equal questions have equal digests.
    assert asked.seed is None
    assert Caption().prompt(Row("row-2", ("b.jpg",)), ONE, options).sha256 == asked.sha256


def test_seeds_differ_by_row_and_stay_the_same_for_a_row() -> None:
    def seed(row: str, seed: int = 0) -> int | None:
        return Caption().prompt(Row(row, ("a",)), ONE, CaptionOptions(seed=seed)).seed

    assert seed("a") == seed("a")
    assert len({seed("a"), seed("b"), seed("a", 1)}) == 3
    assert all(0 <= (seed(str(n)) or 0) < 2**31 for n in range(50))


def test_sound_is_decoded_only_for_a_model_that_hears() -> None:
    options = CaptionOptions(fps=2)
    hearing = Caption().reading(options, frozenset({"image", "video", "audio"}))
    deaf = Caption().reading(options, frozenset({"image", "video"}))
    assert (hearing.video, hearing.sound, hearing.fps) == ("clip", True, 2)
    assert not deaf.sound


def test_one_window_is_the_caption_and_several_are_lines() -> None:
    assert caption(answer(" A cat\non a sofa. ", 0.0)) == "A cat\non a sofa."
    assert caption(answer("A cat\nsleeps.", 0.0), answer("It wakes.", 30.0)) == (
        "[00:00-00:30] A cat sleeps.\n[00:30-01:00] It wakes."
    )
    assert caption(answer("a", 3570.0), answer("b", 3600.0)) == (
        "[59:30-1:00:00] a\n[1:00:00-1:00:30] b"
    )
    assert caption(answer("A cat."), answer("A walk.", 0.0, media=1)) == (
        "[#1] A cat.\n[#2 00:00-00:30] A walk."
    )


@pytest.mark.parametrize("texts", [("",), (" ", "\n")])
def test_no_words_at_all_are_no_caption(texts: tuple[str, ...]) -> None:
    with pytest.raises(RowError, match="unparsable"):
        caption(*(answer(text, 30.0 * n) for n, text in enumerate(texts)))
