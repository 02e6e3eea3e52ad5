"""Media from data: URIs, local files and the web: whole, hashed, or refused for a reason."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import errno
import hashlib
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3.util.connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage.errors import ErrorKind, RowError
from storage.media import Media, MediaSource
from storage.spool import SMALL_BYTES, NoRoom
from storage.urls import UrlRules
from storage.web import Patience

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
BIG_WAV = b"RIFF\0\0\0\0WAVE" + bytes(range(256)) * (SMALL_BYTES // 256)
QUICK = Patience(tries=3, pause_s=0.01, connect_s=2, silent_s=0.3, total_s=5)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[MediaSource]:
    """One that may read `tmp_path/media` and private addresses."""
    (tmp_path / "media").mkdir()
    with contextlib.closing(
        MediaSource(
            local_roots=[tmp_path / "media"],
            spool_dir=tmp_path / "spool",
            allow_private_urls=True,
            patience=QUICK,
        )
    ) as opened:
        yield opened


def spooled(tmp_path: Path) -> list[Path]:
    return [p for p in (tmp_path / "spool").rglob("*") if p.is_file() and p.name != ".alive"]


def refusal(
    source: MediaSource, uri: str, *, max_bytes: int = 1 << 20, base: str | None = None
) -> RowError:
    with pytest.raises(RowError) as caught:
        source.fetch(uri, max_bytes=max_bytes, base=base)
    return caught.value


def is_whole(media: Media, content: bytes) -> bool:
    held = media.source if isinstance(media.source, bytes) else media.source.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return (held, media.size, media.sha256) == (content, len(content), digest)


# data: URIs


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
        "data:image/png;base64," + base64.b64encode(PNG).decode().rstrip("="),
        "data:;base64,\n " + base64.b64encode(PNG).decode().replace("+", "%2B"),
        "data:text/html;charset=x;base64," + base64.b64encode(PNG).decode(),
        "DATA:," + "".join(f"%{byte:02x}" for byte in PNG),
    ],
)
def test_data_uris(source: MediaSource, uri: str) -> None:
    media = source.fetch(uri, max_bytes=len(PNG))
    assert (media.kind, media.mime, media.spooled) == ("image", "image/png", False)
    assert is_whole(media, PNG)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("data:image/png;base64,????", "corrupt"),
        ("data:image/png;base64,A", "corrupt"),
        ("data:image/png;base64", "corrupt"),
        ("data:,", "empty"),
        ("data:,hello", "wrong_kind"),
        ("data:;base64," + "A" * 4_000_000, "too_large"),
        ("data:," + "A" * 4_000_000, "too_large"),
    ],
)
def test_data_uris_that_are_refused(source: MediaSource, uri: str, kind: str) -> None:
    error = refusal(source, uri)
    assert error.kind == kind
    assert len(error.message) < 300


# Local files


def test_local_files_by_every_spelling(source: MediaSource, tmp_path: Path) -> None:
    folder = tmp_path / "media/a b"
    folder.mkdir()
    (folder / "x%20.png").write_bytes(PNG)
    for uri, base in [
        (f"{folder}/x%20.png", None),
        (f"file://{tmp_path}/media/a%20b/x%2520.png", None),
        ("x%20.png", str(folder)),
        ("a b/x%20.png", f"{tmp_path}/media"),
        ("../media/a b/x%20.png", f"file://{tmp_path}/media"),
    ]:
        media = source.fetch(uri, max_bytes=100, base=base)
        assert is_whole(media, PNG)
        assert media.uri == uri
        assert isinstance(media.source, bytes)


def test_a_large_local_file_is_used_where_it_is(source: MediaSource, tmp_path: Path) -> None:
    path = tmp_path / "media/big.wav"
    path.write_bytes(BIG_WAV)
    media = source.fetch(str(path), max_bytes=1 << 30)
    assert (media.source, media.kind, media.spooled) == (path, "audio", False)
    assert is_whole(media, BIG_WAV)
    media.close()
    assert path.exists()
    assert spooled(tmp_path) == []


def test_files_outside_the_roots_are_refused(source: MediaSource, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "media-not").mkdir()
    (tmp_path / "media-not/x.png").write_bytes(PNG)
    (tmp_path / "media/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "media/up").symlink_to(tmp_path)
    (tmp_path / "media/loop").symlink_to(tmp_path / "media/loop")
    for uri in (
        f"{tmp_path}/secret.png",
        f"{tmp_path}/media-not/x.png",
        f"{tmp_path}/media/../secret.png",
        f"{tmp_path}/media/link.png",
        f"{tmp_path}/media/up/secret.png",
        "../secret.png",
        f"file://{tmp_path}/secret.png",
        "/no/such/file.png",
    ):
        error = refusal(source, uri, base=f"{tmp_path}/media")
        assert error.kind == "forbidden"
        assert "MEDIAMILL_LOCAL_ROOTS" in error.message
    assert refusal(source, f"{tmp_path}/media/loop").kind == "not_found"


def test_links_within_the_roots_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x.png").write_bytes(PNG)
    (tmp_path / "named").symlink_to(tmp_path / "real")
    with contextlib.closing(MediaSource(local_roots=[tmp_path / "named"])) as source:
        assert is_whole(source.fetch(f"{tmp_path}/named/x.png", max_bytes=100), PNG)


def test_who_may_read_nothing_and_who_may_read_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(PNG)
    with contextlib.closing(MediaSource(local_roots=[])) as source:
        error = refusal(source, f"{tmp_path}/x.png")
        assert error.kind == "forbidden"
        assert "MEDIAMILL_LOCAL_ROOTS" in error.message
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(MediaSource(local_roots=None)) as source:
        assert is_whole(source.fetch("x.png", max_bytes=100), PNG)


def test_what_is_no_readable_file(
    source: MediaSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = tmp_path / "media"
    os.mkfifo(media / "pipe")
    (media / "empty.png").write_bytes(b"")
    (media / "page.png").write_bytes(b"<!doctype html>")
    (media / "long.png").write_bytes(PNG)
    kinds: list[tuple[str, ErrorKind]] = [
        ("none.png", "not_found"),
        ("none\0.png", "not_found"),
        ("long.png/x", "not_found"),
        ("x" * 300, "not_found"),
        ("", "wrong_kind"),
        ("pipe", "wrong_kind"),
        ("page.png", "wrong_kind"),
        ("empty.png", "empty"),
    ]
    for name, kind in kinds:
        assert refusal(source, name, base=str(media)).kind == kind
    error = refusal(source, "long.png", base=str(media), max_bytes=len(PNG) - 1)
    assert error.kind == "too_large"
    assert "max_media_bytes" in error.message
    assert "HTML" in refusal(source, "page.png", base=str(media)).message

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    assert refusal(source, "long.png", base=str(media)).kind == "forbidden"


@pytest.mark.parametrize("uri", ["ftp://h/x", "ssh://b/k", "file://elsewhere/x"])
def test_schemes_that_are_not_known(source: MediaSource, uri: str) -> None:
    assert refusal(source, uri).kind in ("forbidden", "not_found")


# The web

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site(ThreadingHTTPServer):
    """Answers from `pages`; `requests` are the paths that were asked for, and their headers."""

    daemon_threads = True

    def __init__(self) -> None:
        self.pages: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append((path, dict(self.headers)))
        answers = self.server.pages.get(path, [status(404)])
        # The last answer stays.
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_: object) -> None:
        """Silence."""


def page(content: bytes, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def status(code: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def endless(handler: BaseHTTPRequestHandler) -> None:
    """No length, and bytes for as long as somebody listens."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(BIG_WAV[: 1 << 20])


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as served:
        yield served


