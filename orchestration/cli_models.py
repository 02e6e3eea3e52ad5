"""Commands about models: what each can do and needs, and fetching one beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from jobs.catalog import KNOWN, Facts, size_of
from jobs.models import TINY, inspect, local_path, resolve
from jobs.tasks.base import IMAGE_BUDGETS
from orchestration import show
from orchestration.options import Json
from storage.errors import InvalidJob
from workers.fitting import smallest_gpu

_GB = 10**9

#: What the columns mean, and what is the same for all.
_LEGEND = f"""
All take images (of up to {", ".join(map(str, IMAGE_BUDGETS))} soft tokens each) and video.
GPU: the smallest usual one that holds the model; in brackets the smallest that
does with requests of full length. A larger model is shared by several GPUs.
thought: how the template ends a prompt when thinking is off."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(invoke_without_command=True)
    group.callback()(models)
    group.command()(pull)
    app.add_typer(group, name="models")


def models(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option("--model", help="tell of this one: a Hugging Face id or a folder")
    ] = None,
    json_output: Json = False,
) -> None:
    """The published sizes of Gemma 4; any Hugging Face id or folder of one will do."""
    if context.invoked_subcommand is not None:
        return
    listed: list[dict[str, Any]] = []
    if model is not None:
        listed.append(_described(model))
    else:
        try:
            listed.append(_described(TINY))
        except InvalidJob as error:
            show.err.print(f"[yellow]note[/yellow] {escape(str(error))}")
        listed += [_row(known.name, None, known.facts) for known in KNOWN]
    if json_output:
        show.as_json(listed)
        return
    show.out.print(_table(listed))
    show.out.print(_LEGEND, highlight=False)


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a Hugging Face id, or id@revision")],
    json_output: Json = False,
) -> None:
    """Fetch a model into the Hugging Face cache, at one commit, before workers need it."""
    model = resolve(name, base=True)
    if not json_output:
        show.err.print(f"fetching {model.key}" if model.path is None else f"{name} is here already")
    folder = Path(local_path(model))
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    if json_output:
        show.as_json(
            {
                "model": model.key,
                "name": model.name,
                "revision": model.revision,
                "path": str(folder),
                "files": len(files),
                "bytes": size,
            }
        )
        return
    show.err.print(f"{len(files)} files, {size / _GB:.2f} GB in {folder}", highlight=False)
    # What --model takes, so that jobs and workers name the same commit.
    print(model.key)


def _table(listed: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold")
    for name in ("size", "audio", "context", "weights", "GPU", "thought"):
        table.add_column(name, no_wrap=True)
    for row in listed:
        table.add_row(
            row["name"],
            _amount(row["parameters"], {"B": 1e9, "M": 1e6}),
            "yes" if "audio" in row["takes"] else "no",
            f"{row['context'] // 1024}K",
            _amount(row["weight_bytes"], {"GB": 1e9, "MB": 1e6}),
            _gpu(row["least_gpu_gb"], row["gpu_gb"]),
            "empty" if row["empty_thought"] else "none",
        )
    return table


def _described(name: str) -> dict[str, Any]:
    found = inspect(name, base=True)
    row = _row(found.model.name, found.model.revision, found.facts)
    return row | {"parameters": found.model.parameters}


def _row(name: str, revision: str | None, facts: Facts) -> dict[str, Any]:
    shape = facts.shape
    return {
        "name": name,
        "revision": revision,
        "size": size_of(shape),
        "parameters": float(shape.parameters),
        "active_parameters": float(shape.active),
        "takes": sorted(shape.abilities),
        "context": shape.context,
        "image_tokens": list(IMAGE_BUDGETS),
        "empty_thought": shape.empty_thought,
        "format": facts.format,
        "weight_bytes": facts.weight_bytes,
        "least_gpu_gb": smallest_gpu(facts, lowered=True),
        "gpu_gb": smallest_gpu(facts, lowered=False),
    }


def _amount(number: float, units: dict[str, float]) -> str:
    unit, size = next(((u, s) for u, s in units.items() if number >= s), list(units.items())[-1])
    return f"{number / size:.1f} {unit}"


def _gpu(least: int | None, full: int | None) -> str:
    if least is None:
        return "several"
    if least == full:
        return f"{least} GB"
    return f"{least} GB ({'several' if full is None else full})"
