"""Small parts that all towers are made of."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from models.tiny import architecture as arch

#: Standard deviation of fresh weights; projections that end a residual branch are
#: normalised afterwards, so that one number serves all.
INIT_STD = 0.02


class Linear(nn.Linear):
    """A linear map without bias, freshly normal."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        nn.init.normal_(self.weight, std=max(INIT_STD, 0.5 * inputs**-0.5))


class Clipped(nn.Module):
    """Gemma 4's clipped linear, its bounds infinite: `linear` under its checkpoint name."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., inputs] to [..., outputs]."""
        out: torch.Tensor = self.linear(x)
        return out


class Norm(nn.Module):
    """RMS norm with a learned scale, in float32."""

    def __init__(self, width: int, start: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), start))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape and type as `x`."""
        return (rms(x.float()) * self.weight.float()).type_as(x)


def rms(x: torch.Tensor) -> torch.Tensor:
    """Root-mean-square norm over the last axis, in float32, without a scale."""
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + arch.EPS)).type_as(x)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding: halves of the last axis are the pairs."""
    first, second = x.chunk(2, -1)
    turned: torch.Tensor = x * cos + torch.cat((-second, first), -1) * sin
    return turned.type_as(x)


class GatedMLP(nn.Module):
    """Gemma's MLP: down(gelu(gate(x)) * up(x)), of plain or clipped linears."""

    def __init__(self, width: int, inner: int, kind: type[Linear] | type[Clipped]) -> None:
        super().__init__()
        self.gate_proj = kind(width, inner)
        self.up_proj = kind(width, inner)
        self.down_proj = kind(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., width] to [..., width]."""
        out: torch.Tensor = self.down_proj(
            F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x)
        )
        return out
