"""Work done a little ahead of who needs it, where each piece waits for a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from storage.objects import Object, Store

T = TypeVar("T")


def ahead(
    jobs: Iterable[Callable[[], T]], count: int, pool: Executor | None = None
) -> Generator[T, None, None]:
    """What the jobs give, in order, with up to `count` of them under way.

    In `pool`, or one of their own. What a job raises is raised in its place.
    """
    waiting: deque[Future[T]] = deque()
    with ExitStack() as stack:
        pool = pool or stack.enter_context(ThreadPoolExecutor(count))
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) == count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for job_under_way in waiting:
                job_under_way.cancel()


def parts(store: Store, found: Object, size: int) -> Iterator[Callable[[], bytes]]:
    """Jobs that read one version of an object, `size` bytes each."""
    for start in range(0, found.size, size):
        end = min(start + size, found.size)
        yield partial(store.read, found.key, start, end, etag=found.etag)
