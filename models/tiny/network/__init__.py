"""The tiny Gemma 4 for training: the checkpoint's parameters under their own names.

Written for static shapes and a compiler: towers leave their features padded, masks
are the caller's, and nothing depends on values. Parameters carry the names of the
checkpoint, so that what is trained here loads in transformers and vLLM; a test holds
the forward against transformers' own.
"""

from __future__ import annotations

import torch
from torch import nn

from models.tiny import architecture as arch
from models.tiny.network.audio import AudioTower
from models.tiny.network.parts import Linear, rms
from models.tiny.network.text import LanguageModel
from models.tiny.network.vision import VisionTower

__all__ = ["TinyGemma"]


class Embedder(nn.Module):
    """Projects a tower's features into the language model's space."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding_projection = Linear(width, arch.HIDDEN)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features [..., width] to embeddings [..., hidden]."""
        out: torch.Tensor = self.embedding_projection(rms(x))
        return out


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.language_model = LanguageModel()
        self.vision_tower = VisionTower()
        self.audio_tower = AudioTower()
        self.embed_vision = Embedder(arch.VISION_HIDDEN)
        self.embed_audio = Embedder(arch.HIDDEN)


class TinyGemma(nn.Module):
    """The whole model. `model` holds what the checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self.model = _Model()

    def see(self, patches: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        """Pictures to embeddings.

        `patches` is [n, tokens * 9, 768] in 0 to 1, the nine patches of a soft token
        next to each other; `grid` [n, 2] holds each picture's width and height in soft
        tokens. Returns [n, tokens, hidden]; those past width * height are padding.
        """
        out: torch.Tensor = self.model.embed_vision(self.model.vision_tower(patches, grid))
        return out

    def hear(self, features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Log-mel features [n, t, 128], of which `frames` [n] are valid, to [n, t / 4, hidden]."""
        out: torch.Tensor = self.model.embed_audio(self.model.audio_tower(features, frames))
        return out

    def read(
        self, ids: torch.Tensor, soft: torch.Tensor | None, where: torch.Tensor | None
    ) -> torch.Tensor:
        """Logits [n, s, vocabulary] after soft cap.

        `ids` [n, s] are padded on the right; `where` [n, s] says which row of `soft`
        [n, m, hidden] stands at a position, -1 for the token itself.
        """
        out: torch.Tensor = self.model.language_model(ids, soft, where)
        return out

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """Parameters by the checkpoint's names, with the bounds of the clipped linears."""
        out = dict(self.state_dict())
        for name in list(out):
            if name.endswith(".linear.weight"):
                for side in ("input", "output"):
                    stem = name.removesuffix("linear.weight") + side
                    out[f"{stem}_min"] = torch.tensor(-torch.inf)
                    out[f"{stem}_max"] = torch.tensor(torch.inf)
        return out

    def load_checkpoint(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take parameters by the checkpoint's names; those of another model raise."""
        bounds = ("_min", "_max")
        self.load_state_dict({k: v for k, v in tensors.items() if not k.endswith(bounds)})
