"""The program of `workers.engine_host` around a scripted engine: what is asked says what it does.

`MEDIAMILL_SCRIPT` names a folder of the test's: `start` in it says what a start does, and
`events` gets a line when one begins and ends.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import time
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from storage.errors import EngineDead, InvalidJob, RowError
from tests.unit.scripted import ScriptedEngine, completion
from workers import engine_host
from workers.arguments import Device
from workers.engine import Capacity, Completion, EngineOptions, Request
from workers.fitting import USUAL, Gpus

FOLDER = "MEDIAMILL_SCRIPT"


def main(arguments: list[str]) -> None:
    """As the host's own, with this module in the place of vLLM."""
    engine_host.run(arguments, lambda: cast("engine_host.Library", sys.modules[__name__]))


def find_gpus() -> Gpus:
    """As many as the script says, of so many bytes."""
    script = _script()
    if not script.get("gpus"):
        raise InvalidJob("no GPU is to be seen here")
    return Gpus(script["gpus"], script.get("memory", USUAL[80]))


def load_engine(
    path: str, model: str, options: EngineOptions, *, device: Device, in_process: bool
) -> Told:
    """An engine that does as it is told."""
    assert not in_process
    script = _script()
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    _event(f"begin {seen}")
    match script.get("start", ""):
        case "misfit":
            raise InvalidJob(f"model {model} in {path} does not fit")
        case "dead":
            raise EngineDead("vLLM did not start")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "broken":
            raise ZeroDivisionError("a fault of the library's own")
    # Those that start together wait for one another here.
    while len([e for e in events(_folder()) if e.startswith("begin")]) < script.get("meet", 1):
        time.sleep(0.01)
    _event(f"end {seen}")
    shared = os.environ.get("CUDA_MPS_PIPE_DIRECTORY")
    told = {"options": options.given, "devices": seen, "device": device, "shared": shared}
    return Told(model, told)


def events(folder: Path) -> list[str]:
    """What started and has started, in order."""
    file = folder / "events"
    return file.read_text().splitlines() if file.exists() else []


def fingerprint(request: Request) -> str:
    """All that a request is, in a line that tells any other apart."""
    piece = request.piece
    arrays = [*piece.images, *piece.sounds] + ([piece.clip.frames] if piece.clip else [])
    clip = [piece.clip.indices, piece.clip.fps, piece.clip.total_frames] if piece.clip else None
    counts = [len(piece.images), len(piece.sounds)]
    prompt = asdict(request.prompt)
    told = [request.id, prompt, asdict(piece.span), clip, counts, [_of_array(a) for a in arrays]]
    return json.dumps(told, sort_keys=True)


def _of_array(array: Any) -> list[Any]:
    bytes_ = np.ascontiguousarray(array).tobytes()
    return [array.dtype.str, array.shape, hashlib.sha256(bytes_).hexdigest()]


def _folder() -> Path:
    return Path(os.environ[FOLDER])


def _script() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((_folder() / "script").read_text()))


def _event(line: str) -> None:
    # A short line that is appended is written whole, whoever else writes.
    with (_folder() / "events").open("a") as file:
        file.write(f"{line}\n")


class Told(ScriptedEngine):
    """Does what the first word of a prompt says; the rest is for the test to tell them apart."""

    def __init__(self, model: str, told: dict[str, Any]) -> None:
        super().__init__(self._do, capacity=Capacity(1000, 8, 4096, images=16, sounds=3))
        self.model = model
        self.version = "0.0"
        self.told = told

    def _do(self, request: Request) -> str | BaseException | Future[Completion]:
        match request.prompt.text.partition(" ")[0]:
            case "hold":
                return self.hold(request)
            case "release":
                held, self.held = self.held, []
                for asked, future in reversed(held):
                    if future.set_running_or_notify_cancel():
                        future.set_result(completion(asked, f"held {asked.id}"))
                return "released"
            case "count":
                return str(sum(not future.cancelled() for _, future in self.held))
            case "refuse":
                return RowError("too_long", f"{request.id} is too long: lower it")
            case "die":
                held, self.held = self.held, []
                for _, future in held:
                    future.set_exception(EngineDead("out of memory"))
                return EngineDead("out of memory")
            case "child":
                return str(_grandchild())
            case "told":
                return json.dumps(self.told)
            case "environment":
                names = ("OMP_NUM_THREADS", "PYTHONWARNINGS")
                debugs = logging.getLogger("workers").isEnabledFor(logging.DEBUG)
                return json.dumps([*(os.environ.get(name) for name in names), debugs])
        return fingerprint(request)


def _grandchild() -> int:
    """A process that goes for no reason of its own, as an engine's: forked, deaf to SIGTERM."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    return pid
