"""The worker process' caretaker."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

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
        Worker(load_settings(broker_url="redis://127.0.0.1:1/0"), tmp_path)._watch(runtime)
    assert died == [fault]
