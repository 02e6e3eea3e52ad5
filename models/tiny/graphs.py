"""Towers and language model as CUDA graphs: one launch in place of thousands.

A step of so small a model costs the processor more than the GPU; recorded once for each
kind of batch, forward and backward are played back whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from models.tiny import architecture as arch
from models.tiny.batches import Batch
from models.tiny.network import TinyGemma
from models.tiny.sound import valid_frames


class Sense(nn.Module):
    """A tower with its embedder, to embeddings in float32.

    A module of its own, and not a method of the model: what is recorded gives gradients
    to all the parameters it holds.
    """

    def __init__(self, tower: nn.Module, embedder: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.embedder = embedder

    def forward(self, x: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """See `TinyGemma.hear`."""
        out: torch.Tensor = self.embedder(self.tower(x, sizes)).float()
        return out


class See(Sense):
    """Pictures as bytes."""

    def forward(self, x: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """See `TinyGemma.see`; `x` are uint8."""
        return super().forward(x.float() / 255, sizes)


class Read(nn.Module):
    """Tokens, with soft embeddings in their places, to hidden states."""

    def __init__(self, gemma: TinyGemma) -> None:
        super().__init__()
        self.model = gemma.model.language_model

    def forward(
        self,
        ids: torch.Tensor,
        soft: torch.Tensor,
        is_soft: torch.Tensor,
        segments: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `LanguageModel.hidden`."""
        out: torch.Tensor = self.model.hidden(ids, soft, is_soft, segments)
        return out


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts of the model, as they are or recorded."""

    see: Callable[..., Any]
    hear: Callable[..., Any]
    read: Callable[..., Any]


def plain(gemma: TinyGemma) -> Parts:
    """The parts, run operation by operation."""
    model = gemma.model
    see = See(model.vision_tower, model.embed_vision)
    return Parts(see, Sense(model.audio_tower, model.embed_audio), Read(gemma))


def record(gemma: TinyGemma, batch: Batch, features: torch.Tensor | None, pool: Any) -> Parts:
    """Record the parts for batches of `batch`'s shape.

    `features` are those of its sound; `pool` is memory that all recordings share, for
    only one of them is ever between its forward and its backward.
    """
    parts = plain(gemma)
    modules: list[Any] = []
    samples: list[tuple[torch.Tensor, ...]] = []
    if batch.pixels is not None and batch.grid is not None:
        modules.append(parts.see)
        samples.append((batch.pixels, batch.grid))
    if features is not None and batch.lengths is not None:
        modules.append(parts.hear)
        samples.append((features, valid_frames(batch.lengths).clamp(min=0)))
    soft = torch.zeros(*batch.ids.shape, arch.HIDDEN, device=batch.ids.device, requires_grad=True)
    modules.append(parts.read)
    samples.append((batch.ids, soft, batch.is_soft, *batch.packed))
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        torch.cuda.make_graphed_callables(tuple(modules), tuple(samples), pool=pool)
    return parts
