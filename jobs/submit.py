"""Submitting: prove the store, plan the manifest, and put the job there, all or nothing."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jobs.control import read_control
from jobs.cost import seconds_per_token
from jobs.models import TINY, check_abilities, resolve
from jobs.plan import Plan
from jobs.planner import drop_plan, make_plan
from jobs.spec import (
    SPEC_KEY,
    JobSpec,
    StoredJob,
    check_options,
    identity,
    load_job,
)
from jobs.tasks import get_task
from jobs.tasks.base import TaskOptions
from storage.dataset import committed, data_key
from storage.errors import InvalidJob, JobConflict, JobStopped, NoSuchJob
from storage.local import LocalStore
from storage.objects import FOREIGN, Store, StoreTraits, open_store, prove, read_only
from storage.records import reserved_names

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job that lies in OUT now. `created`: by this call; `notes`: what the user should know."""

    job: StoredJob
    created: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A spec with everything looked up that does not need the manifest."""

    spec: JobSpec
    store: Store
    draft: StoredJob
    options: TaskOptions
    slots: int
    token_s: float


def submit(
    spec: JobSpec,
    *,
    slots: int = 0,
    device: Device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Submitted:
    """Put the job into its output place, or find it there.

    `slots` is the number of open slots known to serve its model, and `device` what
    engines are taken to run on (by default the tiny model on CPUs, others on GPUs):
    shards are cut by them. `on_progress` gets the rows planned so far.

    Raises Refused (and leaves nothing behind) when the job cannot be run, and Transient
    when store or model hub do not answer.
    """
    asked = _resolve(spec, slots, device)
    try:
        existing = load_job(asked.store)
    except NoSuchJob:
        left = _left_over(asked.store)
        if left is None:
            return _create(asked, on_progress)
        try:
            # Another submit may have come between, and its workers be at it.
            existing = load_job(asked.store)
        except NoSuchJob:
            raise JobConflict(
                f"{asked.store.uri}: no job here, but {left} of one that was, which would count as "
                "this one's; remove what is left of it, or choose another --out"
            ) from None
    return _rejoin(asked, existing, on_progress)


def dry_run(spec: JobSpec, *, on_progress: Callable[[int], None] | None = None) -> Submitted:
    """The plan that `submit` would make; nothing is written to OUT."""
    asked = _resolve(spec, 0, None)
    with tempfile.TemporaryDirectory(prefix="mediamill-plan-") as folder:
        plan, notes = _plan(asked, open_store(folder), on_progress)
    return Submitted(_finish(asked, plan, StoreTraits()), created=False, notes=tuple(notes))


def _resolve(spec: JobSpec, slots: int, device: Device | None) -> _Resolved:
    spec = spec.located()
    if spec.out.partition("://")[0] in FOREIGN:
        raise read_only(spec.out)
    task = get_task(spec.task)
    options = check_options(task, spec.options, spec.from_columns)
    store = open_store(spec.out)
    model = resolve(spec.model, base=options.prompt_format == "raw")
    check_abilities(model, task.name, task.needs)
    draft = StoredJob.model_construct(
        job_id="",
        spec=spec,
        model=model,
        task_version=task.version,
        options=options.model_dump(mode="json"),
    )
    device = device or ("cpu" if model.name == TINY else "cuda")
    token_s = seconds_per_token(model.active, device)
    return _Resolved(spec, store, draft, options, slots, token_s)


def _plan(
    asked: _Resolved, store: Store, on_progress: Callable[[int], None] | None
) -> tuple[Plan, list[str]]:
    task = asked.draft.task
    plan, notes = make_plan(
        store,
        asked.spec.manifest,
        token=uuid.uuid4().hex,
        costs=task.cost(asked.options),
        slots=asked.slots,
        seconds_per_token=asked.token_s,
        reserved=reserved_names(task.columns),
        limit=asked.spec.limit,
        sample=asked.spec.sample,
        seed=asked.spec.seed,
        text_alone=task.text_alone,
        media_column=asked.spec.media_column,
        on_progress=on_progress,
    )
    try:
        _check_columns(asked, {column.source for column in plan.columns})
    except InvalidJob:
        drop_plan(store, plan.token)
        raise
    return plan, [*notes, *_unheard(asked)]


def _unheard(asked: _Resolved) -> list[str]:
    """A note where a video's sound is for the model, and this one cannot hear."""
    task, model = asked.draft.task, asked.draft.model
    if "video" not in task.kinds or "audio" in model.abilities:
        return []
    reading = task.reading(asked.options, model.abilities | {"audio"})
    if reading.video != "clip" or not reading.sound:
        return []
    return [
        f"{model.name} cannot hear: videos are seen without their sound, and the records of "
        "those that have some carry the warning audio_not_heard"
    ]


