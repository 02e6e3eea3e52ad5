"""Submitting: all or nothing, once, and by one of several."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import jobs.submit
from jobs.control import write_control
from jobs.models import Model
from jobs.planner import make_plan
from jobs.spec import SPEC_KEY, JobSpec, load_job, make_spec
from jobs.submit import Submitted, dry_run, submit
from storage.errors import (
    InvalidJob,
    InvalidManifest,
    JobConflict,
    JobStopped,
    MediamillError,
    NoSuchJob,
    StoreUnavailable,
    UnsafeStore,
)
from storage.local import LocalStore
from storage.objects import open_store
from tests.unit.scripted import MODEL

DEAF = Model(name="deaf", revision="r1", abilities=frozenset({"image"}))


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    """What names mean; a test may let them mean something else."""
    known = {"tiny": MODEL, "deaf": DEAF}
    monkeypatch.setattr("jobs.submit.resolve", lambda name, base: known[name])
    return known


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write(tmp_path / "m.jsonl", [{"uri": f"{i}.png", "prompt": f"p{i}"} for i in range(20)])
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def spec(place: Path, **changes: Any) -> JobSpec:
    asked = {"manifest": str(place / "m.jsonl"), "task": "caption", "out": str(place / "out")}
    return make_spec(asked | changes)


def left(place: Path) -> list[str]:
    """Objects that lie in OUT."""
    return [found.key for found in open_store(str(place / "out")).list()]


def test_a_job_is_there_and_a_second_submit_finds_it(place: Path) -> None:
    first = submit(spec(place))
    assert first.created
    assert load_job(open_store(str(place / "out"))) == first.job
    assert (first.job.plan.rows, first.job.model) == (20, MODEL)
    objects = left(place)
    assert sorted(k.split("/")[1] for k in objects) == ["plan", "spec.json"]
    again = submit(spec(place, priority="high"))
    assert (again.created, again.job) == (False, first.job)
    assert left(place) == objects


@pytest.mark.parametrize(
    ("task", "model", "told"),
    [
        ("caption", "deaf", True),
        ("caption", "tiny", False),
        ("detect", "deaf", False),
        ("to-html", "deaf", False),
    ],
)
def test_a_model_that_cannot_hear_is_told_of_once(
    place: Path, task: str, model: str, told: bool
) -> None:
    asked = spec(place, task=task, model=model)
    for notes in (dry_run(asked).notes, submit(asked).notes):
        assert ["audio_not_heard" in note for note in notes] == [True] * told


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("caption", {"thinking": True}),
        ("caption", {"system": "Be brief."}),
        ("call-tools", {"tools": [{"name": "f"}]}),
    ],
)
def test_a_raw_prompt_has_no_turns_for_thoughts_and_tools(
    place: Path, task: str, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidJob, match="prompt_format: raw prompts have no turn for"):
        submit(spec(place, task=task, options={"prompt_format": "raw", **options}))
    assert not left(place)


def test_a_base_checkpoint_is_looked_up_for_raw_prompts_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("jobs.submit.resolve", lambda name, base: asked.append(base) or MODEL)
    dry_run(spec(place))
    dry_run(spec(place, options={"prompt_format": "raw"}))
    assert asked == [False, True]


def test_rows_planned_are_told(place: Path) -> None:
    told: list[int] = []
    submit(spec(place), on_progress=told.append)
    assert told[-1] == 20


@pytest.mark.parametrize(
    ("rows", "changes", "error", "words"),
    [
        ([], {}, InvalidManifest, "no rows"),
        ([{"id": "a"}], {}, InvalidManifest, "uri"),
        ([{"id": "a", "uri": "x"}] * 2, {}, InvalidManifest, "'id' of an earlier row"),
        (None, {"manifest": "/nowhere/m.jsonl"}, MediamillError, "/nowhere/m.jsonl"),
        (None, {"from_columns": ["system"]}, InvalidJob, "no column system.*it has: prompt"),
        (None, {"from_columns": ["hue"]}, InvalidJob, "unknown column option hue"),
        (None, {"task": "captoin"}, InvalidJob, "caption"),
        (None, {"options": {"fsp": 1}}, InvalidJob, "unknown option fsp.*known: prompt"),
        (None, {"task": "transcribe", "model": "deaf"}, InvalidJob, "takes audio; deaf takes"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    place: Path, rows: Any, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    if rows is not None:
        write(place / "m.jsonl", rows)
    with pytest.raises(error, match=words):
        submit(spec(place, **changes))
    assert not (place / "out").exists()
    with pytest.raises(error, match=words):
        dry_run(spec(place, **changes))


def test_a_refusal_leaves_folders_as_they_were(place: Path) -> None:
    write(place / "m.jsonl", [{"id": "a", "uri": "x"}] * 2)
    with pytest.raises(InvalidManifest):
        submit(spec(place, out=str(place / "new" / "caption")))
    assert not (place / "new").exists(), "those above were made for it too"
    (place / "empty").mkdir()
    (place / "used").mkdir()
    (place / "used" / "notes.txt").write_text("mine")
    (place / "other" / "_job").mkdir(parents=True)
    (place / "other" / "_job" / "notes.txt").write_text("mine")
    before = sorted(place.rglob("*"))
    for name in ("empty", "used", "other"):
        with pytest.raises(InvalidManifest):
            submit(spec(place, out=str(place / name)))
    assert [p for p in sorted(place.rglob("*")) if p not in before] == [
        place / "other" / "_job" / "lock",
        place / "other" / "_job" / "tmp",
    ], "a folder with an object of ours in it is a store in use"


def test_of_two_at_once_one_may_be_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refused one tidies up while the other is at it."""
    write(place / "bad.jsonl", [{"id": "a", "uri": "x"}] * 2)
    real = LocalStore.put
    refused: list[Exception] = []

    def put(store: LocalStore, key: str, data: bytes) -> None:
        if not refused and "/plan/" in key:
            with pytest.raises(InvalidManifest) as caught:
                submit(spec(place, manifest=str(place / "bad.jsonl")))
            refused.append(caught.value)
            assert not (place / "out" / "_job").exists()
        real(store, key, data)

    monkeypatch.setattr(LocalStore, "put", put)
    job = submit(spec(place)).job
    assert refused
    assert load_job(open_store(str(place / "out"))) == job


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "detect"}, [r"task (caption there, detect here)", "option labels"]),
        ({"options": {"max_tokens": 9}}, ["option max_tokens (256 there, 9 here)"]),
        ({"limit": 3}, ["limit (None there, 3 here)"]),
        ({"sample": 3, "seed": 2}, ["sample (None there, 3 here)", "seed (0 there, 2 here)"]),
        ({"from_columns": ["prompt"]}, ["from_columns ([] there, ['prompt'] here)"]),
        ({"model": "deaf"}, ["model (tiny@r1 there, deaf@r1 here)"]),
    ],
)
def test_another_job_is_refused_naming_what_differs(
    place: Path, changes: dict[str, Any], words: list[str]
) -> None:
    first = submit(spec(place)).job
    objects = left(place)
    with pytest.raises(JobConflict) as caught:
        submit(spec(place, **changes))
    for word in (first.job_id, "choose another --out", *words):
        assert word in str(caught.value)
    assert left(place) == objects


