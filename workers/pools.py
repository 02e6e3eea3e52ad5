"""Blocking calls from an event loop, and what becomes of them when nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")


async def in_pool(
    pool: Executor, call: Callable[[], T], interrupt: Callable[[], object] | None = None
) -> T:
    """Run a blocking call in a pool.

    When cancelled, still waits for it, since it holds what the caller is about to give
    back; `interrupt` is called to keep that short.
    """
    future = asyncio.get_running_loop().run_in_executor(pool, call)
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
            if interrupt is not None:
                interrupt()
    if not cancelled:
        return future.result()
    future.exception()  # nobody asks for it any more, and asyncio would say so
    raise asyncio.CancelledError


async def left_in_pool(pool: Executor, call: Callable[[], T], discard: Callable[[T], object]) -> T:
    """Run a blocking call that holds nothing of the caller's and may take minutes.

    When cancelled, leaves it to itself; `discard` gets the result that nobody takes.
    """
    future = pool.submit(call)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        future.add_done_callback(lambda done: _discard(done, discard))
        raise


def _discard(done: Future[T], discard: Callable[[T], object]) -> None:
    if not done.cancelled() and done.exception() is None:
        discard(done.result())
