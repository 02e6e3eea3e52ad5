"""A proxy of our own before a real S3 server, which makes on order what networks and stores do.

Requests go on as they came, the Host header among them, so that their signatures hold.
Orders say which fault befalls which requests; `log` has what was done, in order.
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import os
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

from tests.services import S3Endpoint

Fault = Literal[
    "500",  # InternalError; the request never reaches the store
    "503",  # SlowDown; nor does it here
    "403",  # AccessDenied; nor here
    "reset",  # the connection is reset before the request reaches the store
    "lost",  # the store does it, and the connection is reset instead of the answer
    "truncated",  # the body breaks off in the middle of the length that was announced
    "short",  # half of the body, with a length that fits
    "flipped",  # the whole body, with one bit of it turned
    "slow",  # the request waits for `Order.seconds` and then goes on
    "stalled",  # the store does it, and the answer waits for `Order.seconds`
    "deaf",  # the store never hears of the request's conditions
]
_ANSWERS = {"500": "InternalError", "503": "SlowDown", "403": "AccessDenied"}
_OF_BODIES = ("truncated", "short", "flipped")
_CONDITIONS = frozenset({"if-match", "if-none-match"})
#: Headers of one connection, not of the request; `Expect` is answered here.
_OF_CONNECTIONS = frozenset({"connection", "keep-alive", "expect", "transfer-encoding"})


@dataclass(eq=False, slots=True)
class Order:
    """What befalls requests whose method and key (`bucket/key`, unquoted) match the patterns.

    The first `skip` of them go through, then `times` are hit (None: all of them), each
    with the probability `chance`. Faults of bodies wait for an answer of 2xx that has one.
    """

    fault: Fault
    method: str = "*"
    key: str = "*"
    times: int | None = 1
    skip: int = 0
    chance: float = 1.0
    seconds: float = 0.0
    done: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)

    def matches(self, method: str, key: str) -> bool:
        """Whether the order is about such a request and not used up."""
        if self.times is not None and self.done >= self.times:
            return False
        return fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(key, self.key)

    def take(self, draw: random.Random) -> bool:
        """Whether this matching request is hit."""
        self._seen += 1
        return self._seen > self.skip and draw.random() < self.chance


@dataclass(frozen=True, slots=True)
class Injected:
    """One fault that was made."""

    fault: str
    method: str
    key: str


class FaultProxy:
    """Listens on a port of its own; a context manager. Thread-safe.

    With the same seed the same sequence of requests meets the same faults.
    """

    def __init__(self, store: S3Endpoint, seed: int = 0) -> None:
        parts = urlsplit(store.url)
        self._upstream = (str(parts.hostname), int(parts.port or 80))
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._orders: list[Order] = []
        self.log: list[Injected] = []
        #: Ends waits, when the network is cut and when the proxy ends.
        self.over = threading.Event()
        # Bound and never listening: the port stays ours, and refuses, while the network is cut.
        self._guard = socket.socket()
        self._guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._guard.bind(("127.0.0.1", 0))
        self.port: int = self._guard.getsockname()[1]
        self.endpoint = S3Endpoint(
            f"http://127.0.0.1:{self.port}",
            {**store.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"},
        )
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> FaultProxy:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections, and give the port back."""
        self.cut()
        self._guard.close()

    def order(self, order: Order) -> Order:
        """From now on; of several that match, the first that hits is carried out."""
        with self._lock:
            self._orders.append(order)
        return order

    def clear(self) -> None:
        """Forget all orders."""
        with self._lock:
            self._orders.clear()

    def withdraw(self, order: Order) -> None:
        """Forget an order, carried out or not."""
        with self._lock:
            self._orders.remove(order)

    @property
    def counts(self) -> Counter[str]:
        """How often each fault was made."""
        with self._lock:
            return Counter(injected.fault for injected in self.log)

    def cut(self) -> None:
        """End all connections and refuse new ones, until `mend`."""
        if self._server is None or self._thread is None:
            return
        self.over.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()
        self._server = None

    def mend(self) -> None:
        """Accept connections again."""
        self.over.clear()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="fault-proxy"
        )
        self._thread.start()

    @contextlib.contextmanager
    def network_cut(self) -> Iterator[None]:
        """The network is cut while the block runs; counted as `cut`."""
        with self._lock:
            self.log.append(Injected("cut", "", ""))
        self.cut()
        yield
        self.mend()

    def hit(self, method: str, key: str) -> Order | None:
        """The order that befalls this request, if one does."""
        with self._lock:
            for order in self._orders:
                if order.matches(method, key) and order.take(self._random):
                    order.done += 1
                    self.log.append(Injected(order.fault, method, key))
                    return order
        return None

    def spare(self, order: Order, method: str, key: str) -> None:
        """Take the note of a hit back: there was nothing to spoil."""
        with self._lock:
            order.done -= 1
            self.log.remove(Injected(order.fault, method, key))

    def spoil(self, fault: str, body: bytes) -> bytes:
        """The body as the fault leaves it."""
        if fault != "flipped":
            return body[: len(body) // 2]
        with self._lock:
            bit = self._random.randrange(8 * len(body))
        turned = bytearray(body)
        turned[bit // 8] ^= 1 << bit % 8
        return bytes(turned)

    def ask(
        self, method: str, target: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """The store's own answer. Raises OSError or HTTPException where there is none."""
        link = http.client.HTTPConnection(*self._upstream, timeout=60)
        with contextlib.closing(link):
            link.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                link.putheader(name, value)
            link.endheaders(body)
            answer = link.getresponse()
            return answer, answer.read()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    allow_reuse_port = True
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self._links: set[socket.socket] = set()
        self._links_lock = threading.Lock()
        super().__init__(("127.0.0.1", proxy.port), _Handler)

    def hang_up(self) -> None:
        with self._links_lock:
            for link in self._links:
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: object, client_address: object) -> None:
        with self._links_lock:
            self._links.add(request)  # type: ignore[arg-type]
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: object) -> None:
        with self._links_lock:
            self._links.discard(request)
        super().shutdown_request(request)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, or is sent away, is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _relay(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = unquote(urlsplit(self.path).path).lstrip("/")
        order = proxy.hit(self.command, key)
        fault = order.fault if order else ""
        if fault in _ANSWERS:
            return self._refuse(int(fault), _ANSWERS[fault])
        if fault == "reset":
            return self._reset()
        if order and fault == "slow" and proxy.over.wait(order.seconds):
            return self._reset()
        left_out = _OF_CONNECTIONS | (_CONDITIONS if fault == "deaf" else frozenset())
        headers = [(n, v) for n, v in self.headers.items() if n.lower() not in left_out]
        try:
            answer, data = proxy.ask(self.command, self.path, headers, body)
        except (OSError, http.client.HTTPException):
            return self._reset()
        if fault == "lost":
            return self._reset()
        if order and fault == "stalled" and proxy.over.wait(order.seconds):
            return self._reset()
        if order and fault in _OF_BODIES and (answer.status >= 300 or not data):
            proxy.spare(order, self.command, key)
            fault = ""
        return self._answer(answer, data, fault)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _relay  # noqa: N815 - names of http.server

    def _answer(self, answer: http.client.HTTPResponse, data: bytes, fault: str) -> None:
        sent = self.server.proxy.spoil(fault, data) if fault in _OF_BODIES else data
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {*_OF_CONNECTIONS, "content-length"}:
                self.send_header(name, value)
        length = len(data) if fault == "truncated" else len(sent)
        if self.command == "HEAD":
            # Of the body that a GET would have.
            length = int(answer.getheader("Content-Length") or 0)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = self.close_connection or fault == "truncated"

    def _refuse(self, status: int, code: str) -> None:
        data = f"<Error><Code>{code}</Code><Message>as ordered</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _reset(self) -> None:
        """End the connection as a dead machine's does: RST, and nothing that was under way."""
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        os.close(self.connection.detach())

    def log_message(self, *_: object) -> None:
        """`FaultProxy.log` has what matters."""
