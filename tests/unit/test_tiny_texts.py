"""What the tiny model reads and writes: tokenizer, template, prompts of the tasks, answers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from jobs.tasks import caption, detect, transcribe
from jobs.tasks.boxes import read_boxes
from models.tiny import answers, architecture, questions, rows, scenes, tokenizer

TEMPLATE = Path(rows.__file__).with_name("template.jinja")


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return tokenizer.load()


def render(messages: list[dict[str, object]], **more: object) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text())
    return template.render(messages=messages, bos_token="<bos>", add_generation_prompt=True, **more)


def test_a_tokenizer_made_anew_has_the_same_shape(bpe: Tokenizer) -> None:
    made = tokenizer.make()
    assert made.to_str() == tokenizer.make().to_str()
    assert json.loads(made.to_str())["pre_tokenizer"] == json.loads(bpe.to_str())["pre_tokenizer"]
    assert made.get_vocab_size() == bpe.get_vocab_size()
    assert bpe.get_vocab_size() == tokenizer.VOCAB_SIZE == 1280
    assert [bpe.token_to_id(t) for t in tokenizer.SPECIAL] == list(range(len(tokenizer.SPECIAL)))


@settings(deadline=None)
@given(st.text(max_size=60).filter(lambda t: "▁" not in t and "<" not in t))
def test_any_text_comes_back(bpe: Tokenizer, text: str) -> None:
    ids = bpe.encode(text, add_special_tokens=False).ids
    assert tokenizer.IDS["<unk>"] not in ids
    assert bpe.decode(ids, skip_special_tokens=False) == text


def test_digits_stand_alone(bpe: Tokenizer) -> None:
    tokens = bpe.encode('{"box_2d": [120, 34, 1000, 7]', add_special_tokens=False).tokens
    assert all(len(t) == 1 for t in tokens if any(c.isdigit() for c in t))


def test_prompts_are_those_of_the_tasks() -> None:
    assert questions.CAPTION == caption.IMAGE_PROMPT
    assert questions.CAPTION_SEVERAL == caption.IMAGES_PROMPT
    assert questions.CAPTION_VIDEO == caption.VIDEO_PROMPT
    assert questions.TRANSCRIBE == transcribe.PROMPT
    assert questions.TRANSCRIBE_ORIGINAL == transcribe.ORIGINAL_LANGUAGE_PROMPT
    asked = {questions.detect(random.Random(seed), [detect.ANYTHING]) for seed in range(20)}
    assert detect.PROMPT.format(what=detect.ANYTHING) in asked


def test_training_writes_turns_as_the_template_does() -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "Look."}, {"type": "audio"}]
    turn = [{"role": "user", "content": parts}]
    assert render(turn) == rows.prompt("<|image|>Look.<|audio|>")
    assert render(turn, enable_thinking=True) == rows.prompt(
        "<|image|>Look.<|audio|>", thinking=True
    )
    assert render(turn, tools=[questions.WEATHER_TOOL]) == rows.prompt(
        "<|image|>Look.<|audio|>", tools=rows.WEATHER
    )


def test_template_writes_tool_rounds_and_drops_thoughts() -> None:
    call = {"function": {"name": "f", "arguments": {"a": "x", "n": 2, "b": True}}}
    text = render(
        [
            {"role": "system", "content": " Be brief. "},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": "f", "content": "sunny"},
            {"role": "assistant", "content": "<|channel>thought\nhm\n<channel|>It is."},
            {"role": "user", "content": "Why?"},
        ]
    )
    assert text == (
        "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n"
        '<|tool_call>call:f{a:<|"|>x<|"|>,b:true,n:2}<tool_call|>'
        '<|tool_response>response:f{value:<|"|>sunny<|"|>}<tool_response|>It is.<turn|>\n'
        "<|turn>user\nWhy?<turn|>\n<|turn>model\n"
    )


def test_boxes_are_read_as_they_were_meant() -> None:
    box = answers.to_grid(10, 20, 110, 70, width=200, height=100)
    assert box == (200, 50, 700, 550)
    read = read_boxes(answers.boxes([("red circle", box)]))
    assert read is not None
    (found,) = read.found
    assert (found.label, found.y0, found.x0, found.y1, found.x1) == ("red circle", *box)
    nothing = read_boxes(answers.boxes([]))
    assert nothing is not None
    assert not nothing.found


def test_a_scene_has_one_caption_and_things_that_keep_apart() -> None:
    rng = random.Random(7)
    for _ in range(200):
        scene = scenes.draw_scene(rng)
        backwards = scenes.Scene(
            scene.width, scene.height, scene.background, scene.ground, scene.things[::-1], 0
        )
        assert scenes.caption(scene) == scenes.caption(backwards)
        for i, a in enumerate(scene.things):
            for b in scene.things[:i]:
                assert (a.x - b.x) ** 2 + (a.y - b.y) ** 2 > (a.radius + b.radius) ** 2


def test_relations_are_told_from_the_first_thing() -> None:
    left = scenes.Thing("circle", "red", "small", 10, 50, 5, 0)
    right = scenes.Thing("star", "blue", "large", 90, 50, 15, 0)
    scene = scenes.Scene(100, 100, "orange", "orange", (right, left), 0)
    assert scenes.caption(scene) == (
        "A small red circle to the left of a large blue star on an orange background."
    )


def test_stops_are_never_suppressed() -> None:
    generation = architecture.generation_config()
    assert not set(generation["eos_token_id"]) & set(generation["suppress_tokens"])
