"""The network that a checkpoint's config.json describes: what memory and prompts follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.tasks.base import Ability

#: `model_type` of the two architectures: with towers for media, and with none.
TOWERED, UNIFIED = "gemma4", "gemma4_unified"

#: One layer in so many attends to the whole context, where the config lists no layers.
_FULL_EVERY = 6


@dataclass(frozen=True, slots=True)
class Shape:
    """A Gemma 4 by its numbers; `context` and `window` are in tokens.

    `full` says of each layer whether it attends to the whole context (else to `window`);
    the last `shared` layers use the cache of earlier ones. Layers of the two kinds have
    their own `kv_heads` and `head_dim` (`full_…`). `ple` is the size of the per-layer
    embeddings, 0 without; `experts` is 0 for a dense model. `towers` counts the
    parameters of the encoders of media, which every GPU holds whole.
    """

    unified: bool
    abilities: frozenset[Ability]
    context: int
    hidden: int
    intermediate: int
    full: tuple[bool, ...]
    shared: int
    wide_when_shared: bool
    heads: int
    kv_heads: int
    full_kv_heads: int
    head_dim: int
    full_head_dim: int
    key_is_value: bool
    window: int
    vocabulary: int
    ple: int
    ple_vocabulary: int
    experts: int
    experts_used: int
    expert_size: int
    towers: int

    @property
    def empty_thought(self) -> bool:
        """Whether prompts end with an empty thought block when thinking is off.

        The checkpoint's own template writes it; sizes with per-layer embeddings have none.
        """
        return self.ple == 0

    @property
    def embeddings(self) -> int:
        """Parameters of the embedding tables, which are looked up and seldom quantised."""
        return self.vocabulary * self.hidden + self.ple_vocabulary * len(self.full) * self.ple

    @property
    def linears(self) -> int:
        """Parameters of the decoder's matrices, all experts counted."""
        return self._linears(self.experts)

    @property
    def parameters(self) -> int:
        """All parameters, towers and embeddings with them; norms, under 0.1%, are left out."""
        return self.embeddings + self.linears + self.towers

    @property
    def active(self) -> int:
        """Parameters that a token is multiplied with: matrices, its experts, and the output."""
        return self._linears(self.experts_used) + self.vocabulary * self.hidden

    def cached(self, *, full: bool, tensor_parallel: int = 1) -> int:
        """Numbers (keys and values) that a token leaves in the cache of one GPU, over all layers
        of a kind that have a cache of their own."""
        layers = sum(kind == full for kind in self.full[: len(self.full) - self.shared])
        heads = self.full_kv_heads if full else self.kv_heads
        size = self.full_head_dim if full else self.head_dim
        return 2 * layers * max(1, heads // tensor_parallel) * size

    def splits(self, tensor_parallel: int) -> bool:
        """Whether so many GPUs can share a layer: heads are dealt out whole."""
        heads = (self.kv_heads, self.full_kv_heads)
        return self.heads % tensor_parallel == 0 and all(
            n % tensor_parallel == 0 or tensor_parallel % n == 0 for n in heads
        )

    def _linears(self, experts: int) -> int:
        own = len(self.full) - self.shared
        total = 2 * self.hidden * self.ple * len(self.full)
        total += self.hidden * len(self.full) * self.ple
        for number, full in enumerate(self.full):
            size = self.full_head_dim if full else self.head_dim
            total += 2 * self.hidden * self.heads * size
            if number < own:
                heads = self.full_kv_heads if full else self.kv_heads
                total += (1 if full and self.key_is_value else 2) * self.hidden * heads * size
            wide = 2 if number >= own and self.wide_when_shared else 1
            total += 3 * self.hidden * self.intermediate * wide
            total += 3 * self.hidden * self.expert_size * experts + self.hidden * self.experts
        return total


def read_shape(config: Mapping[str, Any]) -> Shape:
    """The network of a config.json of a Gemma 4, whatever name its checkpoint has.

    What it leaves out has transformers' defaults. Raises TypeError, ValueError,
    AttributeError or IndexError for values that are not what they should be.
    """
    text: Mapping[str, Any] = config.get("text_config") or {}
    layers = int(text.get("num_hidden_layers") or 30)
    kinds = text.get("layer_types") or [
        "sliding_attention" if (number + 1) % _FULL_EVERY else "full_attention"
        for number in range(layers)
    ]
    head_dim = int(text.get("head_dim") or 256)
    kv_heads = int(text.get("num_key_value_heads") or 4)
    key_is_value = bool(text.get("attention_k_eq_v"))
    # Of the full layers. Releases of transformers that save a fine-tune write what its
    # layers have of their own in place of these two.
    own = _first_override(text.get("per_layer_config") or {}, kinds)
    full_head_dim = own.get("head_dim") or text.get("global_head_dim") or 512
    full_kv_heads = own.get("num_key_value_heads")
    if full_kv_heads is None and key_is_value:
        full_kv_heads = text.get("num_global_key_value_heads")
    moe = bool(text.get("enable_moe_block"))
    vision, audio = config.get("vision_config"), config.get("audio_config")
    abilities: set[Ability] = set()
    if vision:
        abilities |= {"image", "video"}
    if audio:
        abilities.add("audio")
    hidden = int(text.get("hidden_size") or 2304)
    ple = int(text.get("hidden_size_per_layer_input", 256) or 0)
    return Shape(
        unified=config.get("model_type") == UNIFIED,
        abilities=frozenset(abilities),
        context=int(text.get("max_position_embeddings") or 131_072),
        hidden=hidden,
        intermediate=int(text.get("intermediate_size") or 9216),
        # The last layer is a full one whatever the list says.
        full=(*(kind == "full_attention" for kind in kinds[: layers - 1]), True),
        shared=int(text.get("num_kv_shared_layers") or 0),
        wide_when_shared=bool(text.get("use_double_wide_mlp")),
        heads=int(text.get("num_attention_heads") or 8),
        kv_heads=kv_heads,
        full_kv_heads=int(full_kv_heads or kv_heads),
        head_dim=head_dim,
        full_head_dim=int(full_head_dim),
        key_is_value=key_is_value,
        window=int(text.get("sliding_window") or 512),
        vocabulary=int(text.get("vocab_size") or 262_144),
        ple=ple,
        ple_vocabulary=int(text.get("vocab_size_per_layer_input") or 262_144) if ple else 0,
        experts=int(text.get("num_experts") or 0) if moe else 0,
        experts_used=int(text.get("top_k_experts") or 0) if moe else 0,
        expert_size=int(text.get("moe_intermediate_size") or 0) if moe else 0,
        towers=_vision(vision or {}, hidden) + _audio(audio or {}, hidden),
    )


def _first_override(layers: Mapping[str, Any], kinds: list[str]) -> Mapping[str, Any]:
    """What the first full layer has of its own; `layers` has numbers as text ("04")."""
    for number, own in layers.items():
        if kinds[int(number)] == "full_attention":
            return dict(own)
    return {}


def _vision(config: Mapping[str, Any], hidden: int) -> int:
    """Parameters of the vision tower and its projection; the unified model has a patch embedder."""
    patch = 3 * int(config.get("patch_size") or 16) ** 2
    if "mm_embed_dim" in config:
        width = int(config["mm_embed_dim"])
        pool = int(config.get("pooling_kernel_size") or 3) ** 2
        positions = 2 * int(config.get("mm_posemb_size") or 1120)
        return (patch * pool + positions + hidden) * width
    width = int(config.get("hidden_size") or 0)
    layers = int(config.get("num_hidden_layers") or 0)
    attention = (
        4 * width * int(config.get("num_attention_heads") or 0) * int(config.get("head_dim") or 64)
    )
    positions = 2 * int(config.get("position_embedding_size") or 0)
    mlp = 3 * width * int(config.get("intermediate_size") or 0)
    return layers * (attention + mlp) + (patch + positions + hidden) * width


def _audio(config: Mapping[str, Any], hidden: int) -> int:
    """Parameters of the audio tower (a conformer) and its projection."""
    if "audio_embed_dim" in config:
        return int(config["audio_embed_dim"]) * hidden
    width = int(config.get("hidden_size") or 0)
    layers = int(config.get("num_hidden_layers") or 0)
    # Two feed-forwards of four times the width (16), attention with relative keys (5),
    # a gated convolution (3); 1,024 features come from the convolutions below.
    output = int(config.get("output_proj_dims") or 0)
    return layers * 24 * width**2 + (1024 + output) * width + output * hidden
