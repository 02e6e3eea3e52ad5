"""Calls to the store that run side by side: each is a round trip, and most of it is waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

#: Calls under way at once.
ABREAST = 16

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(call: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What `call` gives for each item, in order; raises what the first that fails raises."""
    if len(items) <= 1:
        return [call(item) for item in items]
    with ThreadPoolExecutor(min(ABREAST, len(items)), thread_name_prefix="look") as pool:
        try:
            return list(pool.map(call, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
