"""What transformers does to media, in less time and with the same outcome.

vLLM runs its towers operation by operation and not as graphs: on an H200 a picture took 12 ms of
the GPU, more than its answer's share of all steps (`benchmarks.steps`). Norms went over the data
eight times each, and attention looked at padding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

_log = logging.getLogger(__name__)

#: Patches of padding have this position in both directions.
_NOWHERE = -1
#: Tensors that have a row for each patch, and in front of it a film's frames; positions last.
_PATCHES = {
    "image": ("pixel_values", "pixel_position_ids"),
    "video": ("pixel_values_videos", "pixel_position_ids_videos"),
}


def quicken() -> None:
    """Have norms take one pass in place of eight, and rotations five in place of eleven.

    For this process, and for engines that it starts after that. What comes out is the same to
    within a rounding of the last place, which is tried before anything is replaced.
    """
    import torch
    from transformers.models.gemma4 import modeling_gemma4 as modeling

    some = torch.linspace(-3, 3, 48).reshape(1, 2, 3, 8)
    places = torch.zeros(1, 2, 2)

    def normed(norm: Any) -> Any:
        module = modeling.Gemma4RMSNorm(8)
        module.weight.data = some[0, 0, 0] + 5
        return norm(module, some)

    def rotated(rotate: Any) -> Any:
        return rotate(some, some[:, :, 0] / 2, some[:, :, 1] / 3, places)

    _replace(modeling.Gemma4RMSNorm, "forward", _norm, normed)
    _replace(modeling, "apply_multidimensional_rope", _rotated, rotated)


def _replace(owner: Any, name: str, quick: Any, probe: Callable[[Any], Any]) -> None:
    """Put `quick` in the place of what transformers has by that name, if both do the same."""
    from torch import allclose, no_grad

    usual = getattr(owner, name, None)
    try:
        with no_grad():
            same = allclose(probe(usual), probe(quick), rtol=1e-5, atol=1e-6)
    except Exception:  # of another release, which may want or have whatever
        same = False
    if same:
        setattr(owner, name, quick)
    else:
        _log.warning(
            "transformers' %s is not as it was: it stays, and is slower",
            name,
            extra={"action": "quicken"},
        )


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


@cache
def _signs(directions: int, half: int, dtype: Any, device: Any) -> Any:
    import torch

    sign = torch.tensor([-1.0, 1.0]).repeat_interleave(half).repeat(directions)
    return sign.to(device=device, dtype=dtype)


def without_padding(prepared: Mapping[str, Any]) -> None:
    """Leave from images and films of a request, as vLLM's renderer made it, what is no padding.

    All are padded to their budget's size there. Where nothing is, attention needs no mask and
    takes its fastest kernel; what a patch sees is the same. Films of unlike sizes must not meet
    in a step afterwards (`workers.vllm_engine.keep_sizes_apart`).
    """
    for kind, names in _PATCHES.items():
        for item in prepared.get("mm_kwargs", {}).get(kind, ()):
            if item is None:  # seen before, and kept by the engine
                continue
            positions = item[names[-1]].data
            # Frames of a film have one size.
            count = int((positions != _NOWHERE).any(-1).sum(-1).max())
            for name in names:
                item[name].data = item[name].data[..., :count, :].contiguous()
