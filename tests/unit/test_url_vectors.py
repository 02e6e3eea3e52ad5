"""Every known way to misuse the fetching of URLs is refused, and would get through without its
guard."""

from __future__ import annotations

import contextlib
import http.client
import logging
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import urllib3.connection
import urllib3.util.connection
from urllib3.util import parse_url

import storage.deadline
import storage.media
import storage.web
from storage.deadline import until
from storage.errors import RowError
from storage.media import MediaSource
from storage.urls import Target, UrlRules
from storage.web import Patience
from tests.unit.url_answers import ANSWERS, BOMB
from tests.unit.url_places import PLACES
from tests.unit.url_vector import CANARY, PUBLIC, PUBLIC6, Vector
from tests.unit.url_world import PNG, World, answer, make_certificate, world

VECTORS = PLACES + ANSWERS
MAX_BYTES = 100_000
HEADERS = {"media.example": {"Authorization": CANARY}, "own.example": {"Authorization": CANARY}}
NAMES = (
    "media.example",
    "*.example",
    "a.media.example",
    "localhost",
    "media.example.evil.example",
)


class NoRules(UrlRules):
    """Whoever takes any URL for https, reads it leniently, and connects by name."""

    def check(self, url: str) -> Target:
        parts = parse_url(unicodedata.normalize("NFKC", url))
        host = (parts.host or "").strip("[]")
        self._resolve(host, 443)
        again = tuple(self._resolve(host, 443))
        return Target(url, "https", host, 443, parts.request_uri, again)

    def follow(self, target: Target, location: str) -> Target:
        return self.check(urljoin(target.url, location))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), *NAMES)


