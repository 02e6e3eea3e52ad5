"""The flags that describe a job: `run`, `submit` and `plan` take them all, from this one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer
import yaml

from jobs.spec import JobSpec, make_spec
from orchestration.options import as_values
from storage.errors import InvalidJob

P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFlags:
    """A job as flags: the fields of a JobSpec, by the names that they have on a command line."""

    manifest: Annotated[
        str | None,
        typer.Argument(
            metavar="MANIFEST",
            help="JSONL, CSV, Parquet, WebDataset tars, a dataset, a folder or a pattern, local or "
            "s3:// (hf://, gs://, az://); or a JOB.yaml",
            show_default=False,
        ),
    ] = None
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="what to ask, see `mediamill tasks`; several: one job each"),
    ] = None
    out: Annotated[
        str | None,
        typer.Option(
            "--out", help="a local path or s3://bucket/prefix; with several tasks OUT/TASK"
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option("--model", help="tiny, a Hugging Face id (id@revision), or a folder"),
    ] = None
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="an option of the task"),
    ] = None
    from_columns: Annotated[
        str | None,
        typer.Option(
            "--from-columns", help="options that columns override, such as prompt,language"
        ),
    ] = None
    media_column: Annotated[
        str | None,
        typer.Option(
            "--media-column",
            help="the column of a Parquet file or Hugging Face dataset that holds the media",
        ),
    ] = None
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="the first N rows")] = None
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="N rows over the manifest")
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="of --sample")] = None
    priority: Annotated[
        str | None, typer.Option("--priority", help="high, normal or low, among a worker's jobs")
    ] = None
    unsafe_store: Annotated[
        bool,
        typer.Option(
            "--unsafe-store", help="accept a store without conditional writes (one writer)"
        ),
    ] = False
    print_job: Annotated[
        bool, typer.Option("--print-job", help="print the JOB.yaml and do nothing")
    ] = False

    def specs(self, default_model: str, default_out: str | None = None) -> list[JobSpec]:
        """One spec a task, from a job file and flags on top of it.

        With --print-job prints them instead and ends the command. Raises BadParameter,
        InvalidJob.
        """
        values = self._values()
        values.setdefault("model", default_model)
        if default_out is not None:
            values.setdefault("out", default_out)
        names = self.task or ([values["task"]] if "task" in values else [])
        for name, missing in (("MANIFEST", "manifest"), ("--out", "out")):
            if missing not in values:
                raise typer.BadParameter(f"{name} is missing")
        if not names:
            raise typer.BadParameter("--task is missing; `mediamill tasks` lists them")
        root = str(values["out"]).rstrip("/")
        places = [root] if len(names) == 1 else [f"{root}/{name}" for name in names]
        specs = [
            make_spec({**values, "task": name, "out": place})
            for name, place in zip(names, places, strict=True)
        ]
        if self.print_job:
            documents = [spec.model_dump(mode="json", exclude_defaults=True) for spec in specs]
            print(yaml.safe_dump_all(documents, sort_keys=False), end="")
            raise typer.Exit
        return specs

    def _values(self) -> dict[str, Any]:
        """Fields of a JobSpec that the job file and the flags give."""
        values: dict[str, Any] = {}
        manifest = self.manifest
        if manifest is not None and manifest.endswith((".yaml", ".yml")):
            values = _read_job(Path(manifest))
            manifest = None
        sets = as_values("--set", self.sets)
        if sets:
            values["options"] = {**values.get("options", {}), **sets}
        if self.from_columns is not None:
            names = [name.strip() for name in self.from_columns.split(",")]
            values["from_columns"] = [name for name in names if name]
        given = {
            "manifest": manifest,
            "out": self.out,
            "model": self.model,
            "media_column": self.media_column,
            "limit": self.limit,
            "sample": self.sample,
            "seed": self.seed,
            "priority": self.priority,
            "unsafe_store": self.unsafe_store or None,
        }
        return values | {name: value for name, value in given.items() if value is not None}


def with_job_flags(command: Callable[Concatenate[JobFlags, P], None]) -> Callable[..., None]:
    """A command that takes the flags of a job beside its own, and gets them as a JobFlags."""
    flags = inspect.signature(JobFlags, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def taking(**values: Any) -> None:
        job = JobFlags(**{name: values.pop(name) for name in flags})
        command(job, **values)  # type: ignore[call-arg]

    # What typer reads: a signature and annotations.
    taking.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*flags.values(), *own)]
    )
    taking.__annotations__ = {p.name: p.annotation for p in (*flags.values(), *own)}
    return taking


def _read_job(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidJob(f"{path}: cannot be read as a job file: {error}") from None
    if not isinstance(values, dict):
        raise InvalidJob(f"{path}: a job file is one mapping of a job's fields")
    return values