def test_the_web(source: MediaSource, site: Site, tmp_path: Path) -> None:
    site.pages = {"/a b.png": [page(PNG)], "/big": [page(BIG_WAV)]}
    site.pages["/a%20b.png"] = site.pages["/a b.png"]
    media = source.fetch(f"{site.url}/a b.png?x=1", max_bytes=len(PNG))
    assert (media.kind, media.source) == ("image", PNG)
    assert site.requests[0][1]["Host"] == site.url.removeprefix("http://")
    assert not {"Authorization", "Cookie"} & site.requests[0][1].keys()

    big = source.fetch(f"{site.url}/big", max_bytes=len(BIG_WAV))
    assert big.spooled
    assert is_whole(big, BIG_WAV)
    assert spooled(tmp_path) == [big.source]
    big.close()
    big.close()
    assert spooled(tmp_path) == []


def test_many_at_once(source: MediaSource, site: Site) -> None:
    contents = {f"/{n}": PNG + b"%d" % n * 1000 for n in range(40)}
    site.pages = {path: [page(content)] for path, content in contents.items()}
    with ThreadPoolExecutor(8) as pool:
        fetched = pool.map(lambda path: source.fetch(site.url + path, max_bytes=1 << 20), contents)
        assert all(is_whole(m, c) for m, c in zip(fetched, contents.values(), strict=True))


