"""Completions are read as transformers reads them, wherever its reading succeeds.

What a completion of Gemma 4 looks like transformers knows by itself for checkpoints that
carry no `response_template`, as the tiny one: `transformers.cli.serving` has it by model type.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.markup import Output, ToolCall, read_output
from models.tiny import build

Q = '<|"|>'
#: What no part of an output holds that was understood.
MARKUP = ("<|", "|>", "<eos>", "<pad>")
_TOKENS = re.compile(r'<\|"\|>|<\|?[a-z_]+\|?>|.', re.DOTALL)
_END = re.compile(r"<turn\|>|<eos>|<\|tool_response>")
WORDS = (
    "a cat", "Rome", "2 < 3", "{x: 1}", "[1, 2]", 'say "hi"', "it's", "a\\b", "\n", "  ", ",",
    "語 और 🙂", "call:f{a:1}", "```json\n[]\n```", "<b>bold</b>", "thought", "null", "5", "",
)  # fmt: skip
KEYS = ("city", "days", "n1", "città", "_x", "a b", "dotted.key", "q-1", "3")
NUMBERS = ("0", "-1", "42", "3.25", "-0.5", "1e3", "2.5E-4", "12345678901234567890", "1.0")


@dataclass(frozen=True)
class Completion:
    """`raw` after a prompt that ends with `prefix`; how many `texts` of words stand in it, one
    region each, and whether it was `broken` afterwards."""

    prefix: str
    raw: str
    texts: int
    broken: bool = False


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import Gemma4Processor

    folder = tmp_path_factory.mktemp("files")
    build.write_files(folder)
    return Gemma4Processor.from_pretrained(folder)


@pytest.fixture(scope="module")
def template(processor: Any) -> Any:
    from transformers.cli.serving.utils import get_response_template

    return get_response_template(
        processor, SimpleNamespace(config=SimpleNamespace(model_type="gemma4"))
    )


def completions(count: int, seed: int) -> Iterator[Completion]:
    """So many, of every form: thought, calls, both, neither, words around them; a third broken."""
    random = np.random.default_rng(seed)
    for number in range(count):
        whole = _whole(random)
        # A prompt that opens the channel is no part of the output: had that no end, nothing
        # would tell a thought from an answer. No template of Gemma 4 leaves it open.
        opened = whole.prefix.endswith("thought\n")
        yield _broken(random, whole) if number % 3 == 2 and not opened else whole


def _whole(random: np.random.Generator) -> Completion:
    prefix, parts = "<|turn>user\nWhat?<turn|>\n<|turn>model\n", []
    form = int(random.integers(5))
    if form == 0:  # as the larger sizes are asked when they shall not think
        prefix += "<|channel>thought\n<channel|>"
    elif form == 1:  # the prompt may open the channel itself
        prefix += "<|channel>thought\n"
        parts.append(_words(random) + "<channel|>")
    elif form <= 3:
        parts.append(f"<|channel>thought\n{_words(random)}<channel|>")
    calls = [_call(random) for _ in range(int(random.integers(4)))]
    before, after = (_words(random) if random.random() < 0.5 else "" for _ in range(2))
    parts += [before, *calls, after]
    end = str(random.choice(("<turn|>", "<eos>", "<|tool_response>" if calls else "<turn|>", "")))
    texts = bool(before) + bool(after) if calls else bool(before + after)
    return Completion(prefix, "".join(parts) + end, texts)


def _broken(random: np.random.Generator, whole: Completion) -> Completion:
    """Cut anywhere, or with a bit of it left out or said twice; tokens of markup stay whole."""
    parts = _TOKENS.findall(whole.raw)
    start, end = sorted(int(n) for n in random.integers(0, len(parts) + 1, 2))
    end = min(end, start + 8)
    made = (parts[:start], parts[:start] + parts[end:], parts[:end] + parts[start:])
    raw = "".join(made[int(random.integers(3))])
    if end_of_turn := _END.search(raw):  # where vLLM stops
        raw = raw[: end_of_turn.end()]
    return Completion(whole.prefix, raw, 2, broken=True)


def _words(random: np.random.Generator) -> str:
    return " ".join(map(str, random.choice(WORDS, int(random.integers(1, 5)))))


def _call(random: np.random.Generator) -> str:
    name = random.choice(("get_weather", "f", "Größe", "x2"))
    return f"<|tool_call>call:{name}{_object(random, 0)}<tool_call|>"


def _object(random: np.random.Generator, depth: int) -> str:
    keys = random.permutation(KEYS)[: int(random.integers(4))]
    return "{" + ",".join(f"{_key(str(key))}:{_value(random, depth + 1)}" for key in keys) + "}"


def _key(key: str) -> str:
    return key if key.isidentifier() or key.isdigit() else f"{Q}{key}{Q}"


def _value(random: np.random.Generator, depth: int) -> str:
    form = int(random.integers(4 if depth < 4 else 2))
    if form == 0:
        return f"{Q}{_words(random)}{Q}"
    if form == 1:
        return str(random.choice((*NUMBERS, "true", "false", "null")))
    if form == 2:
        return _object(random, depth)
    return "[" + ",".join(_value(random, depth + 1) for _ in range(int(random.integers(3)))) + "]"


@dataclass(frozen=True)
class Read:
    """What transformers reads: its message, and all regions that it has of words.

    Of several of a kind its message keeps the last, ours all of them.
    """

    output: Output
    texts: list[str]
    thoughts: list[str]


def theirs(processor: Any, template: Any, completion: Completion) -> Read | None:
    """What transformers reads; None where it fails, or leaves markup in what it read."""
    stream = processor.tokenizer.get_response_parser(template, prefix=completion.prefix)
    try:
        read = processor.parse_response(completion.raw, template, prefix=completion.prefix)
        events = [*stream.initial_events, *stream.feed(completion.raw), *stream.finalize()[1]]
    except ValueError:
        return None
    words: dict[str, list[str]] = {"content": [], "thinking": []}
    for event in events:
        if event["field"] in words and event["type"] == "region_open":
            words[event["field"]].append("")
        elif event["field"] in words and event["type"] == "region_chunk":
            words[event["field"]][-1] += event["text"]
    if any(mark in text for texts in words.values() for text in texts for mark in MARKUP):
        return None
    calls = tuple(
        ToolCall(call["function"]["name"], call["function"]["arguments"])
        for call in read.get("tool_calls", [])
    )
    output = Output(read.get("content", ""), read.get("thinking"), calls)
    return Read(output, words["content"], words["thinking"])


def expected(read: Read) -> Output:
    """What we should read: transformers' message, but no word of the output is lost."""
    thoughts = [thought.strip() for thought in read.thoughts]
    return Output(
        "".join(read.texts).strip(),
        "\n".join(filter(None, thoughts)) or None,
        read.output.tool_calls,
    )


def test_every_form_is_read_as_transformers_reads_it(processor: Any, template: Any) -> None:
    told: Counter[str] = Counter()
    for completion in completions(600, 7):
        read = theirs(processor, template, completion)
        if read is None:
            assert completion.broken, completion
            continue
        ours = read_output(completion.raw)
        assert ours == expected(read), completion
        if len(read.texts) < 2 and len(read.thoughts) < 2:
            assert ours == read.output, completion
            told["as parse_response"] += 1
        told["broken"] += completion.broken
        told["thought"] += ours.thought is not None
        told["calls"] += len(ours.tool_calls) > 1
        told["all"] += bool(ours.thought and ours.tool_calls and ours.text)
    assert told["as parse_response"] >= 300
    assert {what: count for what, count in told.items() if count < 50} == {}
