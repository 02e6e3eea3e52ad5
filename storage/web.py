"""Downloads over https: to a checked address, with caps, time limits and patience."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec

import urllib3
from urllib3 import exceptions as http

from storage.deadline import Pool, TlsPool, until
from storage.errors import ErrorKind, RowError
from storage.presigned import UrlExpired, has_ended
from storage.spool import Sink
from storage.urls import Target, UrlRules, redact

P = ParamSpec("P")

_CHUNK = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
#: Addresses of one name that are tried before it counts as away.
_MAX_ADDRESSES = 3
#: A server that asks for a longer pause is tried again after this many seconds.
_MAX_PAUSE_S = 30.0
_STATUS: Mapping[int, tuple[ErrorKind, str]] = {
    401: ("forbidden", "it wants a login; use a signed URL"),
    403: ("forbidden", "it refuses access; a signed URL may have expired"),
    404: ("not_found", "it is not there"),
    407: ("forbidden", "a proxy wants a login"),
    410: ("not_found", "it is gone"),
    451: ("forbidden", "it is withheld for legal reasons"),
}
#: Ways of packing; other names (`aws-chunked`, `utf-8`) are left behind by clients that erred.
_PACKED = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"})
#: Bytes of an error's page that are looked at.
_SAID_BYTES = 4096
#: A number in a header: no more digits than a size has, and none of other scripts.
_NUMBER = re.compile(r"[0-9]{1,18}")
_HEADERS = {"User-Agent": "mediamill", "Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Patience:
    """`tries` in all, pauses of about `pause_s` times 1, 2, 4, … between them, and at most
    `connect_s` to connect, `silent_s` without a byte, and `total_s` for a medium."""

    tries: int = 4
    pause_s: float = 0.5
    connect_s: float = 10.0
    silent_s: float = 30.0
    total_s: float = 900.0


class _TryAgain(Exception):
    """Raised when another try may do; `outcome` is the row's error if it does not."""

    def __init__(self, outcome: RowError, pause_s: float | None = None) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome
        self.pause_s = pause_s


