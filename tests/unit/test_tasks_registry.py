"""Tasks by name: our own, those of other packages, and what is wrong with one that won't load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pyarrow as pa
import pytest

import jobs.tasks as tasks
from jobs.tasks import TASKS, get_task
from jobs.tasks.caption import Caption
from storage.errors import InvalidJob
from storage.records import RECORD_FIELDS


class Louder(Caption):
    """What another package might add."""

    name = "louder"


class NoTask:
    """What another package might point at by mistake."""


@pytest.fixture
def _others(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    entries = [EntryPoint(name, value, tasks.GROUP) for name, value in request.param.items()]
    monkeypatch.setattr(tasks, "entry_points", lambda group: entries)
    tasks._known.cache_clear()
    tasks._load.cache_clear()
    yield
    tasks._known.cache_clear()
    tasks._load.cache_clear()


def test_our_own_tasks_are_known_and_complete() -> None:
    assert list(TASKS) == [
        "caption", "transcribe", "translate-speech", "detect", "point", "ocr", "describe-audio",
        "ask", "chat", "classify", "extract", "call-tools", "to-html",
    ]  # fmt: skip
    for name, task in TASKS.items():
        assert get_task(name) is task
        assert task.name == name
        assert task.summary
        options = task.Options()
        assert task.Options.model_validate_json(options.model_dump_json()) == options
        assert all(field.description or key in ("top_p", "top_k")
                   for key, field in task.Options.model_fields.items())  # fmt: skip
        taken = {field.name for field in RECORD_FIELDS} & {field.name for field in task.columns}
        assert not taken
        assert set(task.required) <= set(task.Options.model_fields)
        pa.schema(task.columns)


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(
        InvalidJob, match=r"unknown task 'captoin'; known: caption, transcribe, .*to-html"
    ):
        get_task("captoin")
    with pytest.raises(KeyError):
        TASKS["captoin"]


@pytest.mark.usefixtures("_others")
@pytest.mark.parametrize("_others", [{"louder": f"{__name__}:Louder"}], indirect=True)
def test_a_task_of_another_package_is_found() -> None:
    assert isinstance(get_task("louder"), Louder)
    assert "louder" in TASKS
    assert list(TASKS)[-1] == "louder"


@pytest.mark.usefixtures("_others")
@pytest.mark.parametrize(
    ("_others", "message"),
    [
        ({"x": "no.such.module:Task"}, "task 'x' of no.such.module:Task does not load"),
        ({"x": f"{__name__}:Missing"}, "does not load"),
        ({"x": f"{__name__}:NoTask"}, "no subclass of jobs.tasks.base.Task"),
        ({"x": f"{__name__}:Louder"}, "calls itself 'louder'"),
        ({"caption": f"{__name__}:Louder"}, "two tasks are called 'caption'"),
    ],
    indirect=["_others"],
)
def test_a_task_that_does_not_load_says_why(message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        get_task("x")


def test_naming_the_tasks_imports_none_of_them() -> None:
    check = (
        "import sys, jobs.tasks; list(jobs.tasks.TASKS); print('jobs.tasks.detect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
