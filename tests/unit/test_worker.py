"""The worker process' caretakers, and how it goes."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from orchestration.appetite import Appetite
from orchestration.runtime import Runtime
from orchestration.settings import load_settings
from orchestration.worker import Worker
from tests.unit.mortal import TEMPO
from tests.unit.scripted import ScriptedEngine, services

SATED = cast("Appetite", SimpleNamespace(look=lambda: None))


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Worker:
    monkeypatch.setattr("orchestration.worker._TICK_S", 0)
    return Worker(load_settings(broker_url="redis://127.0.0.1:1/0"), tmp_path)


@pytest.mark.parametrize("care", ["beat", "feed"])
def test_a_worker_does_not_outlive_its_caretakers(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, care: str
) -> None:
    died: list[BaseException] = []
    monkeypatch.setattr(Worker, "_die", lambda self, error: died.append(error))
    fault = RuntimeError("nobody foresaw it")
    with services(ScriptedEngine(), tempo=TEMPO) as made:

        class Faulty:
            services = made

            def beat(self) -> None:
                raise fault

            feed = beat

        runtime = cast("Runtime", cast("Any", Faulty()))
        cares = {
            "beat": partial(worker._beat, runtime),
            "feed": partial(worker._feed, runtime, SATED),
        }
        worker._watch(cares[care])
    assert died == [fault]


def test_a_store_that_is_away_does_not_keep_the_worker_from_saying_that_it_lives(
    worker: Worker,
) -> None:
    back, beats = threading.Event(), threading.Event()
    with services(ScriptedEngine(), tempo=TEMPO) as made:

        class Waiting:
            services = made
            deliveries: ClassVar[set[str]] = {"one"}

            def feed(self) -> None:
                back.wait()
                worker._ended.set()

            def beat(self) -> None:
                if not back.is_set():
                    beats.set()

        runtime = cast("Runtime", cast("Any", Waiting()))
        cares = [
            threading.Thread(target=worker._watch, args=(care,))
            for care in (
                partial(worker._feed, runtime, SATED),
                partial(worker._beat, runtime),
            )
        ]
        for thread in cares:
            thread.start()
        assert beats.wait(10)
        back.set()
        worker._ended.set()
        for thread in cares:
            thread.join()


def test_a_signal_to_all_of_a_service_is_heard_once(
    monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> None:
    """By the worker itself, and once more from its parent; only a later one means haste."""
    now = [100.0]
    left: list[int] = []
    monkeypatch.setattr("orchestration.worker.time.monotonic", lambda: now[0])
    monkeypatch.setattr("orchestration.worker.os._exit", left.append)
    assert worker._first(15)
    assert not worker._first(15)
    assert left == []
    now[0] += 1.5
    assert not worker._first(15)
    assert left == [143]


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
