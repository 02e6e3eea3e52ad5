"""Blocking calls from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def in_pool(
    pool: Executor, call: Callable[[], T], discard: Callable[[T], object] | None = None
) -> T:
    """Run a blocking call in a pool.

    When cancelled, still waits for it, since it cannot be interrupted and may hold
    what the caller is about to give back; `discard` gets the result nobody takes.
    """
    future = asyncio.get_running_loop().run_in_executor(pool, call)
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    if not cancelled:
        return future.result()
    if future.exception() is None and discard is not None:
        discard(future.result())
    raise asyncio.CancelledError
