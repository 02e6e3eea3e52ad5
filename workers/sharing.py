"""NVIDIA's Multi-Process Service, so that engines which share a GPU run on it at once.

Without it a GPU does the work of one process after the other's, however little of it that fills:
two engines of E4B did a sixth more with it (benchmarks/NOTES.md). It is started by a small
process that lives as long as the worker, and ends it however the worker ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from workers import child, wire

_log = logging.getLogger(__name__)

_CONTROL = "nvidia-cuda-mps-control"
_PIPES = "CUDA_MPS_PIPE_DIRECTORY"
_LOGS = "CUDA_MPS_LOG_DIRECTORY"
#: What tells whether CUDA starts with it: the driver's own library, and no more.
_PROBE = (
    "import ctypes, sys; cuda = ctypes.CDLL('libcuda.so.1'); context = ctypes.c_void_p();"
    "sys.exit(cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))"
)
#: Seconds that starting it, a probe, and its end may take.
_START_S, _PROBE_S, _END_S = 20.0, 60.0, 10.0


class Sharing:
    """The service while it runs. `environment` is what a process needs to use it."""

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self.environment: Mapping[str, str] = {}
        self._process = process
        self._sock = sock

    def close(self) -> None:
        """End the service; who used it is to be gone by now. May be called again."""
        self._sock.close()
        try:
            self._process.wait(2 * _END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


def share(service: str = __name__) -> Sharing | None:
    """Start the service, in folders of its own; None where there is none, or where there is one.

    Engines take turns on their GPU then, or share it by the service that the environment names.
    `service` is the module that runs it.
    """
    if _PIPES in os.environ or shutil.which(_CONTROL) is None:
        return None
    try:
        sharing = Sharing(*child.start(service, [], os.environ))
    except OSError as error:
        _log.warning("engines take turns on their GPU: %s", error, extra={"action": "mps"})
        return None
    try:
        told, _ = wire.receive(sharing._sock)
    except (EOFError, OSError, ValueError):
        told = {"refused": "its process ended"}
    if "refused" in told:
        sharing.close()
        _log.warning(
            "engines take turns on their GPU, as %s does not run here: %s",
            _CONTROL,
            told["refused"],
            extra={"action": "mps"},
        )
        return None
    sharing.environment = told["environment"]
    _log.info("engines share their GPU by NVIDIA's MPS", extra={"action": "mps"})
    return sharing


def main(arguments: list[str]) -> None:
    """Run the service until the worker's end of the socket closes. Arguments: socket, its pid."""
    os.dup2(2, 1)
    # Sent to all of a service: this one ends once the worker has.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    with (
        socket.socket(fileno=int(arguments[0])) as sock,
        tempfile.TemporaryDirectory(prefix="mediamill-mps-", ignore_cleanup_errors=True) as folder,
        # Also when it closes while this one still starts the service.
        contextlib.suppress(ConnectionError),
    ):
        sock.set_inheritable(False)
        places = {_PIPES: f"{folder}/pipe", _LOGS: f"{folder}/log"}
        for place in places.values():
            Path(place).mkdir()
        # It serves all GPUs, by their usual numbers; who uses it says which of them.
        seen_by_all = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        try:
            wire.send(sock, _started(seen_by_all, places))
            while sock.recv(1):
                pass
        finally:
            # Also where it did not start in time: it may have come up since.
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    [_CONTROL], input=b"quit -t 5\n", env=os.environ | places, timeout=_END_S
                )


def _started(environment: Mapping[str, str], places: Mapping[str, str]) -> dict[str, object]:
    """Start the service. What comes of it: why it is refused, or what its users need."""
    try:
        subprocess.run(
            [_CONTROL, "-d"], env={**environment, **places}, check=True, timeout=_START_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"refused": str(error)}
    try:
        subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, **places},
            check=True,
            timeout=_PROBE_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"refused": f"CUDA does not start with it ({type(error).__name__})"}
    return {"environment": dict(places)}
