"""The command line: the flags of a job are the same wherever a job is described."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from click.testing import Result
from typer.testing import CliRunner

from jobs.spec import JobSpec, make_spec
from orchestration import cli
from orchestration.cli import app
from orchestration.job_flags import JobFlags
from orchestration.options import as_values
from storage.errors import InvalidJob

ASKED = {"manifest": "m.jsonl", "task": ["caption"], "out": "o"}


def call(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, list(arguments))


def specs(**flags: Any) -> list[JobSpec]:
    return JobFlags(**(ASKED | flags)).specs("tiny")


@pytest.mark.parametrize("command", ["run", "submit", "plan"])
def test_every_field_of_a_job_is_a_flag_of_every_command(command: str) -> None:
    said = call(command, "--help").output
    flags = {"options": "--set", "manifest": "MANIFEST"}
    for name in JobSpec.model_fields:
        assert flags.get(name, "--" + name.replace("_", "-")) in said, name
    assert "--print-job" in said


def test_flags_become_fields() -> None:
    (spec,) = specs(
        model="m@r",
        sets=["prompt=Who?", "max_tokens=9"],
        from_columns="prompt, system,",
        sample=5,
        seed=2,
        priority="high",
        unsafe_store=True,
    )
    assert spec == make_spec(
        {
            "manifest": "m.jsonl",
            "task": "caption",
            "out": "o",
            "model": "m@r",
            "options": {"prompt": "Who?", "max_tokens": 9},
            "from_columns": ("prompt", "system"),
            "sample": 5,
            "seed": 2,
            "priority": "high",
            "unsafe_store": True,
        }
    )


def test_several_tasks_are_a_job_each() -> None:
    assert [(s.task, s.out) for s in specs(task=["caption", "detect"], out="o/")] == [
        ("caption", "o/caption"),
        ("detect", "o/detect"),
    ]


def test_a_job_file_stands_for_flags_and_flags_win(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    job = {"manifest": "m.csv", "task": "detect", "out": "o", "sample": 4, "seed": 7}
    path.write_text(yaml.safe_dump({**job, "options": {"prompt": "a", "max_tokens": 1}}))
    (plain,) = JobFlags(manifest=str(path)).specs("tiny")
    assert (plain.task, plain.sample, plain.seed, plain.model) == ("detect", 4, 7, "tiny")
    (spec,) = JobFlags(manifest=str(path), seed=0, out="p", sets=["max_tokens=2"]).specs("tiny")
    assert (spec.seed, spec.out, spec.sample) == (0, "p", 4)
    assert spec.options == {"prompt": "a", "max_tokens": 2}


@pytest.mark.parametrize("command", ["run", "submit", "plan"])
def test_a_printed_job_is_read_back(command: str, tmp_path: Path) -> None:
    flags = ("--out", "o", "--sample", "3", "--seed", "5", "--set", "max_tokens=8")
    printed = call(command, "m.jsonl", "--task", "caption", *flags, "--print-job")
    assert printed.exit_code == 0, printed.output
    path = tmp_path / "job.yaml"
    path.write_text(printed.output)
    assert JobFlags(manifest=str(path)).specs("tiny") == specs(
        sample=3, seed=5, sets=["max_tokens=8"]
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"manifest": None}, "MANIFEST is missing"),
        ({"out": None}, "--out is missing"),
        ({"task": None}, "--task is missing"),
        ({"sets": ["prompt"]}, "--set prompt: write it as key=value"),
    ],
)
def test_what_is_missing_is_named(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(typer.BadParameter, match=words):
        specs(**flags)


@pytest.mark.parametrize("text", ["- a\n", "{", "manifest: m.csv\nfolder: x\n"])
def test_a_job_file_of_no_sense_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yml"
    path.write_text(text)
    with pytest.raises(InvalidJob, match="job"):
        JobFlags(manifest=str(path), task=["caption"], out="o").specs("tiny")


def test_a_plan_needs_no_place() -> None:
    (spec,) = JobFlags(manifest="m.jsonl", task=["caption"]).specs("tiny", default_out="anywhere")
    assert spec.out == "anywhere"


def test_a_pipe_that_breaks_ends_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # A decoder that dies while it is fed, or a connection that Redis closes, is such a pipe.
    seen: list[Any] = []
    before = signal.getsignal(signal.SIGPIPE)

    def command(**_: Any) -> None:
        seen.append(signal.getsignal(signal.SIGPIPE))

    monkeypatch.setattr(cli, "app", command)
    try:
        cli.main()
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert seen == [signal.SIG_IGN]


def test_one_task_shows_its_options() -> None:
    listed = call("tasks").output
    assert "point" in listed
    assert "max_tokens" not in listed
    shown = call("tasks", "point").output
    assert re.search(r"element\s+needed", shown)
    [facts] = json.loads(call("tasks", "point", "--json").output)
    assert facts["required"] == ["element"]
    wrong = call("tasks", "poin")
    assert isinstance(wrong.exception, InvalidJob)


def test_values_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    (tmp_path / "prompt.txt").write_text("Say it.\n")
    assert as_values("--set", [
        f"json_schema=@{tmp_path}/schema.json", f"prompt=@{tmp_path}/prompt.txt", "system=@@me",
    ]) == {"json_schema": {"type": "object"}, "prompt": "Say it.\n", "system": "@me"}  # fmt: skip
    with pytest.raises(typer.BadParameter, match=r"--set prompt=@nowhere.*cannot be read"):
        as_values("--set", ["prompt=@nowhere"])


@pytest.mark.parametrize("arguments", [["tasks"], ["tasks", "--json"]])
def test_a_reader_that_leaves_early_sees_no_traceback(arguments: list[str]) -> None:
    command = [sys.executable, "-c", "from orchestration.cli import main; main()", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode == 1
