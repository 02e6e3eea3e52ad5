"""What training minimises: the answers' tokens, and helpers that are dropped afterwards.

The helpers are what makes it quick: of each soft token of a picture, which thing it
covers, that thing's box and the characters in it; of sound, its letters by CTC.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from models.tiny import architecture as arch
from models.tiny import graphs, scenes
from models.tiny.batches import Batch
from models.tiny.network import TinyGemma
from models.tiny.pictures import MARKS
from models.tiny.sound import Features, disturb, mask_features
from models.tiny.voices import LETTERS

KINDS = len(scenes.COLORS) * len(scenes.SHAPES)
#: Weights of the helpers beside the answers' loss.
DENSE, CTC = 0.5, 0.3


class Trainee(nn.Module):
    """The model and its helper heads."""

    def __init__(self, device: torch.device, seed: int) -> None:
        super().__init__()
        self.gemma = TinyGemma()
        self._plain = graphs.plain(self.gemma)
        self._recorded: dict[str, graphs.Parts] = {}
        self.kinds = nn.Linear(arch.HIDDEN, KINDS + 1)
        self.boxes = nn.Linear(arch.HIDDEN, 4)
        self.marks = nn.Linear(arch.HIDDEN, len(MARKS))
        # Characters are rare: the head starts out expecting none.
        nn.init.constant_(self.marks.bias, -6.0)
        self.letters = nn.Linear(arch.HIDDEN, len(LETTERS) + 1)
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
        """Losses by name; "answer" is nats a token, "exact" the share of rows all right."""
        parts = self._recorded.get(kind, self._plain) if self.training else self._plain
        losses: dict[str, torch.Tensor] = {}
        soft = []
        if batch.pixels is not None and batch.grid is not None:
            seen = parts.see(batch.pixels, batch.grid)
            if batch.things is not None and batch.marks is not None:
                losses["dense"] = DENSE * self._dense(seen, batch.grid, batch.things, batch.marks)
            soft.append(seen.flatten(0, 1))
        if batch.waves is not None and batch.lengths is not None:
            heard = parts.hear(*self._sound(batch.waves, batch.lengths))
            if batch.letters is not None:
                losses["ctc"] = CTC * self._ctc(heard, batch)
            soft.append(heard.flatten(0, 1))
        at = torch.cat(soft).index_select(0, batch.index.flatten()).view(*batch.index.shape, -1)
        hidden = parts.read(batch.ids, at, batch.is_soft)
        logits = self.gemma.model.language_model.head(
            hidden.flatten(0, 1).index_select(0, batch.pick)
        )
        losses["answer"] = F.cross_entropy(logits, batch.labels, ignore_index=-100)
        with torch.no_grad():
            wrong = (logits.argmax(-1) != batch.labels) & (batch.labels >= 0)
            rows_wrong = torch.zeros(len(batch.ids) + 1, device=wrong.device)
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

    def _ctc(self, heard: torch.Tensor, batch: Batch) -> torch.Tensor:
        assert batch.letters is not None
        assert batch.letter_counts is not None
        with torch.autocast(heard.device.type, enabled=False):
            scores = (
                self.letters(heard[-len(batch.letters) :].float()).log_softmax(-1).transpose(0, 1)
            )
            each = F.ctc_loss(
                scores,
                batch.letters,
                batch.heard,
                batch.letter_counts,
                reduction="none",
                zero_infinity=True,
            )
            counts = batch.letter_counts.clamp(min=1).to(each.device, non_blocking=True)
            return (each / counts).mean()

    def _dense(
        self,
        seen: torch.Tensor,
        grid: torch.Tensor,
        things: torch.Tensor,
        marks: torch.Tensor,
    ) -> torch.Tensor:
        token = torch.arange(seen.shape[1], device=seen.device)
        columns, rows = grid[:, :1], grid[:, 1:]
        x, y = token % columns, torch.div(token, columns, rounding_mode="floor")
        valid = (token < columns * rows).float()
        cells = torch.stack((x / columns, y / rows, (x + 1) / columns, (y + 1) / rows), -1)
        kind, box = things[..., 0], things[..., 1:]
        corner0 = torch.maximum(cells[:, :, None, :2], box[:, None, :, :2])
        corner1 = torch.minimum(cells[:, :, None, 2:], box[:, None, :, 2:])
        common = (corner1 - corner0).clamp(min=0).prod(-1)
        smaller = torch.minimum(
            (1 / (columns * rows))[..., None].expand_as(common),
            (box[..., 2:] - box[..., :2]).clamp(min=1e-4).prod(-1)[:, None],
        )
        covered = common / smaller * (kind >= 0)[:, None]
        share, best = covered.max(-1)
        inside = (share > 0.3).float() * valid
        target = torch.where(inside > 0, kind.gather(1, best).long(), KINDS)
        each = F.cross_entropy(self.kinds(seen).transpose(1, 2).float(), target, reduction="none")
        # Ground is most of a picture: it counts for less, things for their places.
        weight = valid * torch.where(inside > 0, 1.0, 0.2)
        has_things = (kind >= 0).any(1, keepdim=True).float()
        weight = weight * has_things
        loss = (each * weight).sum() / weight.sum().clamp(min=1)
        aim = box.gather(1, best[..., None].expand(-1, -1, 4))
        far = (self.boxes(seen).float() - aim).abs().mean(-1) * inside
        loss = loss + 8 * far.sum() / inside.sum().clamp(min=1)
        return loss + self._marks(seen, columns, rows, marks)

    def _marks(
        self, seen: torch.Tensor, columns: torch.Tensor, rows: torch.Tensor, marks: torch.Tensor
    ) -> torch.Tensor:
        """Of pictures with text: which characters have their centre in which token."""
        written = marks[..., 2] >= 0
        x = (marks[..., 0] * columns).long().clamp(min=0)
        y = (marks[..., 1] * rows).long().clamp(min=0)
        x, y = torch.minimum(x, columns - 1), torch.minimum(y, rows - 1)
        place = (y * columns + x) * len(MARKS) + marks[..., 2].clamp(min=0).long()
        target = torch.zeros(len(seen), seen.shape[1] * len(MARKS), device=seen.device)
        target.scatter_reduce_(1, place, written.float(), "amax")
        logits = self.marks(seen).float().flatten(1)
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        weight = written.any(1, keepdim=True).float()
        return (each * weight).sum() / written.sum().clamp(min=1)
