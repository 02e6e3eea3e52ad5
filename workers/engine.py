"""The boundary to a model: requests in, completions out, whatever backend runs them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.pieces import MOST_IMAGES, MOST_SOUNDS, Piece
from jobs.tasks.base import Prompt
from storage.errors import InvalidJob


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
    `finish_reason` is "stop", "length" or "repetition", a loop that was
    ended; `seconds` from submission to the last token.
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

    `context` is the longest prompt and answer of one request, in tokens, `images` and
    `sounds` how many it may have.
    """

    tokens: int
    sequences: int
    context: int
    images: int = MOST_IMAGES
    sounds: int = MOST_SOUNDS


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
        failed, or EngineDead if the engine ended. Cancelling it takes the request back:
        the engine stops working on it and frees what it holds.
        """
        ...

    def close(self) -> None:
        """End the engine and its processes. Requests in flight raise EngineDead."""
        ...


class EngineOptions(BaseModel):
    """How a model is run: vLLM's engine arguments by their own names.

    What is left out takes a value that suits batches on the device at hand
    (`workers.vllm_engine`), or else vLLM's own default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_model_len: int | None = Field(None, ge=1, description="longest prompt and answer, tokens")
    max_num_seqs: int | None = Field(None, ge=1, description="requests in one step")
    max_num_batched_tokens: int | None = Field(None, ge=1, description="tokens in one step")
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)
    kv_cache_memory_bytes: int | None = Field(None, ge=1, description="bytes of KV cache")
    kv_cache_dtype: str | None = None
    tensor_parallel_size: int | None = Field(None, ge=1, description="GPUs of one engine")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = None
    quantization: str | None = None
    enforce_eager: bool | None = Field(None, description="neither compile nor capture graphs")
    enable_prefix_caching: bool | None = None
    limit_mm_per_prompt: dict[str, int] | None = Field(None, description="media of one request")
    load_format: str | None = Field(
        None, description="`dummy`: random weights, answers of max_tokens"
    )
    renderer_num_workers: int | None = Field(
        None, ge=1, description="threads that render and preprocess requests"
    )
    together: int | None = Field(
        None, ge=1, description="mediamill's own: requests that are begun together, on GPUs (16)"
    )
    kernel_config: dict[str, Any] | None = None
    compilation_config: dict[str, Any] | None = None
    seed: int | None = Field(None, ge=0)

    @property
    def given(self) -> dict[str, Any]:
        """The options that were set, by name."""
        return self.model_dump(exclude_none=True)


def engine_options(values: Mapping[str, Any]) -> EngineOptions:
    """Options from plain values. Raises InvalidJob naming what is unknown or does not fit."""
    unknown = sorted(set(values) - set(EngineOptions.model_fields))
    if unknown:
        known = ", ".join(EngineOptions.model_fields)
        raise InvalidJob(f"unknown engine option {', '.join(unknown)}; known are: {known}")
    try:
        return EngineOptions(**values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidJob(f"engine options do not validate: {faults}") from error
