"""One way to misuse the fetching of URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.unit.url_world import Page

PUBLIC = "93.184.216.34"
PUBLIC6 = "2606:2800:220:1::1"
#: What must be seen nowhere but in the request that a manifest asks for.
CANARY = "s3cr3t"
Guard = Literal[
    "rules", "deadline", "size", "head", "packed", "shown", "ended", "hosts", "headers", "nonsense"
]
Names = Mapping[str, list[Sequence[str]]]


@dataclass(frozen=True)
class Vector:
    """Fetch `url`: it must end as `expect` says, a kind of error or `ok`.

    `guard` is what stands in the way; without it the vector must end otherwise, which the
    tests see to. `names` are looked up beside `media.example`, which is public.
    """

    group: str
    name: str
    url: str
    expect: str
    guard: Guard
    names: Names = field(default_factory=dict)
    pages: Mapping[str, Page] = field(default_factory=dict)
    hosts: Sequence[str] | None = None
    handshake_s: float = 0.0
    retryable: bool | None = None
    tries: int = 1
