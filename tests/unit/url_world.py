"""An internet of one machine: names and addresses as a test says, all led to one TLS server."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3.util.connection import create_connection

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 20
#: Seconds between two bytes of a server that drips.
DRIP_S = 0.03
#: What a path leads to: bytes to send, or what sends them.
Page = bytes | Callable[["Wire"], None]


def answer(*lines: str, status: str = "200 OK", body: bytes = PNG, length: bool = True) -> bytes:
    """A whole answer with these headers."""
    sized = [f"Content-Length: {len(body)}"] if length else []
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, *sized, "", ""])
    return head.encode("latin-1") + body


def redirect(location: str) -> bytes:
    """An answer that sends elsewhere."""
    return answer(f"Location: {location}", status="302 Found", body=b"")


class Wire:
    """The server's end of a connection."""

    def __init__(self, sock: ssl.SSLSocket, closing: threading.Event) -> None:
        self._sock, self._closing = sock, closing

    def send(self, data: bytes) -> None:
        """Send at once."""
        self._sock.sendall(data)

    def wait(self, seconds: float) -> None:
        """Do nothing for so long, or until the test is over."""
        if self._closing.wait(seconds):
            raise OSError("the test is over")

    def drip(self, *parts: bytes) -> None:
        """Send part after part, slowly."""
        for part in parts:
            self.wait(DRIP_S)
            self.send(part)


def dripped(before: bytes, slow: bytes, after: bytes = b"") -> Page:
    """A page whose middle comes byte by byte."""

    def page(wire: Wire) -> None:
        wire.send(before)
        wire.drip(*(slow[i : i + 1] for i in range(len(slow))))
        wire.send(after)

    return page


class World:
    """`names` give a name's addresses, one answer for each look-up, the last one staying;
    what is no name is a number in any spelling that the system knows. `pages` are the
    server's, by path. `dialled` are the addresses that were connected to, `requests` the
    heads of requests as they came, `served` the paths whose pages were sent to their end."""

    def __init__(self, certificate: Path) -> None:
        self.names: dict[str, list[Sequence[str]]] = {}
        self.pages: Mapping[str, Page] = {}
        self.dialled: list[str] = []
        self.requests: list[str] = []
        self.served: list[str] = []
        self.handshake_s = 0.0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """See storage.urls.Resolve."""
        if host in self.names:
            answers = self.names[host]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [str(entry[4][0]) for entry in found]

    def connect(self, address: tuple[str, int], *rest: object, **more: object) -> socket.socket:
        """In place of urllib3's: every address is this server's."""
        self.dialled.append(address[0])
        return create_connection(self._listener.getsockname(), *rest, **more)  # type: ignore[arg-type]

    def close(self) -> None:
        """End the server and all that it is at."""
        self._closing.set()
        # Wakes the thread that accepts.
        socket.create_connection(self._listener.getsockname()).close()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            sock, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        # Clients that hang up, or will have none of us, are what most tests are about.
        with contextlib.suppress(OSError), sock:
            sock.settimeout(10)
            if self._closing.wait(self.handshake_s):
                return
            with self._context.wrap_socket(sock, server_side=True) as tls:
                data = b""
                while b"\r\n\r\n" not in data:
                    if not (part := tls.recv(65536)):
                        return
                    data += part
                self._answer(Wire(tls, self._closing), data.decode("latin-1"))

    def _answer(self, wire: Wire, head: str) -> None:
        self.requests.append(head)
        path = head.split(" ", 2)[1].partition("?")[0]
        page = self.pages.get(path, answer(status="404 Not Found", body=b""))
        if isinstance(page, bytes):
            wire.send(page)
        else:
            page(wire)
        self.served.append(path)


def make_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """An authority's certificate, and one for these names that it signed, with its key."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    now = dt.datetime.now(dt.UTC)

    def signed(name: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
        )
        if not ca:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(n) for n in names])
            builder = builder.add_extension(alternatives, False)
        made = builder.sign(authority_key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    authority, site = folder / "authority.pem", folder / "site.pem"
    authority.write_bytes(signed(issuer, authority_key.public_key(), ca=True))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    site.write_bytes(secret + signed(subject, key.public_key(), ca=False))
    return authority, site


@contextlib.contextmanager
def world(certificate: Path) -> Iterator[World]:
    """A world, closed at the end."""
    with contextlib.closing(World(certificate)) as made:
        yield made
