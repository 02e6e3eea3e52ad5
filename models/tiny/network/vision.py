"""The vision tower: patches of 16 pixels with 2-D positions, pooled 3 by 3."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from models.tiny import architecture as arch
from models.tiny.network.parts import Clipped, GatedMLP, Linear, Norm, rms, rotate

_HEAD = arch.VISION_HIDDEN // arch.VISION_HEADS
_POOL = arch.POOLING**2


class VisionTower(nn.Module):
    """[n, tokens * 9, 768] patches in 0 to 1 to [n, tokens, vision hidden] features."""

    inverse: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedder = _PatchEmbedder()
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(_Layer() for _ in range(arch.VISION_LAYERS))
        axis = _HEAD // 2
        steps = torch.arange(0, axis, 2) / axis
        self.register_buffer("inverse", arch.VISION_ROPE_THETA**-steps, persistent=False)

    def forward(self, patches: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        """`grid` [n, 2]: width and height in soft tokens, at most `tokens` together."""
        positions, valid = places(patches.shape[1], grid)
        x = self.patch_embedder(patches, positions) * valid[..., None]
        angles = positions[..., None].float() * self.inverse
        horizontal, vertical = angles[:, :, 0], angles[:, :, 1]
        turns = torch.cat((horizontal, horizontal, vertical, vertical), -1).flatten(0, 1)[:, None]
        mask = valid[:, None, None, :]
        cos, sin = turns.cos(), turns.sin()
        count = patches.shape[1]
        x = x.flatten(0, 1)
        for layer in self.encoder.layers:
            parts = layer.read(x, cos, sin)
            q, k, v = (part.unflatten(0, (-1, count)).transpose(1, 2) for part in parts)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
            x = layer.go_on(x, y.transpose(1, 2).flatten(2).flatten(0, 1))
        pooled = x.unflatten(0, (-1, count // _POOL, _POOL)).float().mean(2)
        return pooled * arch.VISION_HIDDEN**0.5


def places(patches: int, grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions [n, patches, 2] as (x, y) in patches, 0 for padding, and which are valid."""
    index = torch.arange(patches, device=grid.device)
    token, inner = index // _POOL, index % _POOL
    width, height = grid[:, :1], grid[:, 1:]
    x = (token % width) * arch.POOLING + inner % arch.POOLING
    y = torch.div(token, width, rounding_mode="floor") * arch.POOLING + inner // arch.POOLING
    valid = token < width * height
    return torch.stack((x, y), -1) * valid[..., None], valid


class _PatchEmbedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_proj = Linear(3 * arch.PATCH**2, arch.VISION_HIDDEN)
        table = torch.randn(2, arch.POSITIONS, arch.VISION_HIDDEN) * 0.02
        self.position_embedding_table = nn.Parameter(table)

    def forward(self, patches: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        x = self.input_proj(2 * (patches - 0.5))
        table = self.position_embedding_table
        out: torch.Tensor = (
            x + F.embedding(positions[..., 0], table[0]) + F.embedding(positions[..., 1], table[1])
        )
        return out


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = arch.VISION_HIDDEN
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, Clipped(width, width))
        # Scores are not scaled by the head's size: the norms' start does it.
        self.q_norm = Norm(_HEAD, _HEAD**-0.25)
        self.k_norm = Norm(_HEAD, _HEAD**-0.25)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        shape = (len(x), arch.VISION_HEADS, _HEAD)
        q = _turn(self.q_norm(self.q_proj(x).view(shape)), cos, sin)
        k = _turn(self.k_norm(self.k_proj(x).view(shape)), cos, sin)
        return q, k, rms(self.v_proj(x).view(shape))


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = _HEAD // 2
    parts = (
        rotate(x[..., :half], cos[..., :half], sin[..., :half]),
        rotate(x[..., half:], cos[..., half:], sin[..., half:]),
    )
    return torch.cat(parts, -1)


class _Layer(nn.Module):
    """What a layer does to each patch by itself, before and after attention.

    Patches of all pictures stand in one axis, so that compiled code serves every budget.
    """

    def __init__(self) -> None:
        super().__init__()
        width = arch.VISION_HIDDEN
        self.self_attn = _Attention()
        self.mlp = GatedMLP(width, arch.VISION_MLP, Clipped)
        self.input_layernorm = Norm(width)
        self.post_attention_layernorm = Norm(width)
        self.pre_feedforward_layernorm = Norm(width)
        self.post_feedforward_layernorm = Norm(width)

    def read(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, all [patches, heads, head]."""
        out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self.self_attn(
            self.input_layernorm(x), cos, sin
        )
        return out

    def go_on(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The layer's output, `y` being what attention gave."""
        x = x + self.post_attention_layernorm(self.self_attn.o_proj(y))
        y = self.mlp(self.pre_feedforward_layernorm(x))
        out: torch.Tensor = x + self.post_feedforward_layernorm(y)
        return out
