"""What a worker runs with: by hand, else by the profile, else by the device; all of it shown."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.models import resolve
from orchestration.choices import Choices
from orchestration.cli import app
from orchestration.settings import Settings, load_settings
from orchestration.worker import start_services
from tests.unit.scripted import ScriptedEngine
from workers.profiles import AUTO, PROFILES, Profile, table


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MEDIAMILL_{name.upper()}", raising=False)


@pytest.mark.usefixtures("clean")
def test_both_commands_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Serving:
        def __init__(self, settings: Settings, in_hand: Path) -> None:
            seen.append(settings.profile)

        def run(self) -> None:
            pass

    def ran(settings: Settings, specs: Any, **_: Any) -> int:
        seen.append(settings.profile)
        return 0

    monkeypatch.setattr("orchestration.worker.Worker", Serving)
    monkeypatch.setattr("orchestration.parent.outlive", lambda serve: serve(Path(), None))
    monkeypatch.setattr("orchestration.cli_run.run_here", ran)
    monkeypatch.setattr("orchestration.cli.set_up_logs", lambda *_: None)
    monkeypatch.setattr("os._exit", lambda code: None)
    job = ("m.jsonl", "--task", "caption", "--out", "o")
    for command in (("worker",), ("run", *job)):
        made = CliRunner().invoke(app, [*command, "--profile", "text"])
        assert made.exit_code == 0, made.output
    assert seen == ["text", "text"]


def shown(count: int, arguments: dict[str, Any], **flags: Any) -> dict[str, tuple[Any, str]]:
    chosen = Choices(load_settings(**flags)).all(count, arguments)
    return {one.name: (one.value, one.source) for one in chosen}


@pytest.mark.usefixtures("clean")
def test_every_setting_is_shown_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.settings.cores", lambda: 12)
    arguments = {"max_num_seqs": 256, "gpu_memory_utilization": 0.225, "seed": 3}
    found = shown(4, arguments, device="cuda", engine_options={"seed": 3})
    assert found == {
        "profile": ("auto", "default"),
        "device": ("cuda", "by hand"),
        "engines": (4, "GPU"),
        "slots": ("8, up to 64 while engines lack rows", "GPU"),
        "decoders": (11, "default"),
        "fetchers": (32, "GPU"),
        "max_num_seqs": (256, "GPU"),
        "gpu_memory_utilization": (0.225, "GPU"),
        "enable_prefix_caching": (False, "default"),
        "seed": (3, "by hand"),
    }
    assert shown(8, {"max_num_seqs": 1024}, device="cuda")["slots"] == (
        "64, up to 512 while engines lack rows",
        "GPU",
    )


@pytest.mark.usefixtures("clean")
def test_a_profile_is_named_and_what_is_by_hand_goes_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = {"max_num_seqs": 16, "kv_cache_memory_bytes": 256 << 20, "max_model_len": 8192}
    found = shown(1, arguments, device="cpu", profile="low-memory")
    assert found["profile"] == ("low-memory", "by hand")
    assert (found["decoders"], found["fetchers"]) == ((1, "profile"), (4, "profile"))
    assert found["engines"] == (1, "CPU"), "no GPU is shared here"
    assert found["max_num_seqs"] == (16, "profile")
    assert found["max_model_len"] == (8192, "CPU")
    # A variable is as good as a flag.
    monkeypatch.setenv("MEDIAMILL_PROFILE", "low-memory")
    monkeypatch.setenv("MEDIAMILL_DECODERS", "3")
    arguments["max_num_seqs"] = 5
    found = shown(2, arguments, fetchers=16, engines="2", engine_options={"max_num_seqs": 5})
    for name, value in (("decoders", 3), ("fetchers", 16), ("engines", 2), ("max_num_seqs", 5)):
        assert found[name] == (value, "by hand")
    cached = {"max_num_seqs": 256, "enable_prefix_caching": True}
    found = shown(1, cached, device="cpu", profile="text")
    assert found["enable_prefix_caching"] == (True, "profile")
    found = shown(1, {"max_num_seqs": 64, "kv_cache_memory_bytes": 9}, device="cuda")
    assert found["kv_cache_memory_bytes"] == (9, "profile")
    assert found["engines"] == (1, "profile")


@pytest.mark.usefixtures("clean")
def test_a_worker_shows_its_settings_before_it_loads(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    asked: list[Profile] = []
    shown: list[str] = []

    def loads(*_: Any, profile: Profile = AUTO, tell: Any = None, **given: Any) -> ScriptedEngine:
        asked.append(profile)
        tell(given["engines"] or 1, {"max_num_seqs": 16})
        shown.extend(caplog.messages)  # and only then is it loaded
        return ScriptedEngine()

    monkeypatch.setattr("orchestration.worker.load", loads)
    monkeypatch.setattr("orchestration.settings.cores", lambda: 12)
    settings = load_settings(profile="text", device="cpu", slots=2)
    with caplog.at_level(logging.INFO):
        made = start_services(settings, resolve("tiny"), local_roots=[], in_hand=tmp_path)
    made.close()
    # One row is fetched, and of the one decoder's two.
    assert made.ahead._limits == (1 + 2 * 1,)
    assert asked == [PROFILES["text"]]
    (message,) = shown
    assert message.startswith("settings of tiny@")
    lines = [line.split() for line in message.splitlines()[1:]]
    assert ["profile", "text", "by", "hand"] in lines
    assert ["decoders", "1", "profile"] in lines
    assert ["slots", "2", "by", "hand"] in lines
    assert ["max_num_seqs", "16", "CPU"] in lines


#: Starts a worker's services around a scripted engine, and then converts as a first shard does.
_FIRST_SHARD = """
import sys
import orchestration.worker as worker
import pyarrow as pa
from jobs.models import resolve
from orchestration.settings import load_settings
from pathlib import Path
from tests.unit.scripted import ScriptedEngine

assert "pandas" not in sys.modules
worker.load = lambda *_, **__: ScriptedEngine()
settings = load_settings(device="cpu", decoders=1)
worker.start_services(settings, resolve("tiny"), local_roots=[], in_hand=Path(sys.argv[1])).close()
before = set(sys.modules)
pa.table({"n": [1]}).to_pylist()
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.usefixtures("clean")
def test_a_first_shard_has_nothing_left_to_import(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_SHARD, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout == "[]\n"


def test_columns_are_as_wide_as_they_have_to_be() -> None:
    lines = table(Choices(load_settings()).all(1, {"max_num_seqs": 64})).splitlines()
    assert len({line.index(line.split()[1]) for line in lines}) == 1
