"""Work done a little ahead of who needs it, where each piece waits for a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(jobs: Iterable[Callable[[], T]], count: int) -> Iterator[T]:
    """What the jobs give, in order, with up to `count` of them under way.

    What a job raises is raised in its place.
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(count) as pool:
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
