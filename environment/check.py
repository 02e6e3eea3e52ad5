"""See that the environment can run Gemma 4 at all; ends with 1 and says what is wrong."""

from __future__ import annotations

import importlib
import os
import sys

#: What vLLM and transformers import on the way to a Gemma 4, and what breaks first.
MODULES = ("torch", "torchvision", "transformers.models.gemma4.processing_gemma4", "vllm._C")


def main() -> int:
    """Import each module; returns the exit code."""
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    for module in MODULES:
        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:
            print(f"environment: {module} does not load: {error}", file=sys.stderr)
            print("environment: remove .venv and run make env again", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
