"""URLs that lead where they must not: by address, spelling, port, user, redirect, or in time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.unit.url_vector import CANARY, PUBLIC, PUBLIC6, Guard, Names, Vector
from tests.unit.url_world import Page, answer, redirect


def _addresses(group: str, *addresses: str) -> Iterable[Vector]:
    """By the number itself, and by a name that leads there."""
    for address in addresses:
        host = f"[{address}]" if ":" in address else address
        yield Vector(group, address, f"https://{host}/x", "forbidden", "rules")
        names: Names = {"inside.example": [[address]]}
        url = "https://inside.example/x"
        yield Vector(group, f"name to {address}", url, "forbidden", "rules", names)


def _spelled(group: str, expect: str, guard: Guard, *urls: str) -> Iterable[Vector]:
    names: Names = {"localhost": [["127.0.0.1"]], "localhost.": [["127.0.0.1"]]}
    return [Vector(group, url[:60], url, expect, guard, names) for url in urls]


def _redirected(*locations: str) -> Iterable[Vector]:
    names: Names = {"inside.example": [["10.0.0.1"]]}
    for to in locations:
        pages = {"/a": redirect(to), "/x": answer()}
        url = "https://media.example/a"
        yield Vector("redirect", to, url, "forbidden", "rules", names, pages)


def _rebound(name: str, expect: str, *answers: Sequence[str], page: Page = b"") -> Vector:
    names: Names = {"turns.example": list(answers)}
    pages = {"/a": page or answer()}
    url = "https://turns.example/a"
    return Vector("rebinding", name, url, expect, "rules", names, pages, tries=2)


_LIST = ["media.example", "*.cdn.example"]


def _listed(name: str, url: str, pages: Mapping[str, Page]) -> Vector:
    hosts = ("evil.example", "notmedia.example", "media.example.evil.example", "cdn.example")
    more = ("a.media.example", "xcdn.example", "cdn.example.evil.example")
    names: Names = {host: [[PUBLIC]] for host in (*hosts, *more)}
    return Vector("allow-list", name, url, "forbidden", "hosts", names, pages, _LIST)


def _accompanied(name: str, to: str, names: Names) -> Vector:
    """What is sent along to the first host must not reach the place that it sends us to."""
    pages = {"/a": redirect(to), "/x": answer()}
    return Vector("headers", name, "https://media.example/a", "ok", "headers", names, pages)


PLACES: tuple[Vector, ...] = (
    *_spelled(
        "scheme",
        "forbidden",
        "rules",
        "http://media.example/x",
        "HTTP://media.example/x",
        "http://media.example:443/x",
        "http://93.184.216.34/x",
        "hTtP://media.example:8443/x",
        "http://[2606:2800:220:1::1]/x",
    ),
    *_addresses("private", "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "127.9.9.9"),
    *_addresses("private", "100.64.0.1", "0.0.0.0", "198.18.0.1", "240.0.0.1", "192.88.99.1"),
    *_addresses("metadata", "169.254.169.254", "169.254.170.2", "100.100.100.200"),
    *_addresses("metadata", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    *_addresses("ipv6", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "fec0::1", "2001:db8::1"),
    *_addresses("ipv6", "5f00::1", "100::1", "4000::1", "3fff::1", "2001:2::1"),
    *_addresses("ipv4 in ipv6", "::ffff:127.0.0.1", "::ffff:a00:1", "::127.0.0.1", "::a9fe:a9fe"),
    *_addresses("ipv4 in ipv6", "64:ff9b::7f00:1", "64:ff9b:1::808:808", "2002:7f00:1::1"),
    *_addresses("ipv4 in ipv6", "2001:0:53aa:64c:0:fbff:80ff:fffe", "2606:4700::5efe:7f00:1"),
    *_addresses("ipv4 in ipv6", "::ffff:0:7f00:1", "2606:4700::200:5efe:a00:1"),
    *_spelled(
        "spelling",
        "forbidden",
        "rules",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://017700000001/x",
        "https://0177.0.0.1/x",
        "https://127.1/x",
        "https://0x7f.1/x",
        "https://10.1/x",
        "https://0/x",
        "https://%31%32%37.0.0.1/x",
        "https://127%2e0%2e0%2e1/x",
        "https://[0:0:0:0:0:ffff:7f00:1]/x",
        "https://LocalHost/x",
        "https://localhost./x",
    ),
    *_spelled(
        "spelling",
        "not_found",
        "rules",
        # Digits of other widths, which a lenient reader takes for the usual ones.
        "https://１２７.０.０.１/x",  # noqa: RUF001
        "https://①②⑦.0.0.1/x",
    ),
    *_spelled(
        "port",
        "forbidden",
        "rules",
        *(f"https://media.example:{p}/x" for p in (0, 22, 25, 80, 2375, 6379, 8080, 11211, 65535)),
    ),
    *_spelled(
        "user",
        "forbidden",
        "rules",
        f"https://user:{CANARY}@media.example/x",
        f"https://{CANARY}@media.example/x",
        "https://:@media.example/x",
        "https://media.example@127.0.0.1/x",
        "https://media.example:443@127.0.0.1/x",
        "https://@127.0.0.1/x",
        "https://127.0.0.1#@media.example/x",
        "https://127.0.0.1?@media.example/x",
    ),
    *_redirected(
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://inside.example/x",
        "//10.0.0.1/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://2130706433/x",
        "http://media.example/x",
        "https://media.example:6379/x",
        f"https://u:{CANARY}@media.example/x",
        "ftp://inside.example/x",
        "file://inside.example/x",
        "gopher://inside.example/x",
    ),
    _rebound("one of two is private", "forbidden", [PUBLIC, "10.0.0.1"]),
    _rebound("the first is private", "forbidden", ["10.0.0.1", PUBLIC]),
    _rebound("one of two is mapped", "forbidden", [PUBLIC6, "::ffff:127.0.0.1"]),
    _rebound("the last of many", "forbidden", [PUBLIC] * 5 + ["fd00:ec2::254"]),
    # What a second look-up says is not to be seen: the connection goes where was checked.
    _rebound("between check and connection", "ok", [PUBLIC], ["127.0.0.1"]),
    _rebound("before a redirect", "forbidden", [PUBLIC], ["10.0.0.1"], page=redirect("/b")),
    _rebound(
        "before another try",
        "forbidden",
        [PUBLIC],
        ["127.0.0.1"],
        page=answer(status="503 Away", body=b""),
    ),
    _listed("another", "https://evil.example/x", {"/x": answer()}),
    _listed("ends alike", "https://notmedia.example/x", {"/x": answer()}),
    _listed("begins alike", "https://media.example.evil.example/x", {"/x": answer()}),
    _listed("below", "https://a.media.example/x", {"/x": answer()}),
    _listed("above", "https://cdn.example/x", {"/x": answer()}),
    _listed("without the dot", "https://xcdn.example/x", {"/x": answer()}),
    _listed("by number", f"https://{PUBLIC}/x", {"/x": answer()}),
    _listed(
        "a redirect",
        "https://media.example/a",
        {"/a": redirect("https://evil.example/x"), "/x": answer()},
    ),
    _accompanied("the same place", "/x", {}),
    _accompanied("the same host", "https://media.example/x", {}),
    _accompanied("the same host, other case", "https://MEDIA.example/x", {}),
    _accompanied("another port", "https://media.example:8443/x", {}),
    _accompanied("another host", "https://other.example/x", {"other.example": [[PUBLIC]]}),
    _accompanied("a host below", "https://a.media.example/x", {"a.media.example": [[PUBLIC]]}),
    _accompanied("a host of its own", "https://own.example/x", {"own.example": [[PUBLIC]]}),
)
