"""What training minimises: the answers' tokens, and the helpers' losses beside them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from models.tiny import graphs
from models.tiny.batches import Batch
from models.tiny.helpers import Helpers
from models.tiny.network import TinyGemma
from models.tiny.sound import Features, disturb, mask_features


class Trainee(nn.Module):
    """The model and its helpers."""

    def __init__(self, device: torch.device, seed: int) -> None:
        super().__init__()
        self.gemma = TinyGemma()
        self.helpers = Helpers()
        self._plain = graphs.plain(self.gemma)
        self._recorded: dict[str, graphs.Parts] = {}
        self.to(device)
        self._features = Features(device)
        self._random = torch.Generator(device).manual_seed(seed)

    def record(self, kind: str, batch: Batch, pool: Any) -> None:
        """Play batches of this kind from now on; `batch` is one of them."""
        features = None
        if batch.waves is not None and batch.lengths is not None:
            features, _ = self._sound(batch.waves, batch.lengths)
        self._recorded[kind] = graphs.record(self.gemma, batch, features, pool)

    def forward(self, batch: Batch, kind: str = "") -> dict[str, torch.Tensor]:
        """Losses by name; "answer" is nats a token, "exact" the share of rows all right.

        "answer" weighs tokens by `batch.weights`; "exact" is no loss.
        """
        parts = self._recorded.get(kind, self._plain) if self.training else self._plain
        losses: dict[str, torch.Tensor] = {}
        soft = []
        device = batch.ids.device.type
        if batch.pixels is not None and batch.grid is not None:
            seen = parts.see(batch.pixels, batch.grid)
            soft.append(seen.flatten(0, 1))
            if batch.seen is not None:
                with torch.autocast(device, enabled=False):
                    losses |= self.helpers.pictures(seen, batch.grid, batch.seen)
        if batch.waves is not None and batch.lengths is not None:
            heard = parts.hear(*self._sound(batch.waves, batch.lengths))
            soft.append(heard.flatten(0, 1))
            if batch.heard is not None:
                with torch.autocast(device, enabled=False):
                    losses |= self.helpers.sound(heard, batch.heard)
        at = torch.cat(soft).index_select(0, batch.index.flatten()).view(*batch.index.shape, -1)
        hidden = parts.read(batch.ids, at, batch.is_soft, *batch.packed)
        logits = self.gemma.model.language_model.head(
            hidden.flatten(0, 1).index_select(0, batch.pick)
        )
        each = F.cross_entropy(logits, batch.labels, ignore_index=-100, reduction="none")
        losses["answer"] = (each * batch.weights).sum() / batch.weights.sum()
        with torch.no_grad():
            wrong = (logits.argmax(-1) != batch.labels) & (batch.labels >= 0)
            # No more rows than tokens answered.
            rows_wrong = torch.zeros(len(batch.labels) + 1, device=wrong.device)
            rows_wrong.index_add_(0, batch.row_of + 1, wrong.float())
            asked = torch.zeros_like(rows_wrong).index_fill_(0, batch.row_of + 1, 1.0)[1:]
            losses["exact"] = ((rows_wrong[1:] == 0) * asked).sum() / asked.sum()
        return losses

    @torch.no_grad()
    def _sound(
        self, waves: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(waves.device.type, enabled=False):
            sound = waves.float() / 32768
            if self.training:
                sound = disturb(sound, lengths, self._random)
            features, frames = self._features(sound, lengths)
            if self.training:
                features = mask_features(features, self._random)
        return features, frames.clamp(min=0)
