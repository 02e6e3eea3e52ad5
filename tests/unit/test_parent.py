"""The worker command's first process, with real forks and real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from tests.services import wait_for

_BEGIN = """
import os, signal, sys, time
from pathlib import Path
from orchestration import parent
parent._BACK_OFF_S = 0.01
log = Path(sys.argv[1])
def say(*words):
    with log.open("a") as file:
        print(*words, file=file, flush=True)
def serve(folder, cause):
    say(os.getpid(), cause)
    times = len(log.read_text().splitlines())
"""


def start(log: Path, serve: str) -> subprocess.Popen[bytes]:
    """A parent whose children run the lines of `serve`."""
    program = _BEGIN + textwrap.indent(textwrap.dedent(serve), "    ") + "\nparent.outlive(serve)"
    environment = {**os.environ, "TMPDIR": str(log.parent)}
    return subprocess.Popen([sys.executable, "-c", program, str(log)], env=environment)


def said(log: Path) -> list[str]:
    """What the children were told of their predecessors, in order."""
    return [line.partition(" ")[2] for line in log.read_text().splitlines()]


@pytest.mark.parametrize(
    ("death", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os.abort()", "was killed by SIGABRT"),
        ("os._exit(1)", "ended with exit code 1"),
        ("(folder / 'why').write_text('stuck'); os._exit(1)", "ended itself: stuck"),
    ],
)
def test_a_new_process_comes_and_is_told_why(tmp_path: Path, death: str, told: str) -> None:
    log = tmp_path / "log"
    with start(log, f"(folder / 'ready').touch()\nif times < 3: {death}") as it:
        assert it.wait(30) == 0
    assert said(log) == ["None", told, told]


def test_what_does_not_begin_to_serve_is_not_repeated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start(log, "sys.exit(7)") as it:
        assert it.wait(30) == 7
    assert said(log) == ["None"]


def test_five_false_starts_in_a_row_are_enough(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start(log, "if times == 1: (folder / 'ready').touch()\nos._exit(4)") as it:
        assert it.wait(30) == 4
    assert len(said(log)) == 6


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_handed_on_and_ends_both(tmp_path: Path, asked: signal.Signals) -> None:
    serve = """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    (folder / 'ready').touch()
    say("serving")
    while True: time.sleep(60)
    """
    log = tmp_path / "log"
    with start(log, serve) as it:
        wait_for("serving", lambda: log.exists() and "serving" in log.read_text(), it)
        it.send_signal(asked)
        assert it.wait(30) == 0
    assert len(log.read_text().splitlines()) == 2


def test_the_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start(log, "(folder / 'ready').touch()\nwhile True: time.sleep(60)") as it:
        wait_for("a child", lambda: log.exists() and bool(log.read_text()), it)
        child = psutil.Process(int(log.read_text().split()[0]))
        os.kill(it.pid, signal.SIGKILL)
        it.wait(30)
        wait_for("its end", lambda: not child.is_running())


def test_what_a_parent_leaves_that_was_killed_is_removed_by_the_next(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start(log, "say(folder)\nwhile True: time.sleep(60)") as killed:
        wait_for("a child", lambda: log.exists() and "in-hand" in log.read_text(), killed)
        with start(log, "sys.exit(7)") as beside:
            assert beside.wait(30) == 7
        assert len(list(tmp_path.glob("mediamill-in-hand-*"))) == 1, "it lives"
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(30)
    child = psutil.Process(int(log.read_text().split()[0]))
    wait_for("its end", lambda: not child.is_running())
    with start(log, "sys.exit(7)") as it:
        assert it.wait(30) == 7
    assert not list(tmp_path.glob("mediamill-in-hand-*"))
