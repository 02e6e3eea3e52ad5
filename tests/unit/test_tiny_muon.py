"""Muon: steps whose singular values are near one, whatever the gradient's size."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from models.tiny.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 16, 48), (2, 48, 16), (1, 32, 32)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape) * torch.tensor([1e-4, 1.0, 1e4])[: shape[0], None, None]
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.3
    # Directions stay: what was orthogonal already is not turned.
    kept = torch.linalg.qr(torch.randn(32, 32)).Q[None]
    cosine = nn.functional.cosine_similarity(orthogonal(kept).flatten(), kept.flatten(), dim=0)
    assert cosine > 0.99


def test_matrices_of_one_shape_go_each_their_own_way() -> None:
    torch.manual_seed(1)
    goals = [torch.randn(8, 12), torch.randn(8, 12), torch.randn(12, 6)]
    matrices = [nn.Parameter(torch.zeros_like(goal)) for goal in goals]
    optimizer = Muon(matrices, 0.05)
    before = None
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 300)
        pairs = zip(matrices, goals, strict=True)
        loss = torch.stack([(matrix - goal).square().sum() for matrix, goal in pairs]).sum()
        before = before or loss.item()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    assert loss.item() < 0.02 * before


def test_moments_are_kept_with_a_state() -> None:
    torch.manual_seed(2)
    slope = torch.randn(4, 6)

    def stepped(optimizer: Muon, matrix: nn.Parameter) -> torch.Tensor:
        matrix.grad = slope.clone()
        optimizer.step()
        return matrix.detach().clone()

    first = nn.Parameter(torch.zeros(4, 6))
    optimizer = Muon([first], 0.1)
    stepped(optimizer, first)
    second = nn.Parameter(first.detach().clone())
    resumed = Muon([second], 0.1)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    slope = torch.randn(4, 6)
    torch.testing.assert_close(stepped(resumed, second), stepped(optimizer, first))
