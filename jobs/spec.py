"""What was asked: the job a user describes, and the job as it is stored once planned."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jobs.models import Model
from jobs.plan import Plan
from jobs.tasks import get_task
from jobs.tasks.base import Task, TaskOptions
from storage.errors import CorruptObject, InvalidJob, NoSuchJob, NotFound
from storage.objects import Store, StoreTraits, local_path

#: Where a job's description lies under OUT. Until it is there the job does not exist.
SPEC_KEY = "_job/spec.json"

Priority = Literal["high", "normal", "low"]
#: Served strictly in this order.
PRIORITIES: tuple[Priority, ...] = get_args(Priority)


class JobSpec(BaseModel):
    """One task over one manifest into one output place, with one model and one set of options.

    Frozen and JSON-serialisable; the field names are those of a `JOB.yaml`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: str = Field(
        description="JSONL, CSV, Parquet, WebDataset tars, a folder, or a pattern; local or s3://"
    )
    task: str = Field(description="what to ask, see `mediamill tasks`")
    out: str = Field(description="a local path or s3://bucket/prefix")
    model: str = Field("tiny", description="tiny, a Hugging Face id (id@revision), or a folder")
    options: dict[str, Any] = Field(default_factory=dict, description="of the task")
    from_columns: tuple[str, ...] = Field(
        (), description="options that the manifest's columns of that name override, row by row"
    )
    media_column: str | None = Field(
        None, min_length=1, description="the column of a Parquet file or dataset that holds media"
    )
    limit: int | None = Field(None, ge=1, description="the first N rows")
    sample: int | None = Field(None, ge=1, description="N rows spread over the manifest")
    seed: int = Field(0, ge=0, description="of the sample")
    priority: Priority = "normal"
    unsafe_store: bool = Field(False, description="accept a store that ignores conditions")

    @model_validator(mode="after")
    def _one_subset(self) -> Self:
        if self.limit is not None and self.sample is not None:
            raise ValueError("limit and sample exclude each other")
        return self

    def located(self) -> JobSpec:
        """The same job with local paths made absolute, as it is stored."""
        places = {"manifest": _absolute(self.manifest), "out": _absolute(self.out)}
        return self.model_copy(update=places)


def make_spec(values: dict[str, Any]) -> JobSpec:
    """A spec from plain values; raises InvalidJob naming what is wrong and what is known."""
    unknown = sorted(set(values) - set(JobSpec.model_fields))
    if unknown:
        known = ", ".join(JobSpec.model_fields)
        raise InvalidJob(f"unknown field {', '.join(unknown)}; a job has: {known}")
    try:
        return JobSpec.model_validate(values)
    except ValidationError as error:
        raise InvalidJob(f"job: {_first_fault(error)}") from None


def check_options(task: Task, values: dict[str, Any], from_columns: tuple[str, ...]) -> TaskOptions:
    """The task's options with every default filled in; raises InvalidJob."""
    known = task.Options.model_fields
    for what, names in (("option", values), ("column option", from_columns)):
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise InvalidJob(
                f"unknown {what} {', '.join(unknown)} of task {task.name}; "
                f"known: {', '.join(known)}"
            )
    try:
        options = task.Options.model_validate(values)
    except ValidationError as error:
        raise InvalidJob(f"task {task.name}, option {_first_fault(error)}") from None
    for name in task.required:
        if not getattr(options, name) and name not in from_columns:
            raise InvalidJob(
                f"task {task.name} needs {name}: give --set {name}=…, or --from-columns {name} "
                "if the manifest has it"
            )
    return options


class StoredJob(BaseModel):
    """A job as `_job/spec.json` holds it: what was asked and what it was resolved to."""

    model_config = ConfigDict(frozen=True)

    spec_version: Literal[1] = 1
    job_id: str
    spec: JobSpec
    model: Model
    task_version: int
    options: dict[str, Any]
    plan: Plan
    traits: StoreTraits
    created_at: float

    @property
    def task(self) -> Task:
        """The task, of the version the job was submitted with; raises InvalidJob otherwise."""
        task = get_task(self.spec.task)
        if task.version != self.task_version:
            raise InvalidJob(
                f"job {self.job_id} was submitted with task {task.name} version "
                f"{self.task_version}, this process has version {task.version}; install that one"
            )
        return task

    @property
    def queue(self) -> str:
        """The name of the queue that serves it: one for each model at a revision and priority."""
        return queue_name(self.model, self.spec.priority)


def queue_name(model: Model, priority: Priority) -> str:
    """The queue of a model at a revision and a priority; names sort by priority."""
    rank = PRIORITIES.index(priority)
    return f"mediamill.{model.name}@{model.revision[:12]}.{rank}-{priority}"


def identity(spec: JobSpec, task: Task, options: TaskOptions, model: Model, digest: str) -> str:
    """The job's id: a hash of what decides its records, and of nothing that does not.

    Leaves out the output place, priority, and the store's abilities; `digest` is of
    the manifest's content.
    """
    asked = {
        "manifest": spec.manifest,
        "digest": digest,
        "task": [task.name, task.version],
        "options": options.model_dump(mode="json"),
        "from_columns": sorted(spec.from_columns),
        "model": [model.name, model.revision],
        "subset": [spec.limit, spec.sample, spec.seed if spec.sample else None],
    }
    if spec.media_column is not None:
        # Left out where there is none, so that jobs of before this field keep their ids.
        asked["media_column"] = spec.media_column
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:20]


def load_job(store: Store) -> StoredJob:
    """The job that lies in this output place. Raises NoSuchJob, CorruptObject."""
    try:
        data = store.get(SPEC_KEY)
    except NotFound:
        raise NoSuchJob(f"{store.uri}: no job here; submit one with --out {store.uri}") from None
    try:
        job = StoredJob.model_validate_json(data)
    except ValidationError as error:
        raise CorruptObject(f"{store.uri}/{SPEC_KEY}: {_first_fault(error)}") from None
    # Where it lies now: a folder may have been moved, or copied, since it was submitted.
    return job.model_copy(update={"spec": job.spec.model_copy(update={"out": store.uri})})


def _absolute(uri: str) -> str:
    if uri.startswith("file:"):
        return str(local_path(uri))
    if "://" in uri:
        return uri.rstrip("/")
    # Not resolve(): a pattern stays a pattern, and links stay what the user named.
    return str(Path(uri).expanduser().absolute())


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])
