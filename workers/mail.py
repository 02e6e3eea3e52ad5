"""Between a worker and the hosts of its engines: requests as messages, and a thread that sends."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jobs.pieces import Piece
from jobs.tasks.base import Prompt
from workers import wire
from workers.engine import Request

Letter = tuple[Mapping[str, Any], Sequence[wire.Array]]


class Outbox:
    """Sends messages in their order. Thread-safe. Once the other end is gone they are dropped:
    whoever reads from it is told."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock = sock
        self._letters: queue.SimpleQueue[Letter | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, message: Mapping[str, Any], arrays: Sequence[wire.Array] = ()) -> None:
        """Queue a message; returns at once."""
        self._letters.put((message, arrays))

    def close(self) -> None:
        """Send what is queued, and no more."""
        self._letters.put(None)

    def _run(self) -> None:
        while (letter := self._letters.get()) is not None:
            try:
                wire.send(self._sock, *letter)
            except OSError:
                return
            del letter  # arrays may be large, and the next message far


def pack_request(request: Request) -> tuple[dict[str, Any], list[wire.Array]]:
    """A request as message and arrays."""
    message, arrays = wire.pack(request.piece)
    return {"id": request.id, "prompt": asdict(request.prompt), "piece": message}, arrays


def unpack_request(message: Mapping[str, Any], arrays: Sequence[wire.Array]) -> Request:
    """The request that `pack_request` was given."""
    piece = wire.unpack(message["piece"], arrays)
    assert isinstance(piece, Piece)
    prompt = message["prompt"]
    return Request(message["id"], Prompt(**{**prompt, "tools": tuple(prompt["tools"])}), piece)
