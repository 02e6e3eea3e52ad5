"""See that the environment can run Gemma 4 at all; ends with 1 and says what is wrong."""

from __future__ import annotations

import importlib
import os
import sys

#: What a Gemma 4 on vLLM imports, in the order in which it breaks.
MODULES = (
    "torch",
    "torchvision",
    "transformers.models.gemma4.modeling_gemma4",
    "transformers.models.gemma4.processing_gemma4",
    "vllm.model_executor.models.gemma4_mm",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.llm_engine",
    "vllm.v1.worker.cpu_worker",
)


def main() -> int:
    """Import each module; returns the exit code."""
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    for module in MODULES:
        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:
            return _broken(module, str(error))
    return _kernels()


def _kernels() -> int:
    """Load the kernels for this processor: vLLM has them once for each set of instructions.

    Returns the exit code.
    """
    import torch
    from vllm.platforms import current_platform

    current_platform.import_kernels()
    # What does not load is only logged there.
    if hasattr(torch.ops._C, "rms_norm"):
        return 0
    return _broken("the compiled part of vllm", "see the warning above")


def _broken(what: str, why: str) -> int:
    print(f"environment: {what} does not load: {why}", file=sys.stderr)
    print("environment: remove .venv and run make env again", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
