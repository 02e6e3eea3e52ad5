"""Profiles: what each changes, that what is set by hand goes before it, and what is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.catalog import SIZES, Facts, size_shape, weight_bytes
from models.tiny import build
from orchestration.cli import app
from orchestration.settings import Settings, load_settings
from storage.errors import InvalidJob
from tests.unit.scripted_host import FOLDER, events
from tests.unit.test_loading import request
from tests.unit.test_placing import need, started_with
from workers.engine import engine_options
from workers.fitting import USUAL, Gpus, fit
from workers.fleet import Fleet
from workers.loading import load
from workers.placing import Place, place
from workers.profiles import PROFILES, Profile


def facts(size: str) -> Facts:
    shape = size_shape(size)
    return Facts(shape, "bf16", weight_bytes(shape, "bf16"))


def placed(
    name: str, size: str = "E2B", gb: int = 80, engines: int | None = None, **hand: Any
) -> list[Place]:
    profile = PROFILES[name]
    return place(
        "m",
        facts(size),
        Gpus(1, USUAL[gb]),
        engine_options({**profile.on_gpu, **hand}),
        engines=engines,
        cores=16,
        a_gpu=profile.a_gpu,
        lean=profile.lean,
    )


def test_the_setting_the_help_and_the_room_know_the_same() -> None:
    assert get_args(Settings.model_fields["profile"].annotation) == tuple(PROFILES)
    for command in ("run", "worker"):
        said = CliRunner(env={"COLUMNS": "300"}).invoke(app, [command, "--help"]).output
        (line,) = [line for line in said.splitlines() if "--profile" in line]
        assert all(name in line for name in PROFILES)
    with pytest.raises(InvalidJob, match=r"MEDIAMILL_PROFILE: .*'quick-start'"):
        load_settings(profile="fast")


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_none_changes_what_can_be_asked(profile: Profile) -> None:
    asked = {"max_model_len", "limit_mm_per_prompt", "dtype", "quantization", "kv_cache_dtype"}
    for device in ("cpu", "cuda"):
        options = engine_options(profile.options(device))
        assert not asked & set(options.given)
        # Room for a whole film of 32 frames in each step.
        assert (options.max_num_batched_tokens or 4096) >= 2560


# --- engines on a GPU ----------------------------------------------------------------------


def test_engines_share_a_gpu_where_nobody_else_does_and_starts_may_take_long() -> None:
    assert {name: len(placed(name)) for name in PROFILES} == {
        "auto": 4,
        "quick-start": 1,
        "low-memory": 1,
        "text": 4,
    }
    assert len(placed("quick-start", engines=3)) == 3, "by hand"


def test_a_lean_engine_leaves_most_of_a_large_gpu() -> None:
    (all_of_it,), (lean,) = placed("auto", engines=1), placed("low-memory")
    assert all_of_it.options["gpu_memory_utilization"] == 0.9
    assert lean.options["gpu_memory_utilization"] < 0.25
    assert lean.options["max_model_len"] == all_of_it.options["max_model_len"]
    (hand,) = placed("low-memory", gpu_memory_utilization=0.6)
    assert hand.options["gpu_memory_utilization"] == 0.6
    assert hand.options["kv_cache_memory_bytes"] == lean.options["kv_cache_memory_bytes"]
    (hand,) = placed("low-memory", kv_cache_memory_bytes=8 << 30)
    assert "kv_cache_memory_bytes" not in hand.options, "it was given, and is not told again"


@given(
    size=st.sampled_from(SIZES),
    memory=st.sampled_from([*USUAL.values()]),
    count=st.integers(1, 8),
    engines=st.none() | st.integers(1, 6),
)
def test_a_lean_engine_fits_into_what_it_takes(
    size: str, memory: int, count: int, engines: int | None
) -> None:
    known, gpus = facts(size), Gpus(count, memory)
    profile = PROFILES["low-memory"]
    options = engine_options(profile.on_gpu)
    try:
        places = place(
            "m", known, gpus, options, engines=engines, cores=64, a_gpu=profile.a_gpu, lean=True
        )
    except InvalidJob:
        return
    together = len(places[0].devices)
    longest = fit("m", known, Gpus(together, memory), options).longest
    for where in places:
        settled = started_with(known, gpus, options, where)
        images = where.options["limit_mm_per_prompt"]["image"]
        assert need(known, settled, images) <= where.share * memory + 1
        assert 0 < where.share <= 0.9
        # Shorter requests in a share of a GPU need less.
        if len(places) <= count // together:
            assert settled.kv_cache_memory_bytes is not None
            assert settled.kv_cache_memory_bytes >= longest - 1


# --- loading -------------------------------------------------------------------------------


@contextmanager
def loaded(profile: Profile, **given: Any) -> Iterator[tuple[Fleet, list[Any]]]:
    told: list[Any] = []
    fleet = load(
        str(build.CHECKPOINT),
        "m@r",
        engine_options(given),
        device="cuda",
        profile=profile,
        tell=lambda engines, arguments: told.append((engines, dict(arguments))),
        host="tests.unit.scripted_host",
    )
    assert isinstance(fleet, Fleet)
    try:
        yield fleet, told
    finally:
        fleet.close()


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.setattr("workers.loading.version", lambda name: "1")
    monkeypatch.setattr("workers.loading.cores", lambda: 16)
    return tmp_path


def test_what_compiles_nothing_starts_all_at_once(script: Path) -> None:
    # Each waits for all the others: one that had to be first would wait for ever.
    (script / "script").write_text(json.dumps({"gpus": 3, "meet": 3}))
    with loaded(PROFILES["quick-start"]) as (fleet, told):
        assert len(fleet.loads) == 3
        assert [event.split()[0] for event in events(script)] == ["begin"] * 3 + ["end"] * 3
    ((engines, arguments),) = told
    assert (engines, arguments["enforce_eager"]) == (3, True)


def test_engines_are_started_with_the_profile_and_with_what_was_given(script: Path) -> None:
    (script / "script").write_text(json.dumps({"gpus": 1}))
    with loaded(PROFILES["low-memory"], max_num_seqs=8) as (fleet, told):
        (member,) = fleet._members
        given = member.submit(request("n", "told")).result(20).text
        options = json.loads(given)["options"]
    assert (options["max_num_seqs"], options["max_num_batched_tokens"]) == (8, 4096)
    assert options["kv_cache_memory_bytes"] > 0
    ((engines, arguments),) = told
    assert engines == 1
    # What is told is what it was started with.
    assert {name: options[name] for name in arguments} == arguments
