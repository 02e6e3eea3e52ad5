"""The summary of a job that is done: what it says, and when it is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.progress import JobView, Status, write_marker
from jobs.retries import Retry
from jobs.spec import StoredJob
from jobs.summary import SUMMARY_KEY, read_summary, write_summary
from jobs.tempo import Tempo
from storage.dataset import Footer
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import plan_job


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def job(store: MemoryStore) -> StoredJob:
    return plan_job(store, [["image:a"]] * 2)


def finished(store: MemoryStore, job: StoredJob, generation: int = 0) -> Status:
    """All is committed in this generation; what `status` says then."""
    values: dict[str, Any] = {n: 0 for n, f in Footer.model_fields.items() if f.is_required()}
    footer = {**values, "job_id": "j", "worker": "w", "ok": 2, "generation": generation}
    write_marker(store, Footer(**footer))
    view = JobView(store, job, Tempo())
    view.refresh()
    return view.status()


def test_it_says_what_status_says_for_two_requests(store: MemoryStore, job: StoredJob) -> None:
    status = finished(store, job)
    assert status.state == "done"
    write_summary(store, job, status)
    store.calls.clear()
    assert read_summary(store, job) == status
    assert store.calls == [("get", SUMMARY_KEY)], "and one listing"
    said = json.loads(store.get(SUMMARY_KEY))
    assert said["rows"]["ok"] == 2
    assert said["finished_at"] >= said["created_at"]


def test_a_newer_retry_makes_it_void(store: MemoryStore, job: StoredJob) -> None:
    first = finished(store, job)
    write_summary(store, job, first)
    retry = Retry(generation=1, options={}, rows={0: (0,)}, at=0.0)
    store.put("_job/retries/000001.json", retry.model_dump_json().encode())
    assert read_summary(store, job) is None
    second = finished(store, job, generation=1)
    write_summary(store, job, second)
    assert read_summary(store, job) == second
    # One who was slow to say what it saw before the retry does no harm.
    write_summary(store, job, first)
    assert read_summary(store, job) is None


def test_that_of_another_job_or_of_no_sense_is_not_believed(
    store: MemoryStore, job: StoredJob
) -> None:
    assert read_summary(store, job) is None
    status = finished(store, job)
    write_summary(store, job, status)
    again = job.model_copy(update={"plan": job.plan.model_copy(update={"token": "u"})})
    assert read_summary(store, again) is None
    assert read_summary(store, job.model_copy(update={"job_id": "other"})) is None
    for data in (b"", b"[]", b"{}", b'{"state": "done"}', store.get(SUMMARY_KEY)[:-9]):
        store.put(SUMMARY_KEY, data)
        assert read_summary(store, job) is None
