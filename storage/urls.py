"""Which URLs may be fetched: whoever writes a manifest must not reach into our network.

A worker stands inside a network where addresses answer that the manifest's author
cannot reach: cloud metadata, databases, admin pages. So a URL is resolved once, every
address it has is checked, and the connection goes to a checked address, not to the
name again (whose answer may have changed). Each redirect is a new URL.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from storage.errors import RowError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

#: Ports of the web: another one is more likely a service that trusts its network.
_PORTS = frozenset({443, 8443})
#: Services of cloud providers behind every machine of theirs; never media, whatever is allowed.
_METADATA = tuple(
    ipaddress.ip_network(block)
    for block in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.0/24",
    )
)
#: IPv6 blocks that carry an IPv4 address: NAT64, at bit 0 from the right, and 6to4, at bit 80.
_EMBEDDED = (
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)


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
    """Checks URLs. `allow_private` lets in http, any port, and private addresses."""

    def __init__(self, *, allow_private: bool = False, resolve: Resolve = resolve) -> None:
        self.allow_private = allow_private
        self._resolve = resolve

    def check(self, url: str) -> Target:
        """Where to fetch this URL from. Raises RowError: forbidden, not_found or unavailable."""
        shown = redact(url)
        try:
            parts = parse_url(url)
        except LocationParseError as error:
            raise RowError("not_found", f"{shown}: not a URL; write https://host/path") from error
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
        port = parts.port or {"http": 80, "https": 443}[scheme]
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
        url = urljoin(target.url, location)
        if target.scheme == "https" and urlsplit(url).scheme == "http":
            raise RowError(
                "forbidden", f"{redact(target.url)}: redirects from https to http ({redact(url)})"
            )
        return self.check(url)

    def _check_address(self, address: str, shown: str) -> None:
        for ip in _meant(ipaddress.ip_address(address.partition("%")[0])):
            if ip.is_multicast or ip.is_unspecified or any(ip in block for block in _METADATA):
                raise RowError("forbidden", f"{shown}: leads to {address}, which serves no media")
            if not self.allow_private and not ip.is_global:
                raise RowError(
                    "forbidden",
                    f"{shown}: leads to {address}, a private address; set "
                    "MEDIAMILL_ALLOW_PRIVATE_URLS=true if manifests may reach into this network",
                )


def _meant(ip: Address) -> tuple[Address, ...]:
    """The address, and the IPv4 addresses that it stands for."""
    if isinstance(ip, ipaddress.IPv4Address):
        return (ip,)
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip.teredo is not None:
        return (ip, *ip.teredo)
    for block, shift in _EMBEDDED:
        if ip in block:
            return (ip, ipaddress.IPv4Address(int(ip) >> shift & 0xFFFFFFFF))
    return (ip,)


def redact(url: str) -> str:
    """The URL as it may be written into records and logs: no password, query or signature."""
    if url.startswith("data:"):
        return f"{url[:40].partition(',')[0]},… ({len(url)} characters)"
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url[:8]}…"
    if parts.scheme not in ("http", "https"):
        return url
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"
