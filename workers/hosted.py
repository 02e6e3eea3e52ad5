"""The worker's end of an engine in a process of its own (`workers.engine_host`)."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from storage.errors import EngineDead, InvalidJob, MediamillError, RowError, WorkerUnfit
from workers import child, wire
from workers.engine import Capacity, Completion, Request
from workers.fitting import Gpus
from workers.in_flight import InFlight
from workers.mail import Outbox, pack_request

_log = logging.getLogger(__name__)

#: Seconds that a host is given to end by itself.
_END_S = 10.0
#: The module that runs an engine on vLLM.
HOST = "workers.engine_host"
_REFUSALS: dict[str, type[MediamillError]] = {"InvalidJob": InvalidJob, "EngineDead": EngineDead}


class Hosted:
    """One engine next door. Requests go out by a thread of it, answers come in by another.

    Made in three steps, so that many can start together: the process begins to load its
    libraries at once, `gpus` says what it sees, and `load` starts the model. `host` is the
    module that runs there. Raises WorkerUnfit if no process can be started.
    """

    def __init__(
        self,
        path: str,
        model: str,
        options: Mapping[str, Any],
        device: str,
        *,
        threads: int,
        host: str = HOST,
    ) -> None:
        self.model = model
        self.version = ""
        self.capacity = Capacity(0, 0, 0)
        self._in_flight = InFlight(model)
        self._reader = threading.Thread(target=self._read, name="answers", daemon=True)
        self._killed = False
        try:
            # Preprocessing has as many cores as there are engines: none may take them all.
            environment = {"OMP_NUM_THREADS": str(threads)}
            # What libraries are warned of is for those who debug, and the engine's process
            # hears of it in this way alone.
            verbose = _log.isEnabledFor(logging.DEBUG)
            if not verbose:
                environment["PYTHONWARNINGS"] = "ignore"
            environment |= os.environ
            self._process, self._sock = child.start(host, [], environment)
        except OSError as error:
            raise WorkerUnfit(f"no process can be started for an engine: {error}") from error
        # Once the host is gone it drops what it is given; what is asked next tells of that.
        self._outbox = Outbox(self._sock, "requests")
        self._outbox.put(
            {
                "path": path,
                "model": model,
                "options": dict(options),
                "device": device,
                "verbose": verbose,
            },
        )

    @property
    def pid(self) -> int:
        """Of the host; the engine's own process is its child."""
        return self._process.pid

    def gpus(self) -> Gpus:
        """The GPUs that the host sees, once it has loaded its libraries. Raises as `load`."""
        count, memory = self._told("gpus")
        return Gpus(count, memory)

    def place(
        self, devices: tuple[int, ...], options: Mapping[str, Any], environment: Mapping[str, str]
    ) -> None:
        """Say which of its GPUs the engine shall take, with which further options and variables."""
        self._outbox.put(
            {
                "devices": list(devices),
                "options": dict(options),
                "environment": dict(environment),
            }
        )

    def load(self) -> None:
        """Wait until the model is loaded.

        Raises InvalidJob if checkpoint, options or GPUs do not fit, EngineDead if vLLM or
        the host does not start.
        """
        ready = self._told("ready")
        self.version = ready["version"]
        self.capacity = Capacity(**ready["capacity"])
        self._reader.start()

    def submit(self, request: Request) -> Future[Completion]:
        """Hand the request in; see Engine."""
        key, future = self._in_flight.add(request)
        if key is not None:
            message, arrays = pack_request(request)
            self._outbox.put({"key": key} | message, arrays)
            future.add_done_callback(
                lambda done: self._outbox.put({"drop": key}) if done.cancelled() else None
            )
        return future

    def close(self) -> None:
        """End the host, and the engine with it; may be called again."""
        self._in_flight.died(EngineDead("closed"))
        # The host sees its end of the socket close, and ends its engine. Closing alone would
        # leave a thread that reads here waiting.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        serving = self._reader.is_alive()
        if serving:  # one that is still loading would not hear of it
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._kill()
        self._outbox.close()
        if serving:
            self._reader.join(_END_S)
        self._sock.close()

    def _told(self, name: str) -> Any:
        try:
            message, _ = wire.receive(self._sock)
        except (EOFError, OSError, ValueError) as error:
            raise EngineDead(f"the engine's process {self._cause()} while it started") from error
        if "refused" in message:
            kind, text = message["refused"]
            raise _REFUSALS[kind](text)
        return message[name]

    def _read(self) -> None:
        try:
            while True:
                message, _ = wire.receive(self._sock)
                self._take(message["key"], message)
        except EngineDead as error:
            ended = error
        except (EOFError, OSError, ValueError):
            ended = EngineDead(f"its process {self._cause()}")
        # Before anybody hears of it: that ends the worker, and what still ran of the group would
        # keep the GPU's memory from the next one.
        self._kill()
        self._in_flight.died(ended)

    def _take(self, key: str, message: Mapping[str, Any]) -> None:
        if "completion" in message:
            self._in_flight.answered(key, Completion(**message["completion"]))
        elif "row_error" in message:
            self._in_flight.failed(key, RowError(*message["row_error"]))
        elif "dropped" in message:
            self._in_flight.dropped(key)
        else:
            raise EngineDead(message["died"])

    def _kill(self) -> None:
        """End whatever is left of the host and of what it started."""
        # Once: later the group's number may be another's.
        if not self._killed:
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            # A driver may hold on to it; nobody is to wait for that.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)

    def _cause(self) -> str:
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "no longer makes sense"
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"
