"""What transformers does to media, in less time and with the same outcome.

vLLM runs its towers operation by operation and not as graphs: on an H200 a picture took 12 ms of
the GPU, more than its answer's share of all steps (`benchmarks.steps`). Norms went over the data
eight times each, and attention looked at padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, wraps
from typing import Any

#: Patches of padding have this position in both directions.
_NOWHERE = -1
#: Tensors that have a row for each patch, and in front of it a film's frames; positions last.
_PATCHES = {
    "image": ("pixel_values", "pixel_position_ids"),
    "video": ("pixel_values_videos", "pixel_position_ids_videos"),
}


def quicken() -> None:
    """Have norms take one pass in place of eight, rotations five in place of eleven, and the
    processor's check of its tokens microseconds in place of 6 ms.

    For this process, and for engines that it starts after that. What comes out is the same to
    within a rounding of the last place. May be called again.
    """
    from transformers.models.gemma4 import modeling_gemma4 as modeling
    from transformers.processing_utils import ProcessorMixin

    modeling.Gemma4RMSNorm.forward = _norm
    modeling.apply_multidimensional_rope = _rotated
    check = ProcessorMixin._check_special_mm_tokens
    ProcessorMixin._check_special_mm_tokens = _checked(getattr(check, "__wrapped__", check))


def _norm(self: Any, hidden_states: Any) -> Any:
    """transformers' Gemma4RMSNorm: in float32 whatever it is given, rounded once at the end."""
    from torch.nn.functional import rms_norm

    weight = self.weight if self.with_scale else None
    if weight is not None and weight.dtype != hidden_states.dtype:
        whole = rms_norm(hidden_states.float(), hidden_states.shape[-1:], weight.float(), self.eps)
        return whole.type_as(hidden_states)
    return rms_norm(hidden_states, hidden_states.shape[-1:], weight, self.eps)


def _rotated(x: Any, cos: Any, sin: Any, position_ids: Any, unsqueeze_dim: int = 2) -> Any:
    """transformers' apply_multidimensional_rope, for all directions at once.

    `x` is (batch, patches, heads, channels), `cos` and `sin` (batch, patches, channels); each
    direction has its share of the channels, of which one half turns with the other.
    """
    directions = position_ids.shape[-1]
    half = x.shape[-1] // (2 * directions)
    turned = x.unflatten(-1, (directions, 2, half)).flip(-2).flatten(-3)
    sin = sin * _signs(directions, half, sin.dtype, sin.device)
    return x * cos.unsqueeze(unsqueeze_dim) + turned * sin.unsqueeze(unsqueeze_dim)


def _checked(check: Any) -> Any:
    """transformers' check that no placeholder was cut off, which counts in a tensor's elements."""

    @wraps(check)
    def quick(self: Any, text: Any, text_inputs: Any, modalities: Any) -> None:
        ids = text_inputs["input_ids"]
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        check(self, text, {"input_ids": ids}, modalities)

    return quick


@cache
def _signs(directions: int, half: int, dtype: Any, device: Any) -> Any:
    import torch

    sign = torch.tensor([-1.0, 1.0]).repeat_interleave(half).repeat(directions)
    return sign.to(device=device, dtype=dtype)


def without_padding(prepared: Mapping[str, Any]) -> None:
    """Leave from images and films of a request, as vLLM's renderer made it, what is no padding.

    All are padded to their budget's size there. Where nothing is, attention needs no mask and
    takes its fastest kernel; what a patch sees is the same. Films of unlike sizes are not to meet
    in a step afterwards.
    """
    for kind, names in _PATCHES.items():
        for item in prepared.get("mm_kwargs", {}).get(kind, ()):
            if item is None:  # seen before, and kept by the engine
                continue
            _, positions = (item[name].data for name in names)
            # Frames of a film have one size.
            count = int((positions != _NOWHERE).any(-1).sum(-1).max())
            for name in names:
                item[name].data = item[name].data[..., :count, :].contiguous()
