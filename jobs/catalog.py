"""The published Gemma 4: sizes by the numbers of their configs, and checkpoints by name.

What a checkpoint at hand can do is read from its own config (`jobs.shape`); this table
stands in where there is none, and names what else there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from jobs.shape import TOWERED, UNIFIED, Shape, read_shape

Format = Literal["bf16", "fp8", "w4a16"]

#: Bytes of a parameter in the decoder's matrices. Four bits have a scale for every 32.
_MATRIX_BYTES: dict[str, float] = {"bf16": 2.0, "fp8": 1.0, "w4a16": 0.5625}
#: The same for formats that are not known here, which are of eight bits or fewer.
_OTHER_MATRIX_BYTES = 1.0
#: Bytes of a parameter in embeddings and towers, which these formats leave as they are.
_PLAIN_BYTES = 2


@dataclass(frozen=True, slots=True)
class Facts:
    """A checkpoint's network, the format of its weights, and the bytes that they take in all.

    `format` is one of `Format`, or the method that another quantised checkpoint names.
    """

    shape: Shape
    format: str
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint on the hub: its size ("E2B") and the format of its weights.

    `tuned` checkpoints follow instructions and have a chat template; base ones have none.
    """

    name: str
    size: str
    format: Format = "bf16"
    tuned: bool = True

    @property
    def facts(self) -> Facts:
        """What its size and format say, with no file at hand."""
        shape = size_shape(self.size)
        return Facts(shape, self.format, weight_bytes(shape, self.format))


SIZES: tuple[str, ...] = ("E2B", "E4B", "12B", "26B-A4B", "31B")

#: What mediamill runs: Google's instruction-tuned sizes, and quantised ones that vLLM loads.
KNOWN: tuple[Published, ...] = (
    *(Published(f"google/gemma-4-{size}-it", size) for size in SIZES),
    *(
        Published(f"google/gemma-4-{size}-it-qat-w4a16-ct", size, "w4a16")
        for size in ("E2B", "E4B", "12B", "31B")
    ),
    *(
        Published(f"RedHatAI/gemma-4-{size}-it-FP8-dynamic", size, "fp8")
        for size in ("E4B", "26B-A4B", "31B")
    ),
)

#: They complete text and were never taught to answer: for `prompt_format=raw` alone.
BASE: tuple[Published, ...] = tuple(
    Published(f"google/gemma-4-{size}", size, tuned=False) for size in SIZES
)


def published(name: str) -> Published | None:
    """The checkpoint of this Hugging Face id, in any case of letters; None if it is not known."""
    wanted = name.lower()
    return next((known for known in (*KNOWN, *BASE) if known.name.lower() == wanted), None)


def tuned_sibling(size: str) -> str:
    """Google's instruction-tuned checkpoint of a size."""
    return next(known.name for known in KNOWN if known.size == size)


def hearing() -> list[str]:
    """The published instruction-tuned sizes that take audio."""
    return [
        known.name
        for known in KNOWN
        if known.format == "bf16" and "audio" in known.facts.shape.abilities
    ]


def size_of(shape: Shape) -> str | None:
    """The published size with this network; None for a network that is none of them."""

    def numbers(one: Shape) -> tuple[int, ...]:
        return one.hidden, one.intermediate, len(one.full), one.experts, one.ple

    return next((size for size in SIZES if numbers(size_shape(size)) == numbers(shape)), None)


def weight_bytes(shape: Shape, weights: str) -> int:
    """About how many bytes the weights of such a network take in a format."""
    matrix = _MATRIX_BYTES.get(weights, _OTHER_MATRIX_BYTES)
    return round((shape.embeddings + shape.towers) * _PLAIN_BYTES + shape.linears * matrix)


def format_of(config: Mapping[str, Any]) -> str:
    """The format of a checkpoint's weights as its config.json tells: "bf16", "fp8", "w4a16",
    or the name of another method."""
    quantised = config.get("quantization_config")
    if not isinstance(quantised, dict):
        return "bf16"
    groups = quantised.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    kind = (weights.get("type"), weights.get("num_bits")) if isinstance(weights, dict) else None
    if kind == ("float", 8):
        return "fp8"
    if kind == ("int", 4):
        return "w4a16"
    return str(quantised.get("quant_method") or "quantised")


@cache
def size_shape(size: str) -> Shape:
    """The network of a published size. Raises KeyError for one that is none."""
    return read_shape(published_config(size))


def published_config(size: str) -> dict[str, Any]:
    """As much of a size's config.json as says what its network is. Raises KeyError."""
    return {"model_type": TOWERED} | _CONFIGS[size]


def _layers(number: int, full_every: int) -> list[str]:
    return [
        "sliding_attention" if (layer + 1) % full_every else "full_attention"
        for layer in range(number)
    ]


_EDGE_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 16,
    "num_attention_heads": 12,
    "head_dim": 64,
    "position_embedding_size": 10_240,
}
_LARGE_VISION = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "head_dim": 72,
    "position_embedding_size": 10_240,
}
_AUDIO = {"hidden_size": 1024, "num_hidden_layers": 12, "output_proj_dims": 1536}
#: What the sizes without per-layer embeddings have in common.
_LARGE = {
    "hidden_size_per_layer_input": 0,
    "attention_k_eq_v": True,
    "sliding_window": 1024,
    "max_position_embeddings": 262_144,
}

#: As in the checkpoints' config.json, where the default of transformers would not do.
_CONFIGS: dict[str, dict[str, Any]] = {
    "E2B": {
        "text_config": {
            "hidden_size": 1536,
            "intermediate_size": 6144,
            "num_hidden_layers": 35,
            "layer_types": _layers(35, 5),
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "num_kv_shared_layers": 20,
            "use_double_wide_mlp": True,
            "hidden_size_per_layer_input": 256,
        },
        "vision_config": _EDGE_VISION,
        "audio_config": _AUDIO,
    },
    "E4B": {
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 10_240,
            "num_hidden_layers": 42,
            "layer_types": _layers(42, 6),
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "num_kv_shared_layers": 18,
            "hidden_size_per_layer_input": 256,
        },
        "vision_config": _EDGE_VISION,
        "audio_config": _AUDIO,
    },
    "12B": {
        "model_type": UNIFIED,
        "text_config": {
            **_LARGE,
            "hidden_size": 3840,
            "intermediate_size": 15_360,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "num_global_key_value_heads": 1,
        },
        "vision_config": {"mm_embed_dim": 3840, "mm_posemb_size": 1120},
        "audio_config": {"audio_embed_dim": 640},
    },
    "26B-A4B": {
        "text_config": {
            **_LARGE,
            "hidden_size": 2816,
            "intermediate_size": 2112,
            "num_hidden_layers": 30,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "num_global_key_value_heads": 2,
            "enable_moe_block": True,
            "num_experts": 128,
            "top_k_experts": 8,
            "moe_intermediate_size": 704,
        },
        "vision_config": _LARGE_VISION,
    },
    "31B": {
        "text_config": {
            **_LARGE,
            "hidden_size": 5376,
            "intermediate_size": 21_504,
            "num_hidden_layers": 60,
            "num_attention_heads": 32,
            "num_key_value_heads": 16,
            "num_global_key_value_heads": 4,
        },
        "vision_config": _LARGE_VISION,
    },
}