def test_a_manifest_that_changed_is_another_job(place: Path) -> None:
    submit(spec(place))
    write(place / "m.jsonl", [{"uri": "other.png", "prompt": ""}])
    with pytest.raises(JobConflict, match="manifest's content"):
        submit(spec(place))


def test_a_model_that_moved_on_is_another_job(place: Path, models: dict[str, Model]) -> None:
    submit(spec(place))
    models["tiny"] = MODEL.model_copy(update={"revision": "r2"})
    with pytest.raises(JobConflict, match=r"model \(tiny@r1 there, tiny@r2 here\)"):
        submit(spec(place))


@pytest.mark.parametrize(("wanted", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_stopped_job_is_named(place: Path, wanted: Any, state: str) -> None:
    first = submit(spec(place)).job
    store = open_store(str(place / "out"))
    write_control(store, wanted)
    with pytest.raises(JobStopped, match=f"{first.job_id} is {state}.*mediamill resume"):
        submit(spec(place))
    write_control(store, "run")
    assert submit(spec(place)).job == first


def test_of_two_who_submit_at_once_one_wins(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=60)

    def together(*args: Any, **options: Any) -> Any:
        made = make_plan(*args, **options)
        both.wait()
        return made

    monkeypatch.setattr("jobs.submit.make_plan", together)
    results: list[Submitted] = []
    threads = [
        threading.Thread(target=lambda: results.append(submit(spec(place)))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(result.created for result in results) == [False, True]
    assert results[0].job == results[1].job
    token = results[0].job.plan.token
    assert [k for k in left(place) if "/plan/" in k] == [f"_job/plan/{token}/00000.parquet"]


def test_one_who_loses_to_another_job_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def beaten(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr("jobs.submit.make_plan", make_plan)
        winner.append(submit(spec(place, limit=3)))
        return make_plan(*args, **options)

    winner: list[Submitted] = []
    monkeypatch.setattr("jobs.submit.make_plan", beaten)
    with pytest.raises(JobConflict, match="limit"):
        submit(spec(place))
    token = winner[0].job.plan.token
    assert left(place) == [f"_job/plan/{token}/00000.parquet", SPEC_KEY]


@pytest.mark.parametrize(
    "left_over",
    ["data/0000000.parquet", "_job/done/0/0000000-1-0-0", "_job/retries/000001.json"],
)
def test_what_is_left_of_a_job_that_is_gone_does_not_become_this_ones(
    place: Path, left_over: str
) -> None:
    open_store(str(place / "out")).put(left_over, b"old")
    with pytest.raises(JobConflict, match=left_over):
        submit(spec(place))
    assert left(place) == [left_over]


def test_what_counts_for_nothing_does_not_keep_a_job_out(place: Path) -> None:
    store = open_store(str(place / "out"))
    for key in ("data/notes.txt", "_job/plan/old/00000.parquet", "_job/checkpoints/0/0000000/x"):
        store.put(key, b"old")
    assert submit(spec(place)).created


def test_a_job_whose_workers_are_at_it_before_we_look_is_found(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[Submitted] = []

    def late(store: Any) -> Any:
        monkeypatch.setattr("jobs.submit.load_job", load_job)
        first.append(submit(spec(place)))
        store.put("data/0000000.parquet", b"committed")
        raise NoSuchJob("not yet")

    monkeypatch.setattr("jobs.submit.load_job", late)
    second = submit(spec(place))
    assert (second.created, second.job) == (False, first[0].job)


class Careless(LocalStore):
    """A store that overwrites, whatever the condition."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if self.traits.unsafe:
            return super().put_if_absent(key, data)
        self.put(key, data)
        return True


def test_a_store_that_ignores_conditions_is_refused_unless_it_is_asked_for(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.local.LocalStore", Careless)
    with pytest.raises(UnsafeStore, match="--unsafe-store"):
        submit(spec(place))
    assert left(place) == []
    submitted = submit(spec(place, unsafe_store=True))
    assert submitted.job.traits.unsafe
    assert not submit(spec(place)).created


def test_a_store_that_fails_at_the_last_step_leaves_no_job(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(LocalStore):
        def put_if_absent(self, key: str, data: bytes) -> bool:
            if key == SPEC_KEY:
                raise StoreUnavailable("away")
            return super().put_if_absent(key, data)

    with monkeypatch.context() as patch:
        patch.setattr("storage.local.LocalStore", Failing)
        with pytest.raises(StoreUnavailable):
            submit(spec(place))
    assert SPEC_KEY not in left(place)
    assert submit(spec(place)).created


def test_a_dry_run_writes_nothing(place: Path) -> None:
    planned = dry_run(spec(place))
    assert (planned.created, planned.job.plan.rows) == (False, 20)
    assert not (place / "out").exists()
    assert jobs.submit.submit(spec(place)).job.job_id == planned.job.job_id


def test_options_that_a_release_has_added_make_no_other_job(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = submit(spec(place)).job
    stored = place / "out/_job/spec.json"
    before = json.loads(stored.read_text())
    # As a release wrote it that had one option less.
    before["options"].pop("max_tokens")
    before["job_id"] = "of-that-release"
    stored.write_text(json.dumps(before))
    again = submit(spec(place))
    assert not again.created
    assert again.job.job_id == "of-that-release"
    with pytest.raises(JobConflict, match="max_tokens"):
        submit(spec(place, options={"max_tokens": 7}))
    assert first.plan == again.job.plan


def test_a_place_by_its_file_uri_is_the_same_place(place: Path) -> None:
    job = submit(spec(place, out=(place / "out").as_uri())).job
    assert job.spec.out == str(place / "out")
    assert not submit(spec(place)).created
