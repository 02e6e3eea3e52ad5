"""A worker's engines over several GPUs: real processes, with a scripted engine in each."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.pieces import Piece, Span
from jobs.tasks.base import Prompt
from models.tiny import build
from storage.errors import EngineDead, InvalidJob, RowError
from tests.unit.scripted_host import FOLDER, events
from tests.unit.test_decode_pool import gone
from workers.engine import Request, engine_options
from workers.fleet import Fleet
from workers.hosted import Hosted
from workers.loading import load

Scripted = Callable[..., None]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Says what the hosts of this test do; what they compiled is kept in a folder of its own."""

    def write(**script: Any) -> None:
        (tmp_path / "script").write_text(json.dumps(script))

    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    # The release for CPUs has another name.
    monkeypatch.setattr("workers.loading.version", lambda name: "1")
    return write


@contextmanager
def loaded(engines: int, device: Any = "cuda", mps: bool = True, **given: Any) -> Iterator[Fleet]:
    fleet = load(
        str(build.CHECKPOINT),
        "m@r",
        engine_options(given),
        device=device,
        engines=engines,
        mps=mps,
        host="tests.unit.scripted_host",
    )
    assert isinstance(fleet, Fleet)
    try:
        yield fleet
    finally:
        fleet.close()


def request(name: str, text: str) -> Request:
    return Request(name, Prompt(text), Piece(Span(0, 0, 1)))


def told(fleet: Fleet, count: int) -> list[dict[str, Any]]:
    """What each engine was started with; all are asked, since each is kept busy."""
    futures = []
    for number in range(count):
        fleet.submit(request(f"hold/{number}", "hold"))
        asked = request(f"told/{number}", "told")
        futures.append(fleet._members[number].submit(asked))
    return [json.loads(future.result(20).text) for future in futures]


def test_the_first_compiles_alone_and_later_all_start_together(
    script: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script(gpus=2)
    before = Hosted.place
    starts: list[int] = []

    def noted(self: Hosted, *given: Any) -> None:
        # What has started when the next is told to.
        starts.append(len([event for event in events(tmp_path) if event.startswith("end")]))
        before(self, *given)

    monkeypatch.setattr(Hosted, "place", noted)
    with loaded(4) as fleet:
        assert starts[:2] == [0, 1]
        assert events(tmp_path)[:2] == ["begin 0", "end 0"]
        assert sorted(events(tmp_path)) == sorted(
            f"{what} {gpu}" for gpu in (0, 0, 1, 1) for what in ("begin", "end")
        )
        each = told(fleet, 4)
    assert [one["devices"] for one in each] == ["0", "1", "0", "1"]
    for one in each:
        options = one["options"]
        assert options["tensor_parallel_size"] == 1
        assert options["gpu_memory_utilization"] == 0.45
        assert options["kv_cache_memory_bytes"] > 1 << 30
    # Now each waits for all the others before it is ready.
    (tmp_path / "events").unlink()
    script(gpus=2, meet=4)
    with loaded(4):
        assert [event.split()[0] for event in events(tmp_path)] == ["begin"] * 4 + ["end"] * 4
    # Other options compile anew.
    (tmp_path / "events").unlink()
    script(gpus=2)
    with loaded(2, max_num_seqs=8):
        assert events(tmp_path) == ["begin 0", "end 0", "begin 1", "end 1"]


class Shares:
    """Stands in for NVIDIA's service."""

    def __init__(self) -> None:
        self.environment = {"CUDA_MPS_PIPE_DIRECTORY": "/pipe"}
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("mps", [True, False])
def test_engines_on_one_gpu_share_it_and_the_service_ends_after_them(
    script: Scripted, monkeypatch: pytest.MonkeyPatch, mps: bool
) -> None:
    script(gpus=2)
    shares = Shares()
    monkeypatch.setattr("workers.loading.share", lambda: shares)
    with loaded(4, mps=mps) as fleet:
        assert {one["shared"] for one in told(fleet, 4)} == {"/pipe" if mps else None}
        assert shares.closed == 0
    assert shares.closed == int(mps)


def test_engines_with_a_gpu_each_have_nothing_to_share(
    script: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(gpus=2)
    monkeypatch.setattr("workers.loading.share", lambda: pytest.fail("it is started"))
    with loaded(2) as fleet:
        assert {one["shared"] for one in told(fleet, 2)} == {None}


def test_the_service_ends_where_no_engine_starts(
    script: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(gpus=1, start="dead")
    shares = Shares()
    monkeypatch.setattr("workers.loading.share", lambda: shares)
    with pytest.raises(EngineDead), loaded(2):
        pass
    assert shares.closed == 1


def test_requests_are_spread_over_all(script: Scripted) -> None:
    script(gpus=3)
    with loaded(3) as fleet:
        assert (fleet.model, fleet.version) == ("m@r", "0.0")
        assert (fleet.capacity.tokens, fleet.capacity.context) == (3000, 4096)
        held = [fleet.submit(request(f"row/{n}", "hold")) for n in range(12)]
        assert len(set(fleet.loads)) == 1
        asked = [member.submit(request("n", "count")) for member in fleet._members]
        assert [future.result(20).text for future in asked] == ["4", "4", "4"]
        for member in fleet._members:
            member.submit(request("r", "release")).result(20)
        for number, future in enumerate(held):
            completion = future.result(20)
            assert (completion.id, completion.text) == (f"row/{number}", f"held row/{number}")
        assert fleet.loads == (0, 0, 0)
        with pytest.raises(RowError, match="more than the 4096 of the context"):
            fleet.submit(request("long", "x " * 5000))


def test_engines_on_a_cpu_share_its_cores(
    script: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    script()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("workers.loading.cores", lambda: 6)
    with loaded(2, device="cpu") as fleet:
        told = fleet.submit(request("n", "environment")).result(20).text
        assert json.loads(told)[0] == "3"


def test_where_they_go_and_what_that_lowers_is_told(
    script: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    script(gpus=1, memory=6 << 30)
    with caplog.at_level(logging.INFO), loaded(2) as fleet:
        steps = {one["options"]["max_num_batched_tokens"] for one in told(fleet, 2)}
    assert steps == {8192}
    assert caplog.messages[:2] == [
        "2 engines of m@r on 1 of 1 GPU of 6 GiB, each on 1 with 0.45 of the memory",
        "m@r is tight on 1 GPU of 3 GiB: max_num_batched_tokens 8,192 instead of 16,384",
    ]


@pytest.mark.parametrize(
    ("how", "kind"), [({"gpus": 2, "start": "dead"}, EngineDead), ({"gpus": 0}, InvalidJob)]
)
def test_one_that_does_not_start_ends_all(
    script: Scripted, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], kind: type[Exception]
) -> None:
    """At once: those that are loading are not waited for."""
    started: list[Hosted] = []
    before = Hosted.__init__

    def noted(self: Hosted, *given: Any, **named: Any) -> None:
        before(self, *given, **named)
        started.append(self)

    monkeypatch.setattr(Hosted, "__init__", noted)
    script(**how)
    with pytest.raises(kind), loaded(2):
        pass
    assert len(started) == max(1, how["gpus"])
    assert all(gone(one.pid) for one in started)
