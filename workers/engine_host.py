"""A process that holds one engine: it renders and preprocesses requests, and the model runs
in a process of its own beside it. `workers.hosted` is the worker's end.

It lives as long as its parent and no longer. Between two engines on one GPU nothing is
shared: each has its own interpreter for the work that a step costs on the CPU.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

from storage.errors import EngineDead, InvalidJob, RowError
from storage.log_lines import JsonFormatter, TextFormatter
from workers import wire
from workers.arguments import Device
from workers.child import end_group_with
from workers.engine import Completion, Engine, EngineOptions, engine_options
from workers.fitting import Gpus
from workers.mail import Outbox, unpack_request

#: Errors that say that the parent is gone, or wants no more.
_PARENT_GONE = (EOFError, ConnectionError)


class Library(Protocol):
    """What runs models: it finds the GPUs and loads an engine. `workers.vllm_engine` is one."""

    def find_gpus(self) -> Gpus:
        """The GPUs that this process may use. Raises InvalidJob if there are none."""
        ...

    def load_engine(
        self, path: str, model: str, options: EngineOptions, *, device: Device, in_process: bool
    ) -> Engine:
        """Start an engine. Raises InvalidJob if it does not fit, EngineDead if it cannot."""
        ...


def main(arguments: list[str]) -> None:
    """Serve vLLM until the parent goes away. Arguments: socket, parent's pid."""
    run(arguments, _vllm)


def _vllm() -> Library:
    from workers import vllm_engine

    return vllm_engine


def run(arguments: list[str], library: Callable[[], Library]) -> None:
    """As `main`, with what imports the library: it takes long, and wants logging set up."""
    fd, parent = (int(argument) for argument in arguments)
    end_group_with(parent)
    os.dup2(2, 1)  # what libraries print belongs with the log
    with socket.socket(fileno=fd) as sock, contextlib.suppress(*_PARENT_GONE):
        # What libraries start must not hold the socket open: its end tells of this one's death.
        sock.set_inheritable(False)
        os.register_at_fork(after_in_child=sock.close)
        _host(sock, library)
    # Threads of libraries may hang about, and the engine's process goes with this one.
    os._exit(0)


def _host(sock: socket.socket, library: Callable[[], Library]) -> None:
    order, _ = wire.receive(sock)
    # As the worker's own logs are set: at DEBUG libraries tell what they do as well.
    level = logging.INFO if order["verbose"] else logging.ERROR
    handler = logging.StreamHandler()
    # Where the worker has it from, unless it was told by a flag.
    style = os.environ.get("MEDIAMILL_LOG_FORMAT")
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("workers").setLevel(logging.DEBUG if order["verbose"] else logging.WARNING)
    try:
        loaded = library()
        if order["device"] == "cuda":
            gpus = loaded.find_gpus()
            # Told before anything is loaded: where engines go depends on it.
            wire.send(sock, {"gpus": [gpus.count, gpus.memory]})
            place, _ = wire.receive(sock)
            _see_only(place["devices"])
            os.environ |= place["environment"]
            order["options"] |= place["options"]
        engine = loaded.load_engine(
            order["path"],
            order["model"],
            engine_options(order["options"]),
            device=order["device"],
            in_process=False,
        )
    except (InvalidJob, EngineDead) as error:
        wire.send(sock, {"refused": [type(error).__name__, str(error)]})
        return
    ready = {"version": engine.version, "capacity": asdict(engine.capacity)}
    with contextlib.suppress(*_PARENT_GONE):
        wire.send(sock, {"ready": ready})
        Host(engine, sock).serve()
    # An engine that is ended complains that it was.
    logging.disable(logging.CRITICAL)
    try:
        engine.close()
    finally:
        # What it has left goes too: the parent may have no more time for that.
        os.killpg(0, signal.SIGKILL)


def _see_only(devices: list[int]) -> None:
    """Leave to the engine these of the GPUs that are seen now. CUDA has not been started."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = given.split(",") if given else None
    named = [str(device) if seen is None else seen[device].strip() for device in devices]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(named)


class Host:
    """Hands an engine what comes through the socket, and sends back what becomes of it."""

    def __init__(self, engine: Engine, sock: socket.socket) -> None:
        self._engine = engine
        self._sock = sock
        self._outbox = Outbox(sock, "answers")
        self._running: dict[str, Future[Completion]] = {}

    def serve(self) -> None:
        """Until the other end closes. Raises EOFError or OSError then."""
        while True:
            message, arrays = wire.receive(self._sock)
            if "drop" in message:
                if (future := self._running.get(message["drop"])) is not None:
                    future.cancel()
                continue
            key, request = message["key"], unpack_request(message, arrays)
            future = self._running[key] = self._engine.submit(request)
            future.add_done_callback(partial(self._tell, key))
            del message, arrays, request, future

    def _tell(self, key: str, done: Future[Completion]) -> None:
        del self._running[key]
        self._outbox.put({"key": key} | _outcome(done))


def _outcome(done: Future[Completion]) -> dict[str, Any]:
    if done.cancelled():
        return {"dropped": True}
    error = done.exception()
    if error is None:
        return {"completion": asdict(done.result())}
    if isinstance(error, RowError):
        return {"row_error": [error.kind, error.message]}
    return {"died": str(error)}
