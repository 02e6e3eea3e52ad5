"""Each task on an answer in the form that Gemma 4's documentation shows: as whole outputs have
it, and with anything wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.pieces import Span
from jobs.spec import check_options
from jobs.tasks import TASKS
from jobs.tasks.base import Answer, Parsed, Row
from storage.errors import RowError
from storage.records import check_columns
from tests.unit.exampled import example_options
from tests.unit.test_tasks_examples import ANSWERS, IMAGE, SPEECH

ROW = Row("r", ("a",))
#: What stands around an answer in a model's output.
AROUND = {
    "a turn's end": "{}<turn|>",
    "the end": "{}<eos>",
    "a thought": "<|channel>thought\nI see [1, 2] and {{3}}: ```json\n[]\n```\n<channel|>{}<turn|>",
    "no thought": "<|channel>thought\n<channel|>{}<turn|>",
    "a thought that the prompt opened": "A list? []<channel|>{}<turn|>",
    "blanks": "\n {} \n<turn|>",
    "a response to come": "{}<|tool_response>",
}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of every task, those that its example gives."""
    folder: Path = tmp_path_factory.mktemp("examples")
    return {name: check_options(TASKS[name], example_options(name, folder), ()) for name in TASKS}


def parse(name: str, raw: str, options: dict[str, Any], reason: str = "stop") -> Parsed:
    timed = name in ("transcribe", "translate-speech", "describe-audio")
    span: Span = SPEECH if timed else IMAGE
    task = TASKS[name]
    parsed = task.parse(ROW, [Answer.read(span, raw, reason)], options[name])
    check_columns(parsed.text, parsed.columns, task.columns)
    return parsed


@pytest.mark.parametrize("around", AROUND.values(), ids=list(AROUND))
@pytest.mark.parametrize("name", TASKS)
def test_an_answer_is_the_same_whatever_stands_around_it(
    name: str, around: str, options: dict[str, Any]
) -> None:
    alone = parse(name, ANSWERS[name], options)
    assert alone.warnings == ()
    assert parse(name, around.format(ANSWERS[name]), options) == alone


edits = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 12),
        st.sampled_from(
            ["", "", "[", "]", "{", "}", '"', "'", ",", ":", "\n", "```", "-", "1e999", "null",
             "NaN", '<|"|>', "<|tool_call>", "<tool_call|>", "<|channel>", "<channel|>", "é", "\\"]
        ),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=60, deadline=None)
@given(edits, st.sampled_from(["stop", "length"]))
def test_an_answer_gone_wrong_is_read_or_unparsable(
    name: str, options: dict[str, Any], wrong: list[tuple[int, int, str]], reason: str
) -> None:
    raw = ANSWERS[name]
    for place, gone, instead in wrong:
        at = place % (len(raw) + 1)
        raw = raw[:at] + instead + raw[at + gone :]
    try:
        parse(name, raw, options, reason)
    except RowError as error:
        assert error.kind == "unparsable"  # noqa: PT017 -- no error is as good
