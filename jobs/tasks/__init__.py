"""What can be asked: the tasks by name, our own and those of installed packages.

Another package adds a task with an entry point in the group `mediamill.tasks`, whose
name is the task's and whose value is a subclass of `jobs.tasks.base.Task`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from jobs.tasks.base import Task
from storage.errors import InvalidJob

#: Entry points of this group are tasks.
GROUP = "mediamill.tasks"

_OWN = {
    "caption": "jobs.tasks.caption:Caption",
    "transcribe": "jobs.tasks.transcribe:Transcribe",
    "translate-speech": "jobs.tasks.translate_speech:TranslateSpeech",
    "detect": "jobs.tasks.detect:Detect",
    "point": "jobs.tasks.point:Point",
    "ocr": "jobs.tasks.ocr:Ocr",
    "describe-audio": "jobs.tasks.describe_audio:DescribeAudio",
    "ask": "jobs.tasks.ask:Ask",
    "chat": "jobs.tasks.chat:Chat",
    "classify": "jobs.tasks.classify:Classify",
    "extract": "jobs.tasks.extract:Extract",
    "call-tools": "jobs.tasks.call_tools:CallTools",
    "to-html": "jobs.tasks.to_html:ToHtml",
}


class _Tasks(Mapping[str, Task]):
    """Tasks by name; each is imported when it is first asked for."""

    def __getitem__(self, name: str) -> Task:
        if name not in _known():
            raise KeyError(name)
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_known())

    def __len__(self) -> int:
        return len(_known())


#: Every task that can be asked, by name. A task that does not load raises InvalidJob.
TASKS: Mapping[str, Task] = _Tasks()


def get_task(name: str) -> Task:
    """The task of this name. Raises InvalidJob naming the known ones."""
    if name not in _known():
        raise InvalidJob(f"unknown task {name!r}; known: {', '.join(_known())}")
    return _load(name)


@cache
def _known() -> dict[str, EntryPoint]:
    known = {name: EntryPoint(name, value, GROUP) for name, value in _OWN.items()}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        taken = known.get(entry.name)
        if taken is not None and taken.value != entry.value:
            raise InvalidJob(
                f"two tasks are called {entry.name!r}: {taken.value} and {_origin(entry)}; "
                "uninstall one of them"
            )
        known.setdefault(entry.name, entry)
    return known


@cache
def _load(name: str) -> Task:
    entry = _known()[name]
    try:
        loaded = getattr(import_module(entry.module), entry.attr)
    except (ImportError, AttributeError) as error:
        raise InvalidJob(f"task {name!r} of {_origin(entry)} does not load: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Task)):
        raise InvalidJob(
            f"task {name!r} of {_origin(entry)} is no subclass of jobs.tasks.base.Task"
        )
    task = loaded()
    if task.name != name:
        raise InvalidJob(f"task {name!r} of {_origin(entry)} calls itself {task.name!r}")
    return task


def _origin(entry: EntryPoint) -> str:
    return f"{entry.value} ({entry.dist.name})" if entry.dist else entry.value