@pytest.fixture
def net(certificates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    with world(certificates[1]) as made:
        made.names = {"media.example": [[PUBLIC]]}
        monkeypatch.setattr(urllib3.util.connection, "create_connection", made.connect)
        yield made


def outcome(
    net: World,
    vector: Vector,
    spool: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    guarded: bool,
) -> list[str]:
    """What was wrong with how the vector ended; nothing if all was as it must be."""
    net.names |= {name: list(answers) for name, answers in vector.names.items()}
    net.pages = vector.pages or {"/x": answer()}
    net.handshake_s = vector.handshake_s
    slow = vector.guard == "deadline" and guarded
    listed = vector.hosts if guarded or vector.guard != "hosts" else None
    make = UrlRules if guarded or vector.guard not in ("rules", "nonsense") else NoRules
    patience = Patience(
        tries=vector.tries,
        pause_s=0.01,
        connect_s=20,
        silent_s=20,
        total_s=0.2 if slow else 20,
    )
    rules = make(hosts=listed, headers=HEADERS, resolve=net.resolve)
    max_bytes = MAX_BYTES if guarded or vector.guard != "size" else 1 << 20
    faults = []
    with (
        contextlib.closing(
            MediaSource(local_roots=[], spool_dir=spool, rules=rules, patience=patience)
        ) as source,
        caplog.at_level(logging.INFO),
    ):
        ended, message, retryable = "ok", "", None
        try:
            source.fetch(vector.url, max_bytes=max_bytes)
        except RowError as error:
            ended, message, retryable = error.kind, error.message, error.retryable
        except Exception as error:
            ended = f"{type(error).__name__}"
    if ended != vector.expect:
        faults.append(f"ended as {ended}: {message}")
    # Else it was waited for to its end, and only then found to be late.
    if slow and set(net.served) >= set(net.pages):
        faults.append("the page was waited for")
    if vector.retryable is not None and retryable != vector.retryable:
        faults.append(f"retryable is {retryable}")
    if CANARY in message + caplog.text:
        faults.append(f"the secret was told: {message} {caplog.text}")
    if any(CANARY in request for request in net.requests[1:]):
        faults.append("the secret was sent on")
    if not {PUBLIC, PUBLIC6}.issuperset(net.dialled):
        faults.append(f"connected to {net.dialled}")
    return faults


def disarm(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the vector's guard away; those of settings are left out in `outcome`."""
    # A certificate for every address there is has nobody; the guard is to fail alone.
    monkeypatch.setattr(urllib3.connection, "_match_hostname", lambda *_: None)
    if vector.guard == "deadline":
        monkeypatch.setattr(storage.web, "until", lambda deadline: until(math.inf))
    elif vector.guard == "head":
        monkeypatch.setattr(storage.deadline, "MAX_HEAD_BYTES", math.inf)
        monkeypatch.setattr(http.client, "_MAXHEADERS", 10**6)
        monkeypatch.setattr(http.client, "_MAXLINE", 10**7)
    elif vector.guard == "packed":
        monkeypatch.setattr(storage.web, "_PACKED", frozenset())
    elif vector.guard == "shown":
        for room in ("web", "urls", "media"):
            monkeypatch.setattr(f"storage.{room}.redact", lambda url: url)
        monkeypatch.setattr(storage.media, "told", lambda text: text)
    elif vector.guard == "ended":
        monkeypatch.setattr(storage.web, "has_ended", lambda *_: False)
    elif vector.guard == "headers":
        sent = {**storage.web._HEADERS, "Authorization": CANARY}
        monkeypatch.setattr(storage.web, "_HEADERS", sent)
    elif vector.guard == "nonsense":
        monkeypatch.setattr(storage.web, "_NUMBER", re.compile(".*"))
        monkeypatch.setattr(storage.web, "_broken", lambda target, error: error)


def named(vector: Vector) -> str:
    return f"{vector.group}: {vector.name}"


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_it_ends_as_it_must(
    net: World, vector: Vector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert outcome(net, vector, tmp_path, caplog, guarded=True) == []


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_it_would_end_otherwise_without_its_guard(
    net: World,
    vector: Vector,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disarm(vector, monkeypatch)
    faults = outcome(net, vector, tmp_path, caplog, guarded=False)
    # It must get through: a server that was not reached would prove nothing.
    assert any(not f.startswith(("ended as unavailable", "ended as timeout")) for f in faults)


def test_there_are_enough_of_each_group() -> None:
    groups = Counter(vector.group for vector in VECTORS)
    assert len(VECTORS) >= 80
    assert min(groups.values()) >= 6, groups
    assert len({named(vector) for vector in VECTORS}) == len(VECTORS)


def test_nothing_is_unpacked(net: World, tmp_path: Path) -> None:
    net.pages = {"/x": answer(body=BOMB)}
    rules = UrlRules(resolve=net.resolve)
    with (
        contextlib.closing(MediaSource(local_roots=[], spool_dir=tmp_path, rules=rules)) as source,
        pytest.raises(RowError, match="gzip"),
    ):
        source.fetch("https://media.example/x", max_bytes=len(BOMB))


def test_what_is_asked_of_a_host_goes_to_it_alone(net: World, tmp_path: Path) -> None:
    net.pages = {"/x": answer()}
    net.names["a.media.example"] = [[PUBLIC]]
    rules = UrlRules(resolve=net.resolve, headers=HEADERS)
    with contextlib.closing(MediaSource(local_roots=[], spool_dir=tmp_path, rules=rules)) as source:
        for host in ("media.example", "MEDIA.example", "a.media.example", "media.example:8443"):
            assert source.fetch(f"https://{host}/x", max_bytes=1000).source == PNG
    told = [f"Authorization: {CANARY}" in request for request in net.requests]
    assert told == [True, True, False, False]


def test_an_odd_header_is_not_told_of_with_the_whole_url(
    net: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net.pages = {"/x": answer("X: y", "no header at all")}
    rules = UrlRules(resolve=net.resolve)
    with (
        contextlib.closing(MediaSource(local_roots=[], spool_dir=tmp_path, rules=rules)) as source,
        caplog.at_level(logging.INFO),
    ):
        url = f"https://media.example/x?sig={CANARY}"
        assert source.fetch(url, max_bytes=1000).source == PNG
    assert CANARY not in caplog.text
