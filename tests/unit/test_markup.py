"""Gemma 4's output: what is thought, what is a call, what is the answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.markup import Output, ToolCall, read_output
from jobs.pieces import Span
from jobs.tasks.base import Answer

Q = '<|"|>'


@pytest.mark.parametrize(
    ("raw", "output"),
    [
        ("A cat.<turn|>", Output("A cat.")),
        ("A cat.<turn|>\n<|turn>user\nmore", Output("A cat.")),
        ("A cat.<eos><pad><pad>", Output("A cat.")),
        ("<|channel>thought\nHm.\nYes.<channel|>A cat.<turn|>", Output("A cat.", "Hm.\nYes.")),
        ("<|channel>thought\n<channel|>A cat.", Output("A cat.")),
        ("<|channel>thought\nStill thin", Output("", "Still thin")),
        ("Hm.<channel|>A cat.", Output("A cat.", "Hm.")),
        ("<|channel>thought\na<channel|>x<|channel>thought\nb<channel|>y", Output("xy", "a\nb")),
        ("thought\nA cat.", Output("A cat.")),
        ("A thought\nof cats", Output("A thought\nof cats")),
        ("<|channel>thought\nthought itself<channel|>x", Output("x", "thought itself")),
        ("<|channel>thoughtful<channel|>x", Output("x", "thoughtful")),
        ("<|channel>thought", Output("")),
        ("A<|image|> cat<image|><|audio>.<pad>", Output("A cat.")),
        ("2 < 3 and <b>bold</b>", Output("2 < 3 and <b>bold</b>")),
        ("", Output("")),
    ],
)
def test_thought_and_turn_ends_are_no_part_of_the_answer(raw: str, output: Output) -> None:
    assert read_output(raw) == output
    assert Answer.read(Span(0, 0, 1), raw, "stop").text == output.text


def test_calls_are_read_with_their_arguments() -> None:
    raw = (
        f"<|channel>thought\nUse a tool.<channel|>Let me see."
        f"<|tool_call>call:look_up{{place:{Q}Bonn, {{NRW}}{Q},days:3,exact:true,limit:-1.5,"
        f"tags:[{Q}a:b{Q},2,[]],deep:{{k:{Q}{Q},n:null}},{Q}odd key{Q}:word}}<tool_call|>"
        f"<|tool_call>:bare{{}}<tool_call|><|tool_response>ignored"
    )
    output = read_output(raw)
    assert (output.text, output.thought, output.broken_calls) == ("Let me see.", "Use a tool.", 0)
    assert output.tool_calls == (
        ToolCall(
            "look_up",
            {
                "place": "Bonn, {NRW}",
                "days": 3,
                "exact": True,
                "limit": -1.5,
                "tags": ["a:b", 2, []],
                "deep": {"k": "", "n": None},
                "odd key": "word",
            },
        ),
        ToolCall("bare", {}),
    )


@pytest.mark.parametrize(
    "call",
    [
        f"<|tool_call>call:f{{a:{Q}x",
        f"<|tool_call>call:f{{a:{Q}x<tool_call|>",
        "<|tool_call>call:f{a:1<tool_call|>",
        "<|tool_call>no call<tool_call|>",
        "<|tool_call>call:f{a:" + "[" * 5000 + "<tool_call|>",
    ],
)
def test_a_call_that_is_not_whole_is_counted_and_not_guessed(call: str) -> None:
    output = read_output(f"Before. {call}")
    assert (output.text, output.tool_calls, output.broken_calls) == ("Before.", (), 1)


@pytest.mark.parametrize("rest", ["", "\n", "<|tool_response>", "<turn|>"])
def test_a_call_whose_arguments_are_whole_needs_no_end(rest: str) -> None:
    raw = f"<|channel>thought\n<channel|>thought<|tool_call>call:f{{n:{10**20}}}{rest}"
    assert read_output(raw) == Output("thought", None, (ToolCall("f", {"n": 10**20}),))
    assert read_output(f"{raw.removesuffix(rest)} more").broken_calls == 1


def test_a_call_that_is_begun_anew_is_read_and_the_first_is_counted() -> None:
    raw = f"A<|tool_call>call:f{{a:<|tool_call>call:f{{a:{Q}x{Q}}}<tool_call|>\nb"
    assert read_output(raw) == Output("A\nb", None, (ToolCall("f", {"a": "x"}),), 1)


def test_only_an_output_begins_with_a_label() -> None:
    raw = "<|channel>thought\nHm.<channel|>thought<|tool_call>call:f{}<tool_call|>\nof cats"
    assert read_output(raw).text == "thought\nof cats"


def written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{Q}{k}{Q}:{written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, str):
        return f"{Q}{value}{Q}"
    return {None: "null", True: "true", False: "false"}.get(value, str(value))


text = st.text().filter(lambda s: "<" not in s)
values = st.recursive(
    st.none() | st.booleans() | st.integers(2, 10**40) | st.integers(-(10**40), -1) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(text, values, max_size=4))
def test_arguments_are_read_as_they_were_written(arguments: dict[str, Any]) -> None:
    raw = f"<|tool_call>call:f{written(arguments)}<tool_call|>"
    assert read_output(raw).tool_calls == (ToolCall("f", arguments),)


tokens = st.sampled_from(
    ["<|channel>", "<channel|>", "thought\n", "<|tool_call>", "<tool_call|>", "call:f{", "a:", "}",
     "[", "]", ",", Q, "<turn|>", "<|image|>", "<eos>", "word ", "1.5", "\n"]
)  # fmt: skip


@settings(max_examples=300)
@given(st.one_of(st.text(), st.lists(tokens, max_size=30).map("".join)))
def test_no_output_raises_and_no_markup_is_left(raw: str) -> None:
    output = read_output(raw)
    for token in ("<|channel>", "<channel|>", "<tool_call|>", "<turn|>", "<|image|>", "<eos>"):
        assert token not in output.text
    assert output.text == output.text.strip()
