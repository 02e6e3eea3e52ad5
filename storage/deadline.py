"""Connections whose answers keep to a deadline and whose heads are small.

urllib3 counts the time between two bytes: a server that drips one now and then, in its
headers, between them or in its content, could hold a row for ever. So the reads
themselves look at the clock. `until` says until when, for the thread that fetches.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import socket
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

#: Bytes before the content: status, headers, and whatever is said ahead of them (1xx).
MAX_HEAD_BYTES = 64 * 1024
_until: ContextVar[float] = ContextVar("until", default=math.inf)


@contextlib.contextmanager
def until(deadline: float) -> Iterator[None]:
    """Reads of answers that begin in here end by `deadline`, of the monotonic clock."""
    token = _until.set(deadline)
    try:
        yield
    finally:
        _until.reset(token)


class _Timed(io.RawIOBase):
    """What comes from a socket: TimeoutError after the deadline, or in a longer silence than
    the socket allows; HTTPException for a head without end."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        super().__init__()
        self._raw, self._sock = raw, sock
        self._silent_s = sock.gettimeout() or math.inf
        self._deadline = _until.get()
        self.head_left: float = MAX_HEAD_BYTES

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See io.RawIOBase. Raises TimeoutError, http.client.HTTPException."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for this medium is over")
        allowed = min(left, self._silent_s)
        self._sock.settimeout(allowed if allowed < math.inf else None)
        size = self._raw.readinto(buffer) or 0
        self.head_left -= size
        if self.head_left < 0:
            raise http.client.HTTPException(f"more than {MAX_HEAD_BYTES:,} bytes of headers")
        return size

    def close(self) -> None:
        """Close the socket's side too."""
        if not self.closed:
            self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._timed = _Timed(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        super().begin()
        self._timed.head_left = math.inf
        # urllib3 would log the whole URL, with its signature, to say that a header is odd.
        self.headers.defects.clear()
        self.headers.set_payload("")


class _Connection(HTTPConnection):
    response_class = _Answer


class _TlsConnection(HTTPSConnection):
    response_class = _Answer


class Pool(HTTPConnectionPool):
    """Connections over http."""

    ConnectionCls = _Connection


class TlsPool(HTTPSConnectionPool):
    """Connections over https."""

    ConnectionCls = _TlsConnection