@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        ([status(503), status(500), page(PNG)], 3),
        ([status(429, Retry_After="0"), page(PNG)], 2),
        ([page(PNG[:5], Content_Length=str(len(PNG)), Connection="close"), page(PNG)], 2),
    ],
)
def test_failures_that_pass_are_waited_out(
    source: MediaSource, site: Site, answers: list[Answer], tries: int
) -> None:
    site.pages["/x"] = list(answers)
    assert is_whole(source.fetch(f"{site.url}/x", max_bytes=100), PNG)
    assert len(site.requests) == tries


@pytest.mark.parametrize(
    ("answer", "kind", "tries"),
    [
        (status(404), "not_found", 1),
        (status(410), "not_found", 1),
        (status(401), "forbidden", 1),
        (status(403), "forbidden", 1),
        (status(400), "forbidden", 1),
        (status(304), "forbidden", 1),
        (status(204), "empty", 1),
        (page(b""), "empty", 1),
        (page(b"<html>please log in"), "wrong_kind", 1),
        (status(503), "unavailable", 3),
        (page(PNG, Content_Length="9999", Connection="close"), "unavailable", 3),
        (page(b"", Content_Length="99999999999"), "too_large", 1),
        (endless, "too_large", 1),
        (status(302, Location="/x"), "unavailable", 1),
        (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "unavailable", 3),
    ],
)
def test_failures_of_the_web(
    source: MediaSource, site: Site, tmp_path: Path, answer: Answer, kind: str, tries: int
) -> None:
    site.pages["/x"] = [answer]
    error = refusal(source, f"{site.url}/x?X-Amz-Signature=secret", max_bytes=20 << 20)
    assert error.kind == kind
    assert "secret" not in error.message
    # A redirect is followed five times before it is a loop.
    assert len(site.requests) == (6 if "redirects" in error.message else tries)
    assert spooled(tmp_path) == []


def test_a_server_that_says_less_than_it_sends_is_cut_at_what_it_said(
    source: MediaSource, site: Site
) -> None:
    site.pages["/x"] = [page(PNG + bytes(5000), Content_Length=str(len(PNG)), Connection="close")]
    assert is_whole(source.fetch(f"{site.url}/x", max_bytes=100), PNG)


def test_a_silent_server_times_out(source: MediaSource, site: Site) -> None:
    done = threading.Event()
    site.pages["/x"] = [lambda handler: done.wait(10) and None]
    try:
        assert refusal(source, f"{site.url}/x").kind == "timeout"
    finally:
        done.set()


def test_a_server_that_drips_times_out(tmp_path: Path, site: Site) -> None:
    done = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not done.wait(0.05):
                handler.wfile.write(b"x")

    site.pages["/x"] = [drip]
    patience = Patience(tries=3, pause_s=0.01, silent_s=1, total_s=0.4)
    try:
        with contextlib.closing(
            MediaSource(local_roots=[], allow_private_urls=True, patience=patience)
        ) as source:
            error = refusal(source, f"{site.url}/x")
    finally:
        done.set()
    assert error.kind == "timeout"
    assert len(site.requests) == 1


def test_redirects_are_followed_without_what_is_ours(source: MediaSource, site: Site) -> None:
    with serving(Site()) as other:
        other.pages["/there"] = [page(PNG)]
        site.pages["/a"] = [status(301, Location="b?x", Set_Cookie="a=b")]
        site.pages["/b"] = [status(307, Location=f"{other.url}/there")]
        assert is_whole(source.fetch(f"{site.url}/a", max_bytes=100), PNG)
        assert not {"Authorization", "Cookie", "Referer"} & other.requests[0][1].keys()


def test_a_redirect_to_the_clouds_metadata_is_refused_though_private_ones_are_not(
    source: MediaSource, site: Site
) -> None:
    site.pages["/x"] = [status(302, Location="http://169.254.169.254/latest/meta-data/")]
    error = refusal(source, f"{site.url}/x")
    assert error.kind == "forbidden"
    assert "169.254.169.254" in error.message


# The web as a worker sees it: https, public names and addresses


