"""The worker process' caretaker."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from orchestration.appetite import Appetite
from orchestration.runtime import Runtime
from orchestration.settings import load_settings
from orchestration.worker import Worker
from tests.unit.mortal import TEMPO
from tests.unit.scripted import ScriptedEngine, services


def test_a_worker_does_not_outlive_its_caretaker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("orchestration.worker._TICK_S", 0)
    died: list[BaseException] = []
    monkeypatch.setattr(Worker, "_die", lambda self, error: died.append(error))
    fault = RuntimeError("nobody foresaw it")
    with services(ScriptedEngine(), tempo=TEMPO) as made:

        class Faulty:
            services = made

            def beat(self) -> None:
                raise fault

        runtime = cast("Runtime", cast("Any", Faulty()))
        worker = Worker(load_settings(broker_url="redis://127.0.0.1:1/0"), tmp_path)
        worker._watch(runtime, cast("Appetite", None))
    assert died == [fault]


@pytest.mark.parametrize(("drained", "code"), [(True, 0), (False, 1)])
def test_a_worker_that_is_to_go_is_out_in_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drained: bool, code: int
) -> None:
    """By a thread of its own: all others may hang, in a store or in an engine that closes."""
    slept: list[float] = []

    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("orchestration.worker.time.sleep", slept.append)
    monkeypatch.setattr("orchestration.worker.os._exit", leave)
    worker = Worker(load_settings(broker_url="redis://127.0.0.1:1/0"), tmp_path)
    worker._asked.set()
    if drained:
        worker._ended.set()
    with pytest.raises(SystemExit) as left:
        worker._leave()
    assert left.value.code == code
    assert slept == [worker.tempo.exit_s]
    assert worker.tempo.exit_s < 20


def test_a_worker_dies_also_where_it_cannot_say_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("orchestration.worker.os._exit", leave)
    worker = Worker(load_settings(broker_url="redis://127.0.0.1:1/0"), tmp_path / "gone")
    with pytest.raises(SystemExit) as left:
        worker._die(RuntimeError("the disk is full, say"))
    assert left.value.code == 1
