"""Losses that are dropped after training, and make it quick.

Answers say little about where in a picture or a sound something is, and these say it: of
each soft token of a picture, which thing or ground it shows, the thing's box and the
characters in it; of each soft token of sound, its phoneme; of all of them, the letters
(CTC).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from models.tiny import architecture as arch
from models.tiny import scenes
from models.tiny.batches import Heard, Seen
from models.tiny.pictures import MARKS
from models.tiny.speech import PHONES
from models.tiny.voices import LETTERS

#: Characters that one soft token holds at most, in the order of reading.
SLOTS = 4
#: Share of a soft token, or of a smaller thing, from which the token shows the thing.
SHOWN = 0.3
#: Weights beside the answers' loss.
THINGS, SPELLING, CTC, PHONEMES = 0.5, 0.5, 0.3, 0.3


class Helpers(nn.Module):
    """Heads on the soft tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = nn.Linear(arch.HIDDEN, scenes.KINDS + scenes.GROUNDS)
        self.boxes = nn.Linear(arch.HIDDEN, 4)
        # The last of a slot's classes is: no character.
        self.marks = nn.Linear(arch.HIDDEN, SLOTS * (len(MARKS) + 1))
        self.letters = nn.Linear(arch.HIDDEN, len(LETTERS) + 1)
        self.phones = nn.Linear(arch.HIDDEN, PHONES)

    def pictures(
        self, soft: torch.Tensor, grid: torch.Tensor, seen: Seen
    ) -> dict[str, torch.Tensor]:
        """Losses by name, of soft tokens [n, tokens, hidden]; `grid` [n, 2], width and height."""
        soft = soft.float()
        things = self._things(soft, cells(grid, soft.shape[1]), seen)
        return {"things": THINGS * things, "marks": SPELLING * self._marks(soft, grid, seen)}

    def sound(self, soft: torch.Tensor, heard: Heard) -> dict[str, torch.Tensor]:
        """Losses by name; of soft tokens [n, tokens, hidden], the last are speech alone."""
        spoken = soft[-len(heard.letters) :].float()
        losses = {"ctc": CTC * self._ctc(spoken, heard)}
        if heard.phones is not None:
            logits = self.phones(spoken).transpose(1, 2)
            each = F.cross_entropy(logits, heard.phones, ignore_index=-1, reduction="sum")
            losses["phones"] = PHONEMES * each / (heard.phones >= 0).sum().clamp(min=1)
        return losses

    def _ctc(self, spoken: torch.Tensor, heard: Heard) -> torch.Tensor:
        each = F.ctc_loss(
            self.letters(spoken).log_softmax(-1).transpose(0, 1),
            heard.letters,
            heard.counts,
            heard.letter_counts,
            reduction="none",
            zero_infinity=True,
        )
        counts = heard.letter_counts.clamp(min=1).to(each.device, non_blocking=True)
        return (each / counts).mean()

    def _things(self, soft: torch.Tensor, cells: torch.Tensor, seen: Seen) -> torch.Tensor:
        kind, box = seen.things[..., 0].long(), seen.things[..., 1:]
        corner0 = torch.maximum(cells[:, :, None, :2], box[:, None, :, :2])
        corner1 = torch.minimum(cells[:, :, None, 2:], box[:, None, :, 2:])
        common = (corner1 - corner0).clamp(min=0).prod(-1)
        smaller = torch.minimum(
            (cells[..., 2:] - cells[..., :2]).prod(-1)[..., None],
            (box[..., 2:] - box[..., :2]).clamp(min=1e-4).prod(-1)[:, None],
        )
        share, best = (common / smaller.clamp(min=1e-6) * (kind >= 0)[:, None]).max(-1)
        # Tokens past the picture's end have no width.
        valid = cells[..., 2] > cells[..., 0]
        shows = (share > SHOWN) & valid
        target = torch.where(shows, kind.gather(1, best), scenes.KINDS + seen.grounds[:, None])
        each = F.cross_entropy(self.kinds(soft).transpose(1, 2), target, reduction="none")
        # Ground is most of a picture: it counts for less. Written pictures have none.
        known = valid & (seen.grounds >= 0)[:, None]
        weight = known * torch.where(shows, 1.0, 0.2)
        loss = (each * weight).sum() / weight.sum().clamp(min=1)
        aim = box.gather(1, best[..., None].expand(-1, -1, 4))
        far = (self.boxes(soft) - aim).abs().mean(-1) * shows
        return loss + 8 * far.sum() / shows.sum().clamp(min=1)

    def _marks(self, soft: torch.Tensor, grid: torch.Tensor, seen: Seen) -> torch.Tensor:
        """Of written pictures: the characters whose centre is in a token, in order."""
        n, tokens = soft.shape[:2]
        target = spelling(seen.marks, grid, tokens)
        logits = self.marks(soft).view(n * tokens * SLOTS, -1)
        each = F.cross_entropy(logits, target.flatten(), reduction="none").view(target.shape)
        there = target < len(MARKS)
        written = (seen.marks[..., 2] >= 0).any(1)[:, None, None]
        # An empty slot is what most are.
        weight = torch.where(there, 1.0, 0.05) * written
        return (each * weight).sum() / weight.sum().clamp(min=1)


def cells(grid: torch.Tensor, tokens: int) -> torch.Tensor:
    """Box [n, tokens, 4] of each soft token as shares of the picture; all 0 past its end."""
    token = torch.arange(tokens, device=grid.device)
    columns, rows = grid[:, :1], grid[:, 1:]
    x, y = token % columns, torch.div(token, columns, rounding_mode="floor")
    valid = (token < columns * rows)[..., None]
    return torch.stack((x / columns, y / rows, (x + 1) / columns, (y + 1) / rows), -1) * valid


def spelling(marks: torch.Tensor, grid: torch.Tensor, tokens: int) -> torch.Tensor:
    """Which characters stand in which token, [n, tokens, SLOTS]; no more: len(MARKS).

    `marks` [n, characters, 3] are centres as shares, and which; in the order of reading.
    """
    there = marks[..., 2] >= 0
    columns, rows = grid[:, :1], grid[:, 1:]
    x = torch.minimum((marks[..., 0] * columns).long().clamp(min=0), columns - 1)
    y = torch.minimum((marks[..., 1] * rows).long().clamp(min=0), rows - 1)
    token = torch.where(there, y * columns + x, -1)
    earlier = torch.ones(marks.shape[1], marks.shape[1], device=marks.device).tril(-1).bool()
    slot = ((token[:, :, None] == token[:, None, :]) & earlier).sum(-1)
    kept = there & (slot < SLOTS)
    # What is not kept goes to a place that is cut off.
    place = torch.where(kept, token * SLOTS + slot, tokens * SLOTS)
    target = torch.full((len(marks), tokens * SLOTS + 1), len(MARKS), device=marks.device)
    target.scatter_(1, place, marks[..., 2].long().clamp(min=0))
    return target[:, :-1].view(len(marks), tokens, SLOTS)
