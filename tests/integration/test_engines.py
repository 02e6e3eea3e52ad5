"""Two engines of the real vLLM on one machine, each in a process of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from jobs.pieces import Clip, Piece, Span
from jobs.tasks.base import Prompt
from storage.errors import EngineDead, RowError
from workers.engine import Request, engine_options
from workers.fleet import Fleet
from workers.loading import load
from workers.vllm_engine import VllmEngine

SPAN = Span(0, 0, 1)


def request(number: int) -> Request:
    """One of every kind in turn, each of its own content and length."""
    random = np.random.default_rng(number)
    pixels = random.integers(0, 256, (48 + 16 * (number % 5), 64, 3), np.uint8)
    asked = Prompt(f"Question {number}.", image_tokens=70, max_tokens=4 + number % 5)
    match number % 4:
        case 0:
            clip = Clip(np.stack([pixels] * 3), (0, 1, 2), 1.0, 3)
            return Request(f"row/{number}", asked, Piece(SPAN, clip=clip))
        case 1:
            noise = random.normal(0, 0.1, 16_000 + 1000 * number).astype(np.float32)
            return Request(f"row/{number}", asked, Piece(SPAN, sounds=(noise,)))
    return Request(f"row/{number}", asked, Piece(SPAN, (pixels,)))


@pytest.mark.full
@pytest.mark.timeout(600)
def test_two_engines_answer_as_one(engine: VllmEngine, tiny_folder: Path) -> None:
    requests = [request(number) for number in range(20)]
    options = engine_options({"together": 3})
    fleet = load(str(tiny_folder), "tiny", options, device="cpu", engines=2)
    try:
        assert isinstance(fleet, Fleet)
        assert (fleet.version, fleet.capacity.context) == (engine.version, engine.capacity.context)
        assert fleet.capacity.tokens == 2 * engine.capacity.tokens
        futures = []
        shares = [0, 0]
        for one in requests:
            before = fleet.loads
            futures.append(fleet.submit(one))
            shares[int(fleet.loads[1] != before[1])] += 1
        assert min(shares) >= 5, "both have as many tokens to do; a film is many"
        for one, future in zip(requests, futures, strict=True):
            completion, alone = future.result(240), engine.submit(one).result(240)
            assert (completion.id, completion.text) == (one.id, alone.text)
            assert completion.prompt_tokens == alone.prompt_tokens
            assert completion.prompt_tokens + one.prompt.max_tokens == fleet.measure(one)
        assert fleet.loads == (0, 0)
        long = Request("long", Prompt("word " * 9000), Piece(SPAN))
        with pytest.raises(RowError, match="too_long"):
            fleet.submit(long)
        # One is killed: its requests say so, and closing ends both, with all they started.
        hosts = fleet._members
        pids = [host.pid for host in hosts]  # type: ignore[attr-defined]
        below = [child for pid in pids for child in psutil.Process(pid).children(recursive=True)]
        assert len(below) >= 2, "the model runs in a process below each"
        lost = hosts[0].submit(request(2))
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(EngineDead, match="SIGKILL"):
            lost.result(60)
        assert hosts[1].submit(request(3)).result(120).id == "row/3"
    finally:
        fleet.close()
    _, alive = psutil.wait_procs(below, timeout=20)
    assert not alive
    assert not any(psutil.pid_exists(pid) for pid in pids)
