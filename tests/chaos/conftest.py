"""What the figures share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.counting import AtScale, Shop


@pytest.fixture
def at_scale(tmp_path: Path, redis_url: str) -> Iterator[AtScale]:
    """A shop of this test's own, at a scale of the protocol's times."""
    with contextlib.ExitStack() as stack:

        def make(scale: float) -> Shop:
            return stack.enter_context(contextlib.closing(Shop(tmp_path, redis_url, scale)))

        yield make
