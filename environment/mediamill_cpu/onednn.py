"""A vLLM plug-in: oneDNN's linear on the CPU takes contiguous input only.

vLLM 0.32 hands it what the layer was given, and Gemma 4's audio tower gives strided
views ("Expected a.stride(-1) == 1"). vLLM loads the entry point in each of its processes.
"""

from functools import wraps
from typing import Any


def register() -> None:
    """Make the input of vLLM's oneDNN linear contiguous; does nothing on other platforms."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm import _custom_ops as ops

    linear = ops.onednn_mm
    if getattr(linear, "_contiguous", False):
        return

    @wraps(linear)
    def contiguous(handler: Any, x: Any, bias: Any) -> Any:
        return linear(handler, x.contiguous(), bias)

    contiguous._contiguous = True  # type: ignore[attr-defined]
    ops.onednn_mm = contiguous
