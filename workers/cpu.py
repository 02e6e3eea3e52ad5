"""Engine arguments for a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: What suits batches on a CPU: a small cache, and steps of few seconds, since a step is
#: not interrupted (2048 tokens of images take the tiny model about 3 s on two cores).
_DEFAULTS: dict[str, Any] = {
    "max_model_len": 8192,
    "max_num_seqs": 64,
    "max_num_batched_tokens": 2048,
    "kv_cache_memory_bytes": 1 << 30,
    "enforce_eager": True,
    "skip_mm_profiling": True,
}


def cpu_arguments(context: int) -> dict[str, Any]:
    """vLLM's engine arguments for a model of this context (tokens), where none are given."""
    return _DEFAULTS | {
        "max_model_len": min(_DEFAULTS["max_model_len"], context),
        "dtype": "bfloat16" if _has_bfloat16() else "float32",
    }


def _has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16; one that does not takes four times as long in it."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except FileNotFoundError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
