"""Each task's example: its command is one that can be given, its record one that is made."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from jobs.pieces import Span
from jobs.spec import JobSpec, check_options
from jobs.tasks import _OWN, get_task
from jobs.tasks.base import Answer, Row
from jobs.tasks.examples import EXAMPLES
from orchestration.cli import app
from orchestration.job_flags import JobFlags, with_job_flags
from storage.records import check_columns

IMAGE = Span(0, 0, 1, width=640, height=480)
SPEECH = Span(0, 0, 99_200, 0.0, 6.2)
#: Answers of the model in the forms that Gemma 4's documentation shows.
ANSWERS = {
    "caption": "A ginger cat sleeps on a red sofa beside a window.",
    "transcribe": "Good morning, and welcome to the harbor.",
    "translate-speech": "Good morning, and welcome to the harbor.\n"
    "French: Bonjour et bienvenue au port.",
    "detect": '```json\n[{"box_2d": [350, 100, 800, 450], "label": "dog"}]\n```',
    "point": '```json\n[{"box_2d": [900, 800, 950, 900], "label": "Send"}]\n```',
    "ocr": "```markdown\n# Receipt\n\n| item | price |\n| --- | --- |\n| Tea | 2.40 |\n```",
    "describe-audio": "A woman reads the weather forecast in a calm voice; rain is to come.",
    "ask": "There are two dogs.",
    "chat": "Kind.",
    "classify": '"indoors"',
    "extract": '{"shop": "Corner Tea", "total": 2.4}',
    "call-tools": '<|tool_call>call:book_table{people:4,time:<|"|>19:30<|"|>}<tool_call|>',
    "to-html": "```html\n<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>\n```",
}


def spec_of(command: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> JobSpec:
    """The job that `mediamill run` makes of a command given in the folder `files`."""
    specs: list[JobSpec] = []
    asked = typer.Typer()

    @asked.command()
    @with_job_flags
    def run(job: JobFlags) -> None:
        specs.extend(job.specs("tiny"))

    monkeypatch.chdir(files)
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("mediamill", "run")
    result = CliRunner().invoke(asked, arguments)
    assert result.exit_code == 0, result.output
    (spec,) = specs
    return spec


def test_every_task_of_ours_has_one() -> None:
    assert list(EXAMPLES) == list(_OWN)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_command_makes_the_record(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, task = EXAMPLES[name], get_task(name)
    for file, content in example.files.items():
        (tmp_path / file).write_text(content)
    spec = spec_of(example.command, tmp_path, monkeypatch)
    assert spec.task == name
    options = check_options(task, spec.options, spec.from_columns)
    timed = name in ("transcribe", "translate-speech")
    answer = Answer.read(SPEECH if timed else IMAGE, ANSWERS[name], "stop")
    parsed = task.parse(Row("r", ("a",)), [answer], options)
    made = {**parsed.columns, "text": parsed.text}
    assert {column: made[column] for column in example.record} == dict(example.record)
    check_columns(parsed.text, parsed.columns, task.columns)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_shown(name: str) -> None:
    shown = CliRunner().invoke(app, ["tasks", name])
    assert shown.exit_code == 0, shown.output
    words = " ".join(shown.output.split())
    assert " ".join(EXAMPLES[name].command.split()) in words
    document = json.loads(CliRunner().invoke(app, ["tasks", name, "--json"]).output)
    assert document[0]["example"] == json.loads(json.dumps(dataclasses.asdict(EXAMPLES[name])))


def test_a_task_of_others_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.cli_lists.EXAMPLES", {})
    shown: Any = CliRunner().invoke(app, ["tasks", "ocr"])
    assert shown.exit_code == 0
    assert "example" not in shown.output
