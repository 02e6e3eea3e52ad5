"""Which addresses are of the open internet, and which must never be fetched from."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Nowhere, everybody, and the services of cloud providers behind every machine of theirs:
#: never media, whatever is allowed. `fd…` are the metadata services of AWS, Google, Oracle,
#: Scaleway and Linode; the single addresses those of Alibaba and Azure.
_NEVER = tuple(
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "255.255.255.255/32",
        "::/128",
        "fd00:42::42/128",
        "fd00:a9fe:a9fe::/48",
        "fd00:c1::/32",
        "fd00:ec2::/32",
        "fd20:ce::/32",
        "fe80::/10",
    )
)
#: Where the internet's IPv6 lies; the rest is reserved, and some of it means this machine.
_UNICAST = ipaddress.IPv6Network("2000::/3")
#: Special blocks that Python's `is_global` takes for ordinary ones, in one version or another.
_SPECIAL = tuple(
    ipaddress.ip_network(block)
    for block in ("192.88.99.0/24", "2001::/23", "2001:db8::/32", "3fff::/20")
)
#: The one block whose addresses are no more than those IPv4 addresses, to all (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: IPv6 blocks that carry an IPv4 address, and at which bit from the right: compatible,
#: translated (RFC 2765), a network's own NAT64, and 6to4.
_CARRIERS = (
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)
#: The upper half of an interface's number that carries IPv4 in its lower half (ISATAP).
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def is_never(address: str) -> bool:
    """Whether it is, or stands for, an address that serves no media. Raises ValueError."""
    return any(
        ip.is_multicast or any(ip in block for block in _NEVER) for ip in _meant(_read(address))
    )


def is_public(address: str) -> bool:
    """Whether it, and what it stands for, is of the open internet. Raises ValueError."""
    return all(
        ip.is_global
        and (isinstance(ip, ipaddress.IPv4Address) or ip in _UNICAST)
        and not any(ip in block for block in _SPECIAL)
        for ip in _meant(_read(address))
    )


def _read(address: str) -> Address:
    # Resolvers give the zone with it: `fe80::1%eth0`.
    return ipaddress.ip_address(address.partition("%")[0])


def _meant(ip: Address) -> tuple[Address, ...]:
    """The address, and the IPv4 addresses that it stands for."""
    if isinstance(ip, ipaddress.IPv4Address) or ip.is_loopback:
        return (ip,)
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip in _NAT64:
        return (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF),)
    if ip.teredo is not None:
        return (ip, *ip.teredo)
    if int(ip) >> 32 & 0xFFFFFFFF in _ISATAP:
        return (ip, ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    for block, shift in _CARRIERS:
        if ip in block:
            return (ip, ipaddress.IPv4Address(int(ip) >> shift & 0xFFFFFFFF))
    return (ip,)
