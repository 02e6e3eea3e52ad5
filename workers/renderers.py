"""vLLM's renderers, which tokenize prompts and preprocess their media: one for each thread."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from typing import Any


class Renderers:
    """So many renderers, each lent to one thread at a time: their tokenizers are not made for two.

    `make` makes one.
    """

    def __init__(self, count: int, make: Callable[[], Any]) -> None:
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for number in range(count):
            renderer = make()
            # Media that nothing caches are named by their renderer's number and a count of its
            # own, and the engine looks up by that name what it encoded before: renderers of
            # one number would give a row the picture of another.
            renderer.api_process_rank = number
            self._idle.put(renderer)

    @contextlib.contextmanager
    def one(self) -> Iterator[Any]:
        """A renderer of one's own for the block; waits until one is idle."""
        renderer = self._idle.get()
        try:
            yield renderer
        finally:
            self._idle.put(renderer)
