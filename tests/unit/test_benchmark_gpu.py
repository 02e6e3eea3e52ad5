"""The GPU benchmark, without a GPU: what it saves, what it refuses, and what it says was seen."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, mill, ratios, table
from benchmarks.corpus import recording
from benchmarks.engine import sound
from benchmarks.speak import talk
from jobs.tasks.caption import VIDEO_PROMPT
from models.tiny.evaluation.sound import write_sound
from models.tiny.speech import RATE, Speaker
from tests.services import wait_for
from tests.unit.test_decode_pool import gone
from workers.speech import windows


def repeat(side: str, rate: float, **other: Any) -> dict[str, Any]:
    return {
        "run": "2026-12-01T10:00", "model": "E2B", "task": "caption", "side": side,
        "rows_per_s": rate, "output_tokens": 1000, "output_tokens_per_s": 10 * rate,
        "gpu_busy": None, "gpu_memory_gib": None, "start_s": 1.0, "cpu_ms_per_row": {},
        "machine": "m", "vllm": "1", "torch": "2",
    } | other  # fmt: skip


# --- ratios --------------------------------------------------------------------------------


def test_a_ratio_is_of_means_and_its_spread_of_extremes() -> None:
    found = ratios.ratio([repeat("a", 40), repeat("a", 44)], [repeat("b", 20), repeat("b", 22)])
    assert (found.value, found.low, found.high) == (2.0, 40 / 22, 44 / 20)
    assert str(found) == "2.00 (1.82 to 2.20)"
    assert [found.verdict(least) for least in (2.0, 2.1, 2.3)] == [
        "met",
        "within the spread",
        "missed",
    ]


def test_each_figure_that_is_asked_for_is_said_when_both_sides_were_measured() -> None:
    repeats = [
        repeat("raw", 20),
        repeat("naive", 10),
        repeat("mill", 30, tail=0.02),
        repeat("mill", 32, tail=0.30),
        repeat("mill", 99, task="transcribe"),
    ]
    assert list(ratios.lines(repeats)) == [
        "mill ÷ raw, E2B caption: 1.55 (1.50 to 1.60), asked 1.7: missed",
        "mill ÷ naive, E2B caption: 3.10 (3.00 to 3.20), asked 2: met",
        "last 5% of the rows, mill, E2B caption: 16.0% of the time: missed",
    ]
    assert {side for a in ratios.ASKED for side in (a.side, a.base)} <= set(gpu.SIDES)


def test_sides_that_did_other_work_are_told() -> None:
    assert not list(ratios.unequal([repeat("raw", 1), repeat("mill", 2)]))
    assert not list(ratios.unequal([repeat("raw", 1), repeat("mill", 2, output_tokens=1005)]))
    (told,) = ratios.unequal([repeat("raw", 1), repeat("mill", 2, output_tokens=900)])
    assert told == "NOT THE SAME WORK, E2B caption: output tokens 900 by mill; 1,000 by raw"


def test_the_page_has_the_newest_run_of_each_figure(tmp_path: Path) -> None:
    lines = [
        repeat("raw", 20),
        repeat("mill", 30),
        repeat("raw", 20, run="2026-12-02T10:00"),
        repeat("mill", 40, run="2026-12-02T10:00"),
        # Of another run: no ratio to the others.
        repeat("naive", 1, run="2026-12-03T10:00"),
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = table.asked(table.read(tmp_path)).splitlines()
    assert page[5] == (
        "| mill ÷ raw, E2B caption | 1.7 | 2.5 | 2.00 (2.00 to 2.00): met | 2026-12-02T10:00 |"
    )
    assert "not measured" in page[7]


# --- sides ---------------------------------------------------------------------------------


def test_films_are_a_task_of_their_own_and_other_arguments_another_side(tmp_path: Path) -> None:
    given = argparse.Namespace(
        run="now", model="E2B", folder="f", task="caption", media="film", device="cpu",
        image_tokens=280, arguments="{}",
    )  # fmt: skip
    spec = gpu._spec(given, tmp_path)
    assert (spec["text"], spec["options"]) == (VIDEO_PROMPT, {"temperature": 0})
    figures = {"rows": 4, "seconds": 2.0, "output_tokens": 8}
    result = gpu._result(given, "tuned", figures)
    assert (result["task"], result["side"], result["rows_per_s"]) == ("caption film", "tuned", 2.0)
    given.media, given.arguments = "image", '{"max_num_seqs": 9}'
    assert gpu._spec(given, tmp_path)["options"]["image_tokens"] == 280
    result = gpu._result(given, "tuned", figures)
    assert (result["task"], result["side"]) == ("caption", "tuned max_num_seqs=9")


def test_lines_are_taken_as_they_come_and_a_side_that_takes_too_long_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('no figure', flush=True)\n"
        "print('{\"pid\": %d}' % child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    timers: list[Any] = []

    class Timer(threading.Thread):
        """Runs out when the test says so."""

        def __init__(self, seconds: float, call: Any, given: Any) -> None:
            super().__init__(target=call, args=given)
            timers.append((seconds, self))

        def start(self) -> None:
            pass

        def cancel(self) -> None:
            pass

    taken: list[dict[str, Any]] = []

    def take(line: dict[str, Any]) -> None:
        # The side is still at it: its time is up only now.
        taken.append(line)
        timers[0][1].run()

    monkeypatch.setattr("benchmarks.gpu.threading.Timer", Timer)
    assert gpu._side([sys.executable, "-c", script], take, 300.0) == -signal.SIGTERM
    assert [seconds for seconds, _ in timers] == [300.0, 320.0]
    ((pid,),) = [line.values() for line in taken]
    wait_for("the end of what it had started", lambda: gone(pid))
    # Nothing is begun that has no time.
    assert gpu._side([sys.executable, "-c", script], take, 0.0) is None
    assert len(taken) == 1


def test_a_side_is_over_with_its_process_whatever_that_leaves_behind() -> None:
    # What it started holds the pipe open, and would for ten minutes.
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('{\"pid\": %d}' % child.pid, '{torn', flush=True, sep='\\n')\n"
        "sys.exit(3)\n"
    )
    taken: list[dict[str, Any]] = []
    assert gpu._side([sys.executable, "-c", script], taken.append, 300.0) == 3
    ((pid,),) = [line.values() for line in taken]
    wait_for("the end of what it had started", lambda: gone(pid))


def test_a_mistake_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    for flags, told in (
        (["--sides", "raw,mil"], "no sides: mil; there are raw, tuned"),
        (["--task", "transcribe"], "takes --speech"),
        (["--task", "transcribe", "--speech", str(tmp_path)], "takes --speech"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu", *flags],
            capture_output=True,
            text=True,
            env=os.environ,
        )
        assert done.returncode == 2
        assert told in done.stderr


def test_answers_without_an_end_are_as_long_as_asked(tmp_path: Path) -> None:
    rows = [{"id": str(n), "uri": f"{n}.jpg", "max_tokens": 10 + n} for n in range(4)]
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {"manifest": str(path), "arguments": {"load_format": "dummy"}}
    mill._check(spec, None, 46)
    mill._check(spec, 2, 21)
    with pytest.raises(SystemExit, match="92 tokens were answered and 46 asked for"):
        mill._check(spec, None, 92)
    mill._check(spec | {"arguments": {}}, None, 92)


# --- speech --------------------------------------------------------------------------------


def test_pieces_of_speech_are_one_request_each(tmp_path: Path) -> None:
    speaker = Speaker()
    base = []
    for seed in range(2):
        base.append(tmp_path / f"{seed}.flac")
        write_sound(base[-1], talk(speaker, 40.0, seed), RATE, "flac")
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    for number in range(6):
        samples = sound(pieces / recording(pieces, number, base))
        ((start, end, _),) = windows([samples], 30 * RATE)
        assert end - start > 0.95 * len(samples), "and little is left out at its ends"


# --- several side by side ------------------------------------------------------------------


def test_runs_side_by_side_share_neither_gpus_nor_cores_nor_files(tmp_path: Path) -> None:
    code = (
        "import json, os, sys, tempfile\n"
        "from benchmarks import gpu, watch\n"
        "number = int(sys.argv[1])\n"
        "os.sched_getaffinity = lambda pid: set(range(10))\n"
        "os.sched_setaffinity = lambda pid, cores: print(json.dumps(cores))\n"
        "gpu.keep_to(number, 4)\n"
        "print(json.dumps([watch.seen(None), tempfile.gettempdir()]))\n"
    )
    found = []
    for number in range(4):
        told = subprocess.run(
            [sys.executable, "-c", code, str(number)],
            env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        cores, (devices, scratch) = map(json.loads, told.splitlines())
        found.append((cores, devices, Path(scratch).name))
    assert found == [
        ([0, 1], [0], "gpu-0"),
        ([2, 3], [1], "gpu-1"),
        ([4, 5], [2], "gpu-2"),
        ([6, 7], [3], "gpu-3"),
    ]


def test_a_gpu_that_is_not_there_is_told() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--gpu", "97"], capture_output=True, text=True
    )
    assert told.returncode == 2
    assert "--gpu 97: this machine has" in told.stderr
