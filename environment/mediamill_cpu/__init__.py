"""An import hook that lets torchvision and vLLM load where a library of theirs is missing.

Installed by a `.pth` file, since vLLM looks at models in processes of its own that load
no plugin first. Every interpreter of the environment runs `install()`, so this file
imports nothing but `sys`; the work is done when torchvision or vllm is asked for.
"""

import sys

_waiting = {"torchvision", "vllm"}


class _Hook:
    """Prepares a package once, just before its first import, and finds nothing itself."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        """Called by the import system for every module that is not loaded yet."""
        if name in _waiting:
            _waiting.remove(name)
            from mediamill_cpu import libraries

            libraries.prepare(name)


def install():  # type: ignore[no-untyped-def]
    """Put the hook in front of the import system; a second call changes nothing."""
    if not any(isinstance(finder, _Hook) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Hook())
