"""Which addresses are of the open internet: those that carry others are no better than these."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.addresses import is_never, is_public

PUBLIC = "93.184.216.34"

#: IPv6 blocks that carry an IPv4 address in their last 32 bits, or (6to4) after the first 16.
CARRIERS = {
    "mapped": lambda v4: (0xFFFF << 32) | v4,
    "compatible": lambda v4: v4,
    "translated": lambda v4: (0xFFFF << 48) | v4,
    "NAT64": lambda v4: (0x64FF9B << 96) | v4,
    "NAT64 of a network": lambda v4: (0x64FF9B0001 << 80) | v4,
    "6to4": lambda v4: (0x2002 << 112) | (v4 << 80) | 1,
    "ISATAP": lambda v4: (0x26064700 << 96) | (0x5EFE << 32) | v4,
}


@pytest.mark.parametrize("carrier", CARRIERS)
@given(v4=st.integers(0, 2**32 - 1))
@example(v4=int(ipaddress.IPv4Address("127.0.0.1")))
@example(v4=int(ipaddress.IPv4Address("169.254.169.254")))
@example(v4=int(ipaddress.IPv4Address(PUBLIC)))
def test_an_address_that_carries_another_is_no_better_than_that(carrier: str, v4: int) -> None:
    inner = str(ipaddress.IPv4Address(v4))
    outer = str(ipaddress.IPv6Address(CARRIERS[carrier](v4)))
    assert is_public(inner) >= is_public(outer)
    if not ipaddress.IPv6Address(outer).is_loopback:
        assert is_never(outer) >= is_never(inner)
    if carrier in ("mapped", "NAT64", "6to4", "ISATAP"):
        assert is_public(outer) == is_public(inner)


@given(st.ip_addresses(v=6))
def test_the_internet_s_ipv6_lies_in_one_block(ip: ipaddress.IPv6Address) -> None:
    carried = ip.ipv4_mapped is not None or ip in ipaddress.IPv6Network("64:ff9b::/96")
    assert carried or ip in ipaddress.IPv6Network("2000::/3") or not is_public(str(ip))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_public_only_if_the_registry_says_so(ip: ipaddress.IPv4Address) -> None:
    assert ip.is_global or not is_public(str(ip))
    assert not (is_public(str(ip)) and (ip.is_private or ip.is_reserved or ip.is_loopback))


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "1.1.1.1", "8.8.8.8", "2606:4700::1111", "2a00:1450::1", "64:ff9b::101:101"],
)
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)
    assert not is_never(address)
