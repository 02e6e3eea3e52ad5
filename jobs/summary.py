"""`_job/summary.json`: what `status` said once all was committed, for readers and for `status`.

A cache. Nothing is done because it says so: workers and feeders look at commits alone,
and a retry that it does not know of makes it void.
"""

from __future__ import annotations

import dataclasses
import json

from pydantic import TypeAdapter, ValidationError

from jobs.progress import JobView, Status
from jobs.retries import newest_generation
from jobs.spec import StoredJob
from jobs.tempo import Tempo
from storage.errors import NotFound
from storage.objects import Store

SUMMARY_KEY = "_job/summary.json"

_STATUS = TypeAdapter(Status)


def write_summary(store: Store, job: StoredJob, status: Status) -> None:
    """Put what `status` says of a job that is done, and of which plan that was."""
    value = {
        **dataclasses.asdict(status),
        "created_at": job.created_at,
        "plan": job.plan.token,
    }
    store.put(SUMMARY_KEY, json.dumps(value, indent=1).encode())


def look_up(store: Store, job: StoredJob, tempo: Tempo) -> Status:
    """The job's status: by its summary if it is done and has one, else by its commits."""
    status = read_summary(store, job)
    if status is None:
        view = JobView(store, job, tempo)
        view.refresh()
        status = view.status()
    return status


def read_summary(store: Store, job: StoredJob) -> Status | None:
    """The status of a job that is done, by one look and one listing; None: go by the commits.

    A generation is done for good: only a newer retry makes anything due, so a summary of
    the newest generation holds, whoever wrote it and however late.
    """
    try:
        data = store.get(SUMMARY_KEY)
        status = _STATUS.validate_json(data)
    except (NotFound, ValidationError):
        return None
    of_this = (status.job_id, json.loads(data).get("plan")) == (job.job_id, job.plan.token)
    if not of_this or status.state != "done" or status.generation != newest_generation(store):
        return None
    return status