class Internet:
    """Names that resolve as `names` says, each answer used once, and public addresses that
    lead to a site on this machine. `dialled` are the addresses that were connected to, and
    `greeted` the names that were asked for when TLS began."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.names: dict[str, list[str]] = {}
        self.dialled: list[str] = []
        self.greeted: list[str | None] = []

    def resolve(self, host: str, port: int) -> list[str]:
        answers = self.names[host]
        return [answers.pop(0) if len(answers) > 1 else answers[0]]

    def connect(self, address: tuple[str, int], *rest: object, **more: object) -> object:
        self.dialled.append(address[0])
        return dial(("127.0.0.1", self.site.server_address[1]), *rest, **more)


dial = urllib3.util.connection.create_connection


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for media.example and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "media.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("media.example")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "site.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def internet(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Internet, MediaSource]]:
    site = Site()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    site.socket = context.wrap_socket(site.socket, server_side=True)
    net = Internet(site)
    context.sni_callback = lambda _socket, name, _context: net.greeted.append(name)
    monkeypatch.setattr(urllib3.util.connection, "create_connection", net.connect)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    rules = UrlRules(resolve=net.resolve)
    with (
        serving(site),
        contextlib.closing(MediaSource(local_roots=[], rules=rules, patience=QUICK)) as source,
    ):
        yield net, source


PUBLIC = "93.184.216.34"


def test_https_goes_to_the_checked_address_and_to_the_names_certificate(
    internet: tuple[Internet, MediaSource],
) -> None:
    net, source = internet
    net.names = {"media.example": [PUBLIC], "other.example": [PUBLIC]}
    net.site.pages["/x"] = [page(PNG)]
    assert is_whole(source.fetch("https://media.example/x", max_bytes=100), PNG)
    assert net.dialled == [PUBLIC]
    assert net.greeted == ["media.example"]
    assert net.site.requests[0][1]["Host"] == "media.example"
    error = refusal(source, "https://other.example/x")
    assert error.kind == "unavailable"
    assert "no safe connection" in error.message


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(
    internet: tuple[Internet, MediaSource],
) -> None:
    net, source = internet
    # What a second look-up would give is never seen.
    net.names = {"media.example": [PUBLIC, "127.0.0.1"]}
    net.site.pages["/x"] = [page(PNG)]
    assert is_whole(source.fetch("https://media.example/x", max_bytes=100), PNG)
    assert net.dialled == [PUBLIC]
    # The next fetch looks again, and is refused before anything is connected to.
    assert refusal(source, "https://media.example/x").kind == "forbidden"
    assert net.dialled == [PUBLIC]


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:127.0.0.1]/x",
        "https://inside.example/x",
        "http://media.example/x",
        "https://media.example:6379/",
        "https://u:p@media.example/x",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_into_our_network_is_refused(
    internet: tuple[Internet, MediaSource], location: str
) -> None:
    net, source = internet
    net.names = {
        "media.example": [PUBLIC],
        "inside.example": ["10.1.2.3"],
        **{ip: [ip] for ip in ("127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1")},
    }
    net.site.pages["/x"] = [status(302, Location=location)]
    assert refusal(source, "https://media.example/x").kind == "forbidden"
    assert net.dialled == [PUBLIC]
    assert len(net.site.requests) == 1


# What is left behind


def test_closing_removes_what_was_spooled(site: Site, tmp_path: Path) -> None:
    site.pages["/big"] = [page(BIG_WAV)]
    source = MediaSource(local_roots=[], spool_dir=tmp_path / "spool", allow_private_urls=True)
    source.fetch(f"{site.url}/big", max_bytes=1 << 30)
    assert len(spooled(tmp_path)) == 1
    # One that lives is left alone by the next; what a dead one left is removed.
    dead = tmp_path / "spool/mediamill-spool-dead"
    dead.mkdir()
    (dead / ".alive").write_bytes(b"")
    (dead / "big").write_bytes(b"x")
    MediaSource(local_roots=[], spool_dir=tmp_path / "spool").close()
    assert len(spooled(tmp_path)) == 1
    source.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_full_spool_disk_is_no_fault_of_the_medium(
    source: MediaSource, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    site.pages["/big"] = [page(BIG_WAV)]
    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    error = refusal(source, f"{site.url}/big", max_bytes=1 << 30)
    assert isinstance(error, NoRoom)
    assert error.retryable
    assert re.search("full.*TMPDIR", error.message)
