"""Bytes and texts of chance that were something whole once, for hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: Numbers on which headers break: of one byte, two and four, in both orders.
_EDGES = (
    b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0", b"\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80", b"\0\0\0\1",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, wholes: Sequence[bytes]) -> bytes:
    """One of `wholes` after one to eight changes: bytes set, cut out, doubled, put in, cut off."""
    data = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 8))):
        # Headers are at the start, and most files are data for the rest.
        near = min(len(data), draw(st.sampled_from((64, 512, 1 << 30))))
        at = draw(st.integers(0, max(near - 1, 0)))
        size = draw(st.sampled_from((1, 2, 4, 16, 200)))
        match draw(st.sampled_from(("edge", "set", "cut", "double", "insert", "end", "turn"))):
            case "edge":
                edge = draw(st.sampled_from(_EDGES))
                data[at : at + len(edge)] = edge
            case "set":
                new = draw(st.binary(min_size=1, max_size=4))
                data[at : at + len(new)] = new
            case "cut":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
            case "end":
                del data[max(at, 1) :]
            case "turn" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data) or b"\0"


@st.composite
def broken(draw: st.DrawFn, parts: Sequence[str]) -> str:
    """A text put together of `parts`, which are a grammar's pieces, and of any characters."""
    piece = st.one_of(st.sampled_from(parts), st.text(max_size=3))
    return "".join(draw(st.lists(piece, max_size=40)))


def tried(
    few: int, many: int
) -> Callable[[Callable[[int], None]], Callable[[int], None]]:  # a test of one argument, `tries`
    """Have a test run with `few` examples, and in the full tests with `many` as well."""
    counts: Any = [few, pytest.param(many, marks=pytest.mark.full)]
    return pytest.mark.parametrize("tries", counts)


def every(tries: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], object]) -> None:
    """Hold `check` against so many examples, the same ones in every run."""

    @settings(
        max_examples=tries,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(example: Any) -> None:
        check(example)

    run()
