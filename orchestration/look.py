"""A job that lies in its output place, and what is seen of it. No broker is asked here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from jobs.progress import Status
from jobs.spec import StoredJob, load_job
from storage.objects import Store, open_store


@dataclass(frozen=True, slots=True)
class Look:
    """A job's status with what only Redis knows; `broker` says why that is missing.

    `tokens` is what the live workers of its model have read and written since they started.
    """

    status: Status
    job: StoredJob
    broker: str | None = None
    tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """What `status --json` prints."""
        job = self.job
        return {
            **dataclasses.asdict(self.status),
            "out": job.spec.out,
            "task": job.spec.task,
            "manifest": job.spec.manifest,
            "model": job.model.key,
            "priority": job.spec.priority,
            "broker": self.broker,
        }


def open_place(out: str) -> tuple[Store, StoredJob]:
    """The store at OUT, as its job says it is to be used, and the job. Raises NoSuchJob."""
    store = open_store(out)
    job = load_job(store)
    return open_store(out, job.traits), job