class Web:
    """Fetches URLs that `rules` lets through. Thread-safe.

    Proxies of the environment are not used: behind one, nobody could check addresses.
    """

    def __init__(self, rules: UrlRules, patience: Patience) -> None:
        self._rules = rules
        self._patience = patience
        self._closed = threading.Event()
        self._pools = urllib3.PoolManager(
            num_pools=64,
            maxsize=32,
            retries=False,
        )
        self._pools.pool_classes_by_scheme = {"http": Pool, "https": TlsPool}

    def close(self) -> None:
        """Close connections and end pauses between tries."""
        self._closed.set()
        self._pools.clear()

    def fetch(self, url: str, sink: Sink) -> None:
        """Put the content of the URL into `sink`. Raises RowError."""
        deadline = time.monotonic() + self._patience.total_s
        for attempt in range(self._patience.tries):
            try:
                with until(deadline):
                    self._once(url, sink, deadline)
                return
            except _TryAgain as again:
                pause = again.pause_s
                if pause is None:
                    pause = self._patience.pause_s * 2**attempt * random.uniform(0.5, 1)  # noqa: S311
                last = attempt == self._patience.tries - 1
                if last or time.monotonic() + pause > deadline or self._closed.wait(pause):
                    raise again.outcome from again.__cause__
                sink.restart()

    def _once(self, url: str, sink: Sink, deadline: float) -> None:
        target = self._found(self._rules.check, url)
        headers = self._rules.headers(target)
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._open(target, headers, deadline)
            headers = {}  # they were for the host that the manifest names, and for no other
            try:
                location = answer.headers.get("location")
                if answer.status in _REDIRECTS and location:
                    target = self._found(self._rules.follow, target, location)
                    continue
                self._judge(answer, target)
                self._receive(answer, target, sink, deadline)
                answer.release_conn()
                return
            finally:
                answer.close()
        raise RowError("unavailable", f"{redact(url)}: redirects more than {_MAX_REDIRECTS} times")

    def _found(self, find: Callable[P, Target], *args: P.args, **kwargs: P.kwargs) -> Target:
        """Resolvers fail for a moment at times: that is worth another try."""
        try:
            return find(*args, **kwargs)
        except RowError as error:
            if error.kind == "unavailable":
                raise _TryAgain(error) from error
            raise

    def _open(
        self, target: Target, headers: Mapping[str, str], deadline: float
    ) -> urllib3.BaseHTTPResponse:
        failure: Exception | None = None
        for address in target.addresses[:_MAX_ADDRESSES]:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._too_slow(target, 0)
            # The certificate must be the name's, though the connection goes to the address.
            named = {"server_hostname": target.host, "assert_hostname": target.host}
            pool = self._pools.connection_from_host(
                address,
                target.port,
                target.scheme,
                pool_kwargs=named if target.scheme == "https" else {},
            )
            try:
                return pool.urlopen(
                    "GET",
                    target.path,
                    headers={**_HEADERS, **headers, "Host": target.origin},
                    timeout=urllib3.Timeout(
                        connect=min(self._patience.connect_s, left), read=self._patience.silent_s
                    ),
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    decode_content=False,
                )
            except (http.NewConnectionError, http.ConnectTimeoutError) as error:
                failure = error
            except http.HTTPError as error:
                raise _broken(target, error) from error
        if failure is None:
            raise RowError("unavailable", f"{redact(target.url)}: its name has no address")
        raise _broken(target, failure) from failure

    def _judge(self, answer: urllib3.BaseHTTPResponse, target: Target) -> None:
        shown = redact(target.url)
        status = answer.status
        if status in (200, 204):
            packed = answer.headers.get("content-encoding", "").lower()
            if not _PACKED.isdisjoint(way.strip() for way in packed.split(",")):
                raise RowError(
                    "wrong_kind",
                    f"{shown}: comes packed ({packed[:40]}), though it was asked for as it is: "
                    "a small answer may unpack to any size; store it unpacked",
                )
            return
        if status in (408, 425, 429) or status >= 500:
            after = answer.headers.get("retry-after", "")
            outcome = RowError("unavailable", f"{shown}: the server answers {status}")
            pause = min(float(after), _MAX_PAUSE_S) if _NUMBER.fullmatch(after) else None
            raise _TryAgain(outcome, pause)
        if status in (400, 401, 403) and has_ended(target.url, answer.headers, _began(answer)):
            raise UrlExpired(
                "forbidden",
                f"{shown}: its signature has ended (status {status}); sign URLs for longer than "
                "the job takes",
            )
        kind, why = _STATUS.get(status, ("forbidden", "the server refuses the request"))
        raise RowError(kind, f"{shown}: {why} (status {status})")

    def _receive(
        self, answer: urllib3.BaseHTTPResponse, target: Target, sink: Sink, deadline: float
    ) -> None:
        length = answer.headers.get("content-length", "")
        if _NUMBER.fullmatch(length):
            sink.expect(int(length))
        try:
            # read1 gives what has come, so that what is too large is cut at once.
            while chunk := answer.read1(_CHUNK):
                sink.write(chunk)
        except http.TimeoutError as error:
            if time.monotonic() > deadline:
                raise self._too_slow(target, sink.size) from error
            raise _broken(target, error) from error
        except http.HTTPError as error:
            raise _broken(target, error) from error

    def _too_slow(self, target: Target, size: int) -> RowError:
        return RowError(
            "timeout",
            f"{redact(target.url)}: only {size:,} bytes came in {self._patience.total_s:.0f} s",
        )


def _began(answer: urllib3.BaseHTTPResponse) -> bytes:
    """The first bytes of an error's page, where servers say why."""
    try:
        return answer.read1(_SAID_BYTES)
    except http.HTTPError:
        return b""


def _broken(target: Target, error: Exception) -> RowError | _TryAgain:
    shown = redact(target.url)
    if isinstance(error, http.TimeoutError):
        return _TryAgain(RowError("timeout", f"{shown}: the server did not answer in time"))
    if isinstance(error, http.SSLError):
        return RowError("unavailable", f"{shown}: no safe connection to {target.host} ({error})")
    # The text of urllib3's errors may hold the path with its signature: the class is enough.
    return _TryAgain(
        RowError("unavailable", f"{shown}: the connection failed ({type(error).__name__})")
    )
