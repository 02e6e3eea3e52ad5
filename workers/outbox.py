"""Messages on their way out, sent by a thread: whoever has one does not wait for the socket."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from workers import wire

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
