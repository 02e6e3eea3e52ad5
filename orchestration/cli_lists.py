"""Commands that say what can be asked; of which model is said in `cli_models`."""

from __future__ import annotations

import dataclasses
import json
from inspect import cleandoc
from typing import Annotated, Any

import typer
from rich.table import Table

from jobs.tasks import TASKS, get_task
from jobs.tasks.base import Task
from jobs.tasks.examples import EXAMPLES, Example
from orchestration import cli_models, show
from orchestration.options import Json


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(tasks)
    cli_models.add_to(app)


def tasks(
    name: Annotated[str | None, typer.Argument(help="of a task: shows its options")] = None,
    json_output: Json = False,
) -> None:
    """The tasks and what they give; or one task and its options."""
    chosen = list(TASKS.values()) if name is None else [get_task(name)]
    if json_output:
        show.as_json([_facts(task) for task in chosen])
    elif name is None:
        _list(chosen)
    else:
        _describe(chosen[0])


def _facts(task: Task) -> dict[str, Any]:
    example = EXAMPLES.get(task.name)
    return {
        "name": task.name,
        "version": task.version,
        "summary": task.summary,
        "kinds": sorted(task.kinds),
        "needs": sorted(task.needs),
        "required": list(task.required),
        "columns": {column.name: str(column.type) for column in task.columns},
        "options": {
            name: {"default": field.get_default(), "description": field.description}
            for name, field in task.Options.model_fields.items()
        },
        "example": None if example is None else dataclasses.asdict(example),
    }


def _list(chosen: list[Task]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("task", no_wrap=True)
    for header in ("what", "takes", "columns"):
        table.add_column(header)
    for task in chosen:
        columns = ", ".join(column.name for column in task.columns) or "text"
        table.add_row(task.name, task.summary, ", ".join(sorted(task.kinds)), columns)
    show.out.print(table)
    show.out.print("Options of one: mediamill tasks NAME", style="dim")


def _describe(task: Task) -> None:
    show.out.print(f"{task.name}: {task.summary}", style="bold")
    show.out.print(cleandoc(task.__doc__ or ""), highlight=False)
    show.out.print()
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("option", no_wrap=True)
    table.add_column("default")
    table.add_column("what")
    for name, field in task.Options.model_fields.items():
        given = "needed" if name in task.required else _shown(field.get_default())
        table.add_row(name, given, field.description or "")
    show.out.print(table)
    columns = Table(box=None, padding=(0, 2, 0, 0))
    columns.add_column("column", no_wrap=True)
    columns.add_column("type")
    for column in task.columns:
        columns.add_row(column.name, str(column.type))
    if task.columns:
        show.out.print()
        show.out.print(columns)
    if task.name in EXAMPLES:
        _show(EXAMPLES[task.name])


def _show(example: Example) -> None:
    show.out.print("\nexample", style="bold")
    # As it is: to be copied, and never taken for markup.
    print(example.command)
    for name, content in example.files.items():
        print(f"{name}: {content}")
    for column, value in example.record.items():
        print(f"{column}: {value if isinstance(value, str) else json.dumps(value)}")


def _shown(value: object) -> str:
    return "" if value is None or value == () else str(value)
