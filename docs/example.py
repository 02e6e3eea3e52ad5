"""An example of a task: rows of a manifest, how they are asked about, and what came back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.pieces import Piece, Span
from jobs.tasks import get_task
from jobs.tasks.base import Answer, Prompt, Row, Task, TaskOptions
from workers.images import decode_image
from workers.streams import decode_streams
from workers.together import merged

#: What the tiny model is able to do, and every model of its size.
ABILITIES = frozenset({"image", "video", "audio"})
_IMAGES = (".png", ".jpg")

Columns = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the manifest: media by their files, columns of its own.

    `raw` is an answer written by hand, in the form in which models give it. Of an answer
    that the model is to give, `right` says whether a record is free of mistakes, and
    `truth` what would be right, in words.
    """

    id: str
    files: tuple[Path, ...] = ()
    columns: Columns = field(default_factory=dict)
    raw: str | None = None
    right: Callable[[Columns], bool] | None = None
    truth: str = ""

    def manifest(self) -> dict[str, Any]:
        """The row as a user writes it; places are told from the manifest's folder."""
        places = [f"media/{file.name}" for file in self.files]
        media: dict[str, Any] = {"uris": places} if len(places) > 1 else {}
        if len(places) == 1:
            media["uri"] = places[0]
        return {"id": self.id, **media, **self.columns}

    def row(self) -> Row:
        """The row as a task sees it."""
        return Row(self.id, tuple(str(file) for file in self.files), self.columns)


@dataclass(frozen=True, slots=True)
class Example:
    """A job over a few rows. `files` are named by options of their names, as JSON text."""

    task: str
    lines: tuple[Line, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    from_columns: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    #: Of interest beside the command: why it is asked so.
    remark: str = ""

    @property
    def by_hand(self) -> bool:
        """Whether the answers are written by hand."""
        return all(line.raw is not None for line in self.lines)

    @property
    def command(self) -> str:
        """The command of the example, as it is typed."""
        words = ["mediamill", "run", f"{self.task}.jsonl", "--task", self.task]
        words += ["--out", f"{self.task}-records"]
        for name, value in self.options.items():
            words += ["--set", f"{name}={value}"]
        for name in self.files:
            words += ["--set", f"{name}=@{name}.json"]
        if self.from_columns:
            words += ["--from-columns", ",".join(self.from_columns)]
        return shlex.join(words)

    def given(self) -> dict[str, Any]:
        """The options of the job, with the content of their files."""
        return {**self.options, **{name: json.loads(text) for name, text in self.files.items()}}

    def options_of(self, line: Line) -> TaskOptions:
        """All options as they hold for a row."""
        own = {name: line.columns[name] for name in self.from_columns}
        values = {**self.given(), **{k: v for k, v in own.items() if v is not None}}
        return get_task(self.task).Options.model_validate(values)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row came to: columns, warnings, what was asked, and whether it has a mistake.

    `columns` are the task's own; `text` stands before them where they are empty.
    """

    line: Line
    columns: Columns
    warnings: tuple[str, ...]
    prompt: Prompt
    wrong: bool = False


def prompt_of(example: Example, line: Line) -> tuple[Prompt, Piece]:
    """What is asked about a row, and of what: all of it, or its first piece."""
    task, options = get_task(example.task), example.options_of(line)
    pieces = list(_pieces(task, line, options)) or [Piece(Span(0, 0, 0))]
    piece = merged([("", each) for each in pieces])[1] if task.together else pieces[0]
    return task.prompt(line.row(), piece, options), piece


def answered_by_hand(example: Example, line: Line) -> Outcome:
    """A row's outcome from an answer written by hand, read as the task reads its own."""
    task, options = get_task(example.task), example.options_of(line)
    prompt, piece = prompt_of(example, line)
    answer = Answer.read(piece.span, line.raw or "", "stop")
    parsed = task.parse(line.row(), [answer], options)
    columns = {column.name: parsed.columns.get(column.name) for column in task.columns}
    # Through their types, as a record's columns go.
    typed = {c.name: pa.array([columns[c.name]], c.type).to_pylist()[0] for c in task.columns}
    return Outcome(line, _shown(parsed.text, typed), parsed.warnings, prompt)


def answered_by_model(example: Example, line: Line, record: Columns) -> Outcome:
    """A row's outcome from the record that `mediamill run` left. Raises SystemExit if it failed."""
    if record["status"] != "ok":
        raise SystemExit(f"docs: {example.task}, row {line.id}: {record['error']['message']}")
    prompt, _ = prompt_of(example, line)
    own = {column.name: record[column.name] for column in get_task(example.task).columns}
    wrong = line.right is not None and not line.right(record)
    columns = _shown(record["text"], own)
    return Outcome(line, columns, tuple(record["warnings"]), prompt, wrong)


def _shown(text: str, own: Columns) -> Columns:
    return own if any(own.values()) else {"text": text, **own}


def _pieces(task: Task, line: Line, options: TaskOptions) -> Iterator[Piece]:
    reading = task.reading(options, ABILITIES)
    for index, file in enumerate(line.files):
        if file.suffix in _IMAGES:
            items = decode_image(file, reading, index)
        else:
            items = decode_streams(str(file), reading, index)
        yield from (item for item in items if isinstance(item, Piece))
