"""What vLLM is started with: what was given, else what suits the device and the model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from jobs.models import folder_facts
from jobs.pieces import MOST_IMAGES, MOST_SOUNDS
from workers.cpu import cpu_arguments
from workers.engine import EngineOptions
from workers.fitting import Gpus, fit
from workers.prompts import Prompts

Device = Literal["cpu", "cuda"]

_log = logging.getLogger(__name__)

#: Arguments that suit batches on any device, where none are given.
ANYWHERE: dict[str, Any] = {
    "enable_prefix_caching": False,  # a row's media come first, so prompts share nothing
}
#: Options that are no arguments of vLLM's, or not to it.
OURS = ("renderer_num_workers", "together")
#: Media of one request.
_MEDIA_LIMIT = {"image": MOST_IMAGES, "video": 1, "audio": MOST_SOUNDS}


def cache_root() -> Path:
    """Where vLLM keeps what it compiled."""
    given = os.environ.get("VLLM_CACHE_ROOT")
    return Path(given) if given else Path.home() / ".cache" / "vllm"


def keep_kernels() -> None:
    """Have FlashAttention's kernels kept, which are compiled in 40 s on Hopper at every start else.

    For engines that this process starts, before their library is imported.
    """
    os.environ.setdefault("FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED", "1")
    kept = str(cache_root() / "flash_attention")
    os.environ.setdefault("FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", kept)


def engine_arguments(
    path: str,
    prompts: Prompts,
    options: EngineOptions,
    device: Device,
    *,
    gpus: Callable[[], Gpus],
    model: str | None = None,
) -> dict[str, Any]:
    """vLLM's engine arguments: what was given, else what suits the device.

    `model` is the name for messages, by default `path`; `gpus` tells those of this host, and
    a CPU's engine does not ask. Raises InvalidJob if the model does not fit them.
    """
    arguments: dict[str, Any] = {
        "model": path,
        **ANYWHERE,
        "mm_processor_cache_gb": 0,  # media are seldom seen twice; saves hashing them
        "disable_log_stats": True,
        "use_tqdm_on_load": _log.isEnabledFor(logging.DEBUG),
        # Left to itself a model can fill an answer with blanks between two braces. vLLM reads
        # the flag here alone, not on requests, and takes it with a backend that is named.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
    }
    limit = {kind: n for kind, n in _MEDIA_LIMIT.items() if kind in prompts.abilities}
    if device == "cpu":
        arguments |= cpu_arguments(prompts.context)
    else:
        fitted = fit(model or path, folder_facts(Path(path)), gpus(), options)
        if fitted.note is not None:
            _log.warning("%s", fitted.note, extra={"action": "engine_fitted"})
        arguments |= fitted.arguments
        limit["image"] = fitted.images
    arguments |= options.given
    for name in OURS:
        arguments.pop(name, None)
    arguments["limit_mm_per_prompt"] = limit | (options.limit_mm_per_prompt or {})
    return arguments