def _check_columns(asked: _Resolved, known: set[str]) -> None:
    from_columns = asked.spec.from_columns
    unknown = sorted(set(from_columns) - known)
    if unknown:
        raise InvalidJob(
            f"{asked.spec.manifest}: no column {', '.join(unknown)}, which from_columns names; "
            f"it has: {', '.join(sorted(known)) or 'none beside id and uri'}"
        )
    asked.draft.task.check(asked.options, known)


def _finish(asked: _Resolved, plan: Plan, traits: StoreTraits) -> StoredJob:
    draft = asked.draft
    return StoredJob(
        job_id=identity(asked.spec, draft.task, asked.options, draft.model, plan.manifest_digest),
        spec=asked.spec,
        model=draft.model,
        task_version=draft.task_version,
        options=draft.options,
        plan=plan,
        traits=traits,
        created_at=asked.store.now(),
    )


def _left_over(store: Store) -> str | None:
    """Something that a job which is gone has left and that counts; None if nothing has."""
    shard = next(committed(store), None)
    if shard is not None:
        return data_key(shard)
    for prefix in ("_job/done/", "_job/retries/"):
        found = next(iter(store.list(prefix)), None)
        if found is not None:
            return found.key
    return None


def _create(asked: _Resolved, on_progress: Callable[[int], None] | None) -> Submitted:
    try:
        return _put(asked, on_progress)
    except BaseException:
        # Objects that were staged are gone; on a disk folders may be left of them.
        if isinstance(asked.store, LocalStore):
            asked.store.tidy()
        raise


def _put(asked: _Resolved, on_progress: Callable[[int], None] | None) -> Submitted:
    store = asked.store
    traits = prove(store, unsafe=asked.spec.unsafe_store)
    store = open_store(store.uri, traits)
    plan, notes = _plan(asked, store, on_progress)
    job = _finish(asked, plan, traits)
    if store.put_if_absent(SPEC_KEY, job.model_dump_json().encode()):
        return Submitted(job, created=True, notes=tuple(notes))
    # Two submitters at once: the winner's job stands, and our plan is named by nobody.
    winner = load_job(store)
    drop_plan(store, plan.token)
    _refuse_other(winner, job)
    return Submitted(winner, created=False)


def _rejoin(
    asked: _Resolved, existing: StoredJob, on_progress: Callable[[int], None] | None
) -> Submitted:
    control = read_control(asked.store)
    # The manifest's content decides the identity, so it is read once more, to a scratch folder.
    with tempfile.TemporaryDirectory(prefix="mediamill-plan-") as folder:
        plan, _ = _plan(asked, open_store(folder), on_progress)
    _refuse_other(existing, _finish(asked, plan, existing.traits))
    if control.wanted != "run":
        state = "paused" if control.wanted == "pause" else "cancelled"
        raise JobStopped(
            f"{asked.store.uri}: job {existing.job_id} is {state} (by {control.by}); "
            f"`mediamill resume {asked.store.uri}` lets it go on"
        )
    return Submitted(existing, created=False)


def _refuse_other(existing: StoredJob, wanted: StoredJob) -> None:
    if wanted.job_id in (existing.job_id, _id_now(existing)):
        return
    raise JobConflict(
        f"{existing.spec.out} holds another job, {existing.job_id}; choose another --out. "
        f"They differ in: {'; '.join(_differences(existing, wanted))}"
    )


def _id_now(job: StoredJob) -> str | None:
    """The id that the job would have today: a release may have added options, with defaults."""
    try:
        options = check_options(job.task, job.options, job.spec.from_columns)
    except InvalidJob:
        return None
    return identity(job.spec, job.task, options, job.model, job.plan.manifest_digest)


def _differences(existing: StoredJob, wanted: StoredJob) -> list[str]:
    pairs: dict[str, tuple[object, object]] = {
        "manifest": (existing.spec.manifest, wanted.spec.manifest),
        "manifest's content": (existing.plan.manifest_digest, wanted.plan.manifest_digest),
        "task": (existing.spec.task, wanted.spec.task),
        "task's version": (existing.task_version, wanted.task_version),
        "model": (
            f"{existing.model.name}@{existing.model.revision}",
            f"{wanted.model.name}@{wanted.model.revision}",
        ),
        "media_column": (existing.spec.media_column, wanted.spec.media_column),
        "from_columns": (sorted(existing.spec.from_columns), sorted(wanted.spec.from_columns)),
        "limit": (existing.spec.limit, wanted.spec.limit),
        "sample": (existing.spec.sample, wanted.spec.sample),
        "seed": (existing.spec.seed, wanted.spec.seed),
    }
    for name in sorted({*existing.options, *wanted.options}):
        pairs[f"option {name}"] = (existing.options.get(name), wanted.options.get(name))
    return [f"{name} ({a} there, {b} here)" for name, (a, b) in pairs.items() if a != b]
