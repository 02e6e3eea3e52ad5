"""The service by which engines share a GPU, run by a script in its place."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_decode_pool import eventually
from workers.sharing import share

SERVICE = "tests.unit.scripted_sharing"
CONTROL = """#!{python}
import json, os, sys
said = sys.stdin.read() if len(sys.argv) == 1 else ""
places = [os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"]]
line = dict(argv=sys.argv[1:], said=said, places=places, there=all(map(os.path.isdir, places)),
            devices=os.environ.get("CUDA_VISIBLE_DEVICES"))
open({log!r}, "a").write(json.dumps(line) + "\\n")
sys.exit({status})
"""


class Machine:
    """One that has the service, or something of its name."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.control = folder / "nvidia-cuda-mps-control"
        self.install(0)

    def install(self, status: int) -> None:
        self.control.write_text(
            CONTROL.format(python=sys.executable, log=str(self.log), status=status)
        )
        self.control.chmod(0o755)

    @property
    def calls(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MEDIAMILL_PROBE", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    return Machine(tmp_path)


def test_it_runs_until_it_is_closed(machine: Machine) -> None:
    sharing = share(SERVICE)
    assert sharing is not None
    [started] = machine.calls
    assert (started["argv"], started["there"]) == (["-d"], True)
    assert started["devices"] is None, "it serves all of them"
    assert list(sharing.environment.values()) == started["places"]
    sharing.close()
    ended = machine.calls[-1]
    assert (ended["said"], ended["places"]) == ("quit -t 5\n", started["places"])
    assert not any(Path(place).exists() for place in sharing.environment.values())
    sharing.close()
    assert len(machine.calls) == 2


def test_it_ends_with_a_worker_that_is_killed(machine: Machine) -> None:
    program = (
        "import os, signal; from workers.sharing import share;"
        f"assert share({SERVICE!r}) is not None; os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert eventually(lambda: len(machine.calls) == 2)
    assert machine.calls[1]["said"] == "quit -t 5\n"
    [pipe, _] = machine.calls[0]["places"]  # type: ignore[misc]
    assert eventually(lambda: not Path(str(pipe)).exists())


@pytest.mark.parametrize("trouble", ["the probe", "the service"])
def test_without_it_engines_take_turns(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: str,
) -> None:
    if trouble == "the probe":
        monkeypatch.setenv("MEDIAMILL_PROBE", "import sys; sys.exit(3)")
    else:
        machine.install(1)
    with caplog.at_level(logging.WARNING):
        assert share(SERVICE) is None
    assert "take turns on their GPU" in caplog.text
    assert machine.calls[-1]["said"] == "quit -t 5\n", "what was started is ended"


def test_one_that_runs_already_is_used_as_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/tmp/mps")
    assert share(SERVICE) is None
    assert not machine.log.exists()


def test_a_machine_that_has_none_is_asked_for_nothing(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.control.unlink()
    assert share(SERVICE) is None
    assert not caplog.records
