"""Which URLs may be fetched: whoever writes a manifest must not reach into our network.

A worker stands inside a network where addresses answer that the manifest's author
cannot reach: cloud metadata, databases, admin pages. So a URL is resolved once, every
address it has is checked, and the connection goes to a checked address, not to the
name again (whose answer may have changed). Each redirect is a new URL.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urljoin, urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from storage.addresses import is_never, is_public
from storage.errors import Refused, RowError
from storage.presigned import masked

Resolve = Callable[[str, int], Sequence[str]]

#: Ports of the web: another one is more likely a service that trusts its network.
_PORTS = frozenset({443, 8443})
#: Characters of a URL; signed ones have up to 4,000, and servers refuse longer ones than this.
_MAX_CHARACTERS = 16_000
#: Headers that say how a request is sent; what they say is not the operator's to choose.
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "range",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)
Headers = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL: connect to one of `addresses`, and ask `host` for `path`."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]

    @property
    def origin(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == default else f"{host}:{self.port}"


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name by the system's resolver. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class UrlRules:
    """Checks URLs; what it is given comes from settings, never from a manifest.

    `allow_private` lets in http, any port, and private addresses. `hosts` are all that may
    be fetched from, redirects included: `media.example`, or `*.media.example` for every name
    below it; None for any. `headers` go with requests to a host over https, by `host` or
    `host:port`. Raises Refused for headers that cannot be sent.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        hosts: Sequence[str] | None = None,
        headers: Headers = MappingProxyType({}),
        resolve: Resolve = resolve,
    ) -> None:
        self.allow_private = allow_private
        self._hosts = None if hosts is None else [_plain(host) for host in hosts]
        self._headers = {_plain(host): _sendable(host, pairs) for host, pairs in headers.items()}
        self._resolve = resolve

    def headers(self, target: Target) -> Mapping[str, str]:
        """What to send along to this target, if a manifest names it: never after a redirect."""
        if target.scheme != "https":
            return {}
        return self._headers.get(_plain(target.origin), {})

    def check(self, url: str) -> Target:
        """Where to fetch this URL from. Raises RowError: forbidden, not_found or unavailable."""
        shown = redact(url)
        if len(url) > _MAX_CHARACTERS:
            raise RowError(
                "forbidden",
                f"{shown[:80]}…: a URL of {len(url):,} characters; no more than "
                f"{_MAX_CHARACTERS:,} are sent",
            )
        try:
            parts = parse_url(url)
        except LocationParseError:
            # Not from it: it repeats what it takes for a host, and that may be a password.
            raise RowError("not_found", f"{shown}: not a URL; write https://host/path") from None
        scheme, host = parts.scheme, (parts.host or "").strip("[]")
        if scheme != "https" and not (scheme == "http" and self.allow_private):
            raise RowError(
                "forbidden",
                f"{shown}: only https:// is fetched; copy the file to a store, or set "
                "MEDIAMILL_ALLOW_PRIVATE_URLS=true for http:// within your own network",
            )
        if not host:
            raise RowError("not_found", f"{shown}: names no host; write https://host/path")
        if parts.auth:
            raise RowError(
                "forbidden", f"{shown}: carries a user name or password; use a signed URL instead"
            )
        if self._hosts is not None and not any(_matches(host, known) for known in self._hosts):
            raise RowError(
                "forbidden", f"{shown}: {host} is not one of the hosts that may be fetched from"
            )
        port = {"http": 80, "https": 443}[scheme] if parts.port is None else parts.port
        if port not in _PORTS and not self.allow_private:
            raise RowError("forbidden", f"{shown}: port {port} is not one of the web's (443, 8443)")
        try:
            addresses = tuple(self._resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise RowError(
                "unavailable", f"{shown}: the name {host} has no address ({error})"
            ) from error
        for address in addresses:
            self._check_address(address, shown)
        return Target(url, scheme, host, port, parts.request_uri, addresses)

    def follow(self, target: Target, location: str) -> Target:
        """Where a redirect leads. Raises RowError."""
        try:
            url = urljoin(target.url, location)
        except ValueError as error:
            raise RowError(
                "unavailable", f"{redact(target.url)}: redirects to what is no URL"
            ) from error
        found = self.check(url)
        if target.scheme == "https" and found.scheme == "http":
            raise RowError(
                "forbidden", f"{redact(target.url)}: redirects from https to http ({redact(url)})"
            )
        return found

    def _check_address(self, address: str, shown: str) -> None:
        if is_never(address):
            raise RowError("forbidden", f"{shown}: leads to {address}, which serves no media")
        if not self.allow_private and not is_public(address):
            raise RowError(
                "forbidden",
                f"{shown}: leads to {address}, a private address; set "
                "MEDIAMILL_ALLOW_PRIVATE_URLS=true if manifests may reach into this network",
            )


def _plain(host: str) -> str:
    """A host as it is compared: a name's last dot and its case say nothing."""
    name, colon, port = host.strip().lower().partition(":")
    return f"{name.rstrip('.')}{colon}{port}"


def _matches(host: str, known: str) -> bool:
    name = _plain(host)
    return name.endswith(known[1:]) if known.startswith("*.") else name == known


def _sendable(host: str, pairs: Mapping[str, str]) -> dict[str, str]:
    for name, value in pairs.items():
        # The value is a secret: it is not shown.
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or name.lower() in _OURS:
            raise Refused(f"headers for {host}: {name!r} is none that may be set")
        if not re.fullmatch(r"[\t\x20-\x7e]*", value):
            raise Refused(f"headers for {host}: the value of {name} is not plain ASCII of one line")
    return dict(pairs)


def redact(url: str) -> str:
    """The URL as it may be written into records and logs: no password, query or signature."""
    if url.startswith("data:"):
        return f"{url[:40].partition(',')[0]},… ({len(url)} characters)"
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url[:8]}…"
    if parts.scheme not in ("http", "https"):
        return masked(url)
    # Masked all the same: a password may hold a slash, and a path's parameters a signature.
    shown = masked(f"{parts.scheme}://{parts.netloc}{parts.path}")
    return f"{shown}{'?…' if parts.query else ''}"
