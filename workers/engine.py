"""The boundary to a model: requests in, completions out, whatever backend runs them."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from jobs.pieces import Piece
from jobs.tasks.base import Prompt


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one piece. `id` names job, shard, row and span, and comes back."""

    id: str
    prompt: Prompt
    piece: Piece


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to the request of the same `id`.

    `text` is as the model gave it, special tokens included (thought, tool calls);
    `finish_reason` is "stop" or "length"; `seconds` from submission to the last token.
    """

    id: str
    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an engine holds at once: `tokens` of KV cache and `sequences` in one step.

    `context` is the longest prompt and answer of one request, in tokens.
    """

    tokens: int
    sequences: int
    context: int


class Engine(Protocol):
    """Runs requests on one loaded model. Thread-safe; started once, outlives every task."""

    name: str
    version: str
    #: Name and revision as jobs ask for them: `google/gemma-4-E2B-it@<commit>`.
    model: str
    capacity: Capacity

    def measure(self, request: Request) -> int:
        """Tokens of KV cache that the request takes at most: prompt, media and answer.

        Raises RowError("too_long") if they are more than the context holds.
        """
        ...

    def submit(self, request: Request) -> Future[Completion]:
        """Hand the request in; returns at once.

        The future gives the completion, or raises RowError if this request alone
        failed, or EngineDead if the engine ended.
        """
        ...

    def close(self) -> None:
        """End the engine and its processes. Requests in flight raise EngineDead."""
        ...
