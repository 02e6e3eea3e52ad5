"""Several engines as one: every request goes to the one with the least to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from storage.errors import RowError
from workers.engine import Capacity, Completion, Request
from workers.prompts import Prompts


class Member(Protocol):
    """What a fleet is made of: engines that share a model and its way of counting tokens."""

    capacity: Capacity

    def submit(self, request: Request) -> Future[Completion]:
        """See Engine."""
        ...

    def close(self) -> None:
        """See Engine."""
        ...


class Fleet:
    """An `Engine` of engines. Thread-safe.

    `measure` gives a request's tokens; `ended` is called once all engines are.
    """

    name = "vllm"

    def __init__(
        self,
        members: Sequence[Member],
        model: str,
        version: str,
        measure: Callable[[Request], int],
        ended: Callable[[], None] | None = None,
    ) -> None:
        self.model = model
        self.version = version
        self.measure = measure
        self._ended = ended
        self._members = members
        #: Tokens that each was given and has not answered.
        self._loads = [0] * len(members)
        self._lock = threading.Lock()
        capacities = [member.capacity for member in members]
        self.capacity = Capacity(
            tokens=sum(c.tokens for c in capacities),
            sequences=sum(c.sequences for c in capacities),
            context=min(c.context for c in capacities),
            images=min(c.images for c in capacities),
            sounds=min(c.sounds for c in capacities),
        )

    @property
    def loads(self) -> tuple[int, ...]:
        """Tokens under way in each engine."""
        return tuple(self._loads)

    def submit(self, request: Request) -> Future[Completion]:
        """Hand the request to the engine with the fewest tokens under way; see Engine."""
        tokens = self.measure(request)
        with self._lock:
            chosen = min(range(len(self._members)), key=self._loads.__getitem__)
            self._loads[chosen] += tokens
        future = self._members[chosen].submit(request)
        future.add_done_callback(lambda _: self._relieve(chosen, tokens))
        return future

    def close(self) -> None:
        """End all engines; see Engine."""
        with ThreadPoolExecutor(len(self._members)) as threads:
            for closing in [threads.submit(member.close) for member in self._members]:
                closing.result()
        if self._ended is not None:
            self._ended()

    def _relieve(self, chosen: int, tokens: int) -> None:
        with self._lock:
            self._loads[chosen] -= tokens


def measured(prompts: Prompts, capacity: Capacity, request: Request) -> int:
    """Tokens of KV cache that the request takes at most: prompt, media and answer.

    Raises RowError("too_long") if they are more than the context holds.
    """
    prompt = prompts.count(request.prompt, request.piece)
    tokens = prompt + request.prompt.max_tokens
    if tokens > capacity.context:
        raise RowError(
            "too_long",
            f"{prompt} tokens of prompt and {request.prompt.max_tokens} of answer are more "
            f"than the {capacity.context} of the context: lower max_tokens or "
            "image_tokens, or raise max_model_len",
        )
    return tokens
