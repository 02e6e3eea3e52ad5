"""The vision tower quickened, and without padding, against transformers' own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.models.gemma4 import modeling_gemma4 as modeling
from transformers.models.gemma4.configuration_gemma4 import Gemma4VisionConfig

from workers.towers import quicken, without_padding

WIDE, HIGH, BUDGET = 9, 6, 12


@pytest.fixture
def tower(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A small one with random weights; what a test replaces in its module is put back."""
    monkeypatch.setattr(modeling.Gemma4RMSNorm, "forward", modeling.Gemma4RMSNorm.forward)
    monkeypatch.setattr(
        modeling, "apply_multidimensional_rope", modeling.apply_multidimensional_rope
    )
    torch.manual_seed(3)
    config = Gemma4VisionConfig(
        hidden_size=64,
        intermediate_size=96,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        num_hidden_layers=3,
        default_output_length=BUDGET,
        position_embedding_size=32,
    )
    config._attn_implementation = "sdpa"
    model = modeling.Gemma4VisionModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def picture(dtype: torch.dtype) -> tuple[Any, Any]:
    """Patches of a picture and where they are, padded to the budget."""
    real = WIDE * HIGH
    values = torch.zeros(BUDGET * 9, 3 * 16 * 16)
    values[:real] = torch.rand(real, 3 * 16 * 16)
    positions = torch.full((BUDGET * 9, 2), -1)
    positions[:real] = torch.tensor([(x, y) for y in range(HIGH) for x in range(WIDE)])
    return values.to(dtype), positions


def request(values: Any, positions: Any) -> dict[str, Any]:
    """As a renderer makes it."""
    fields = {"pixel_values": values, "pixel_position_ids": positions}
    item = {name: SimpleNamespace(data=data) for name, data in fields.items()}
    return {"mm_kwargs": {"image": [None, item]}}


def encode(tower: Any, values: Any, positions: Any) -> Any:
    """Tokens of the picture, by the steps in which vLLM has them made."""
    values, positions = values[None], positions[None]
    padding = (positions == -1).all(-1)
    embedded = tower.patch_embedder(values, positions, padding)
    encoded = tower.encoder(
        inputs_embeds=embedded, attention_mask=~padding, pixel_position_ids=positions
    )
    pooled, valid = tower.pooler(
        hidden_states=encoded.last_hidden_state,
        pixel_position_ids=positions,
        padding_positions=padding,
        output_length=values.shape[1] // 9,
    )
    return pooled[valid].float()


@pytest.mark.parametrize(
    ("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)], ids=["float32", "bfloat16"]
)
@torch.no_grad()
def test_it_gives_what_transformers_gives(tower: Any, dtype: torch.dtype, off: float) -> None:
    tower = tower.to(dtype)
    values, positions = picture(dtype)
    expected = encode(tower, values, positions)
    quicken()
    prepared = request(values, positions)
    without_padding(prepared)
    item = prepared["mm_kwargs"]["image"][1]
    found = encode(tower, item["pixel_values"].data, item["pixel_position_ids"].data)
    assert item["pixel_values"].data.shape[0] == WIDE * HIGH
    assert found.shape == expected.shape == (WIDE * HIGH // 9, 64)
    assert (found - expected).norm() <= off * expected.norm()


@torch.no_grad()
def test_quickened_alone_it_gives_the_same_as_well(tower: Any) -> None:
    values, positions = picture(torch.float32)
    expected = encode(tower, values, positions)
    quicken()
    quicken()
    assert modeling.Gemma4RMSNorm.forward.__module__ == "workers.towers"
    assert modeling.apply_multidimensional_rope.__module__ == "workers.towers"
    torch.testing.assert_close(encode(tower, values, positions), expected)


def test_a_request_without_pictures_is_left_alone() -> None:
    for prepared in ({}, {"mm_kwargs": {"audio": [{}]}}):
        without_padding(prepared)


def test_what_another_release_does_otherwise_is_left_to_it(
    tower: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def another(self: Any, hidden_states: Any) -> Any:
        return hidden_states * (1 + self.weight)

    monkeypatch.setattr(modeling.Gemma4RMSNorm, "forward", another)
    monkeypatch.delattr(modeling, "apply_multidimensional_rope")
    quicken()
    assert modeling.Gemma4RMSNorm.forward is another
    assert not hasattr(modeling, "apply_multidimensional_rope")
    assert [record.args for record in caplog.records] == [
        ("forward",),
        ("apply_multidimensional_rope",),
    ]
