"""Muon: matrices move by their gradient's momentum with all its singular values made one.

After Jordan et al. (2024), with the scale of Liu et al. (2025), at which AdamW's learning
rates hold; matrices of one shape are orthogonalised together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn

#: Of the quintic iteration, as published.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5
#: Root mean square of AdamW's usual step at a rate of 1.
_SCALE = 0.2


class Muon(torch.optim.Optimizer):
    """For weights of two axes; others need another optimizer."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for matrix in matrices:
            shapes[matrix.shape].append(matrix)
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([{"params": alike} for alike in shapes.values()], defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step; matrices without a gradient must not be among them."""
        del closure
        for group in self.param_groups:
            matrices = group["params"]
            state = self.state[matrices[0]]
            slopes = torch.stack([matrix.grad for matrix in matrices])
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(slopes)
            past = state["momentum"]
            past.lerp_(slopes, 1 - group["momentum"])
            moves = orthogonal(slopes.lerp_(past, group["momentum"]))
            scale = _SCALE * max(matrices[0].shape) ** 0.5
            torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(matrices, moves.unbind(), alpha=-group["lr"] * scale)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """[n, rows, columns] with singular values near one, by Newton and Schulz's iteration."""
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    return (x if wide else x.mT).to(matrices.dtype)
