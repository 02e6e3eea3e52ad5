"""How `mediamill run` ends, by how its jobs do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.control import write_control
from jobs.progress import JobView, Status
from jobs.spec import StoredJob
from jobs.submit import Submitted
from jobs.summary import read_summary
from orchestration import cli_run
from orchestration.embedded import finished
from orchestration.settings import load_settings
from storage.objects import open_store
from tests.unit.mortal import TEMPO, images
from tests.unit.scripted import plan_job
from workers.counters import Counters


class Stopping:
    """As `Embedded`: the job is paused or cancelled under the run, by `wanted`."""

    wanted: Any = "pause"

    def __init__(self, *_: object) -> None:
        self.counters = Counters()

    def interrupt_on(self, *_: object) -> None:
        pass

    def __enter__(self) -> Stopping:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, job: StoredJob) -> Status:
        return JobView(open_store(job.spec.out), job, TEMPO).status()

    def run(self, job: StoredJob, _: object) -> Status:
        write_control(open_store(job.spec.out), self.wanted)
        return self.begin(job)


@pytest.mark.parametrize("wanted", ["pause", "cancel"])
def test_a_run_that_was_stopped_does_not_say_that_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wanted: Any
) -> None:
    job = plan_job(open_store(str(tmp_path)), images(1))
    monkeypatch.setattr(Stopping, "wanted", wanted)
    monkeypatch.setattr(cli_run, "Embedded", Stopping)
    monkeypatch.setattr(cli_run, "submit", lambda *_, **__: Submitted(job, created=True))
    code = cli_run.run_here(load_settings(), [job.spec], json_output=True, strict=False)
    assert code == 1
    assert ('"paused"' if wanted == "pause" else '"cancelled"') in capsys.readouterr().out


def test_an_engine_is_loaded_once_for_what_is_left_and_not_for_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded: list[object] = []
    jobs = [plan_job(open_store(str(tmp_path / name)), images(1)) for name in "abcd"]
    assert [finished(job, TEMPO) for job in jobs] == [None] * 4
    for job in (jobs[0], jobs[2]):
        store = open_store(job.spec.out)
        store.put_if_absent("_job/done/0/0000000-1-0-0", b"")
        told = finished(job, TEMPO)
        assert told is not None
        assert read_summary(store, job) == told, "who asks next need not count"

    class Working(Stopping):
        def __init__(self, *_: object) -> None:
            loaded.append(self)
            super().__init__()

    monkeypatch.setattr(cli_run, "Embedded", Working)
    asked = iter(jobs)
    monkeypatch.setattr(cli_run, "submit", lambda *_, **__: Submitted(next(asked), created=True))
    specs = [job.spec for job in jobs]
    assert cli_run.run_here(load_settings(), specs, json_output=True, strict=False) == 1
    states = [look["state"] for look in json.loads(capsys.readouterr().out)]
    assert states == ["done", "paused", "done", "paused"]
    assert len(loaded) == 1
    done = [specs[0], specs[2]]
    monkeypatch.setattr(cli_run, "submit", lambda *_, **__: Submitted(jobs[0], created=False))
    assert cli_run.run_here(load_settings(), done, json_output=True, strict=False) == 0
    assert len(loaded) == 1


_TWICE = """
import signal
from orchestration.embedded import Embedded
embedded = Embedded(None, None)
embedded.interrupt_on(signal.SIGTERM)
try:
    signal.raise_signal(signal.SIGTERM)
    print("once", flush=True)
    signal.raise_signal(signal.SIGTERM)
finally:
    print("on the way out", flush=True)
"""


def test_a_second_signal_leaves_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", _TWICE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (143, "once\n", "")
