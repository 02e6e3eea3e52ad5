"""Commands that say what can be asked, and of which model."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table

from jobs.models import KNOWN, TINY, resolve
from jobs.tasks import TASKS
from orchestration import show
from orchestration.options import Json
from storage.errors import InvalidJob


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (tasks, models):
        app.command()(command)


def tasks(json_output: Json = False) -> None:
    """The tasks, what they take, and their options."""
    listed: list[dict[str, Any]] = [
        {
            "name": task.name,
            "version": task.version,
            "summary": task.summary,
            "kinds": sorted(task.kinds),
            "needs": sorted(task.needs),
            "columns": {column.name: str(column.type) for column in task.columns},
            "options": {
                name: {"default": field.get_default(), "description": field.description}
                for name, field in task.Options.model_fields.items()
            },
        }
        for task in TASKS.values()
    ]
    if json_output:
        show.as_json(listed)
        return
    table = Table(box=None, padding=(0, 2, 1, 0))
    for name in ("task", "what", "takes", "columns", "options (--set)"):
        table.add_column(name, overflow="fold")
    for entry in listed:
        table.add_row(
            entry["name"],
            entry["summary"],
            ", ".join(entry["kinds"]),
            ", ".join(entry["columns"]),
            ", ".join(f"{name}={option['default']}" for name, option in entry["options"].items()),
        )
    show.out.print(table)


def models(json_output: Json = False) -> None:
    """Models that are known to work; any Hugging Face id or folder of a Gemma 4 will do."""
    listed: list[dict[str, Any]] = []
    try:
        tiny = resolve(TINY)
        listed.append(
            {
                "name": tiny.name,
                "parameters": tiny.parameters,
                "takes": sorted(tiny.abilities),
                "context": tiny.context,
            }
        )
    except InvalidJob as error:
        show.err.print(f"[yellow]note[/yellow] {error}")
    listed += [
        {
            "name": known.name,
            "parameters": known.parameters,
            "takes": sorted(known.abilities),
            "context": known.context,
        }
        for known in KNOWN
    ]
    if json_output:
        show.as_json(listed)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("model", "parameters", "takes", "context"):
        table.add_column(name, overflow="fold")
    for model in listed:
        size = model["parameters"]
        table.add_row(
            model["name"],
            "" if size is None else f"{size / 1e9:.2f} B" if size >= 1e8 else f"{size / 1e6:.1f} M",
            ", ".join(model["takes"]),
            "" if model["context"] is None else f"{model['context']:,}",
        )
    show.out.print(table)
