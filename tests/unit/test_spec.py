"""Jobs as they are described, identified and stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec import (
    PRIORITIES,
    SPEC_KEY,
    JobSpec,
    check_options,
    identity,
    load_job,
    make_spec,
    queue_name,
)
from jobs.tasks import get_task
from storage.errors import CorruptObject, InvalidJob, NoSuchJob
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import MODEL, plan_job

ASKED: dict[str, Any] = {"manifest": "/m.jsonl", "task": "caption", "out": "s3://b/out"}
CAPTION = get_task("caption")


def id_of(digest: str = "d", **changes: Any) -> str:
    spec = make_spec(ASKED | changes)
    options = check_options(get_task(spec.task), spec.options, spec.from_columns)
    return identity(spec, get_task(spec.task), options, MODEL, digest)


def test_a_spec_is_json_and_back() -> None:
    spec = make_spec(ASKED | {"options": {"fps": 2.0}, "from_columns": ["prompt"], "limit": 3})
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert make_spec(spec.model_dump()) == spec


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modle": "x"}, ["unknown field modle", "a job has: manifest"]),
        ({"limit": 0}, ["limit"]),
        ({"limit": 1, "sample": 2}, ["limit and sample exclude each other"]),
        ({"priority": "urgent"}, ["priority", "'high', 'normal' or 'low'"]),
        ({"manifest": None}, ["manifest"]),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidJob) as caught:
        make_spec(ASKED | changes)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "columns", "words"),
    [
        ({"fsp": 1}, (), ["unknown option fsp of task caption", "known: prompt, system"]),
        ({}, ("lang",), ["unknown column option lang", "known: prompt"]),
        ({"fps": -1}, (), ["task caption, option fps", "greater than 0"]),
        ({"max_tokens": "many"}, (), ["option max_tokens"]),
    ],
)
def test_options_are_checked(
    options: dict[str, Any], columns: tuple[str, ...], words: list[str]
) -> None:
    with pytest.raises(InvalidJob) as caught:
        check_options(CAPTION, options, columns)
    for word in words:
        assert word in str(caught.value)


def test_local_places_become_absolute_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = make_spec(ASKED | {"manifest": "a/**/*.png", "out": "s3://b/out/"}).located()
    assert spec.manifest == str(tmp_path / "a/**/*.png")
    assert spec.out == "s3://b/out"
    assert spec.located() == spec


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"fps": 2.0}},
        {"options": {"prompt": "What?"}},
        {"from_columns": ["prompt"]},
        {"media_column": "image"},
        {"limit": 5},
        {"sample": 5},
        {"sample": 5, "seed": 1},
        {"task": "transcribe"},
        {"manifest": "/other.jsonl"},
        {"digest": "e"},
    ],
)
def test_what_decides_the_records_decides_the_id(changes: dict[str, Any]) -> None:
    assert id_of(**changes) != id_of()


@pytest.mark.parametrize(
    "changes",
    [
        {"out": "/elsewhere"},
        {"priority": "high"},
        {"unsafe_store": True},
        {"seed": 9},  # nothing is sampled
        {"options": {"fps": 1.0}},  # the default
    ],
)
def test_what_only_changes_how_it_runs_does_not(changes: dict[str, Any]) -> None:
    assert id_of(**changes) == id_of()


@given(st.permutations(["prompt", "system", "fps"]))
def test_the_order_of_column_options_does_not_matter(order: list[str]) -> None:
    assert id_of(from_columns=order) == id_of(from_columns=["fps", "prompt", "system"])


def test_queues_of_a_model_sort_by_priority() -> None:
    names = [queue_name(MODEL, priority) for priority in PRIORITIES]
    assert names == sorted(names)
    assert len(set(names)) == 3
    other = MODEL.model_copy(update={"revision": "r2"})
    assert not set(names) & {queue_name(other, priority) for priority in PRIORITIES}


def test_a_stored_job_comes_back() -> None:
    store = MemoryStore()
    job = plan_job(store, [["image:a"]], options={"fps": 2.0})
    loaded = load_job(store)
    assert loaded == job
    assert loaded.task is get_task("caption")
    assert loaded.options["fps"] == 2.0
    assert loaded.options["max_tokens"] == 256, "every default is filled in"


def test_a_place_without_a_job_and_one_with_a_broken_one() -> None:
    store = MemoryStore()
    with pytest.raises(NoSuchJob, match="memory://test: no job here"):
        load_job(store)
    store.put(SPEC_KEY, b'{"spec_version": 2}')
    with pytest.raises(CorruptObject, match=r"_job/spec\.json"):
        load_job(store)


def test_a_task_of_another_version_is_refused() -> None:
    job = plan_job(MemoryStore(), [["image:a"]]).model_copy(update={"task_version": 2})
    with pytest.raises(InvalidJob, match="task caption version 2, this process has version 1"):
        assert job.task
