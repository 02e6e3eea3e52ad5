"""The table of published models, against the numbers that were published for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.catalog import (
    KNOWN,
    SIZES,
    format_of,
    hearing,
    published,
    published_config,
    size_of,
    size_shape,
    tuned_sibling,
    weight_bytes,
)
from jobs.shape import Shape, read_shape
from jobs.tasks.base import IMAGE_BUDGETS

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny" / "checkpoint"

#: Billions of parameters, all and those that a token meets; context; audio; empty thought.
PUBLISHED = {
    "E2B": (5.10, 2.3, 131_072, True, False),
    "E4B": (7.94, 4.5, 131_072, True, False),
    "12B": (11.95, 11.9, 262_144, True, True),
    "26B-A4B": (25.81, 3.8, 262_144, False, True),
    "31B": (31.27, 30.7, 262_144, False, True),
}


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_what_was_published(size: str) -> None:
    parameters, active, context, hears, empty = PUBLISHED[size]
    shape = size_shape(size)
    assert shape.parameters / 1e9 == pytest.approx(parameters, rel=0.002)
    assert shape.active / 1e9 == pytest.approx(active, rel=0.04)
    assert (shape.context, shape.empty_thought) == (context, empty)
    assert shape.abilities == {"image", "video"} | ({"audio"} if hears else set())
    assert (shape.unified, size_of(shape)) == (size == "12B", size)


def test_parameters_that_follow_from_a_config_are_those_in_the_files() -> None:
    from jobs.digest import parameters_in

    shape = read_shape(json.loads((TINY / "config.json").read_text()))
    assert shape.parameters == pytest.approx(parameters_in(TINY), rel=0.01)
    assert (shape.abilities, shape.empty_thought) == ({"image", "video", "audio"}, False)
    assert size_of(shape) is None


def test_the_cache_of_a_token_is_that_of_the_layers_with_their_own() -> None:
    """E2B: 35 layers of which 15 have a cache, every fifth a full one of 512 instead of 256."""
    shape = size_shape("E2B")
    assert shape.cached(full=True) == 3 * 2 * 512
    assert shape.cached(full=False) == 12 * 2 * 256
    large = size_shape("31B")
    assert large.cached(full=True) == 10 * 2 * 4 * 512
    assert large.cached(full=False, tensor_parallel=2) == 50 * 2 * 8 * 256
    assert large.cached(full=True, tensor_parallel=8) == 10 * 2 * 512, "a head is not cut"


@pytest.mark.parametrize(("size", "most"), list(zip(SIZES, (8, 8, 16, 16, 32), strict=True)))
def test_heads_are_dealt_out_whole(size: str, most: int) -> None:
    shape = size_shape(size)
    powers = (1, 2, 4, 8, 16, 32)
    assert [n for n in powers if shape.splits(n)] == [n for n in powers if n <= most]
    assert not shape.splits(3)


@pytest.mark.parametrize("size", SIZES)
def test_a_fine_tune_that_transformers_saved_reads_as_what_it_was(size: str) -> None:
    from transformers import Gemma4Config, Gemma4UnifiedConfig

    kind = Gemma4UnifiedConfig if size_shape(size).unified else Gemma4Config
    saved = kind(**published_config(size)).to_dict()
    assert "global_head_dim" not in saved["text_config"], "layers have it of their own"
    assert read_shape(json.loads(json.dumps(saved))) == size_shape(size)


def test_layers_of_their_own_size_are_read_from_a_saved_fine_tune() -> None:
    """Sizes that no default stands in for: heads of 128, and two of them in full layers."""
    from transformers import Gemma4Config

    config = json.loads((TINY / "config.json").read_text())
    config["text_config"] |= {"attention_k_eq_v": True, "num_global_key_value_heads": 2}
    saved = json.loads(json.dumps(Gemma4Config(**config).to_dict()))
    shape = read_shape(saved)
    assert shape == read_shape(config)
    assert (shape.full_head_dim, shape.full_kv_heads, shape.kv_heads) == (128, 2, 1)


def test_a_config_that_leaves_things_out_has_transformers_defaults() -> None:
    from transformers import Gemma4Config

    saved = Gemma4Config().to_dict()
    assert read_shape(json.loads(json.dumps(saved))) == read_shape({"model_type": "gemma4"})


def test_quantised_checkpoints_are_known_and_smaller() -> None:
    names = {known.name for known in KNOWN}
    assert {
        "google/gemma-4-12B-it-qat-w4a16-ct",
        "RedHatAI/gemma-4-26B-A4B-it-FP8-dynamic",
    } <= names
    for known in KNOWN:
        plain = published(tuned_sibling(known.size))
        assert plain is not None
        assert known.facts.shape == plain.facts.shape
        if known.format != "bf16":
            assert 0.25 < known.facts.weight_bytes / plain.facts.weight_bytes < 0.85
    assert weight_bytes(size_shape("31B"), "bf16") == pytest.approx(62.5e9, rel=0.01)
    # 16.9 GiB on each of two GPUs were seen in vLLM, with what it adds.
    assert weight_bytes(size_shape("31B"), "fp8") == pytest.approx(2 * 16.9 * 2**30, rel=0.1)


def test_names_are_found_in_any_case() -> None:
    found = published("redhatai/GEMMA-4-31B-it-fp8-dynamic")
    assert found is not None
    assert (found.size, found.tuned) == ("31B", True)
    base = published("google/gemma-4-E2B")
    assert base is not None
    assert (base.tuned, tuned_sibling(base.size)) == (False, "google/gemma-4-E2B-it")
    assert published("o/model") is None
    assert hearing() == [f"google/gemma-4-{size}-it" for size in ("E2B", "E4B", "12B")]
    assert IMAGE_BUDGETS == (70, 140, 280, 560, 1120)


@pytest.mark.parametrize(
    ("quantised", "name"),
    [
        (None, "bf16"),
        ({"config_groups": {"g": {"weights": {"type": "float", "num_bits": 8}}}}, "fp8"),
        ({"config_groups": {"g": {"weights": {"type": "int", "num_bits": 4}}}}, "w4a16"),
        ({"config_groups": {"g": {"weights": None}}, "quant_method": "x"}, "x"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({}, "quantised"),
    ],
)
def test_the_format_is_read_from_the_config(quantised: Any, name: str) -> None:
    assert format_of({"quantization_config": quantised}) == name


def test_an_unknown_format_is_taken_for_eight_bits() -> None:
    shape: Shape = read_shape(published_config("12B"))
    assert weight_bytes(shape, "gptq") == weight_bytes(shape, "fp8")
