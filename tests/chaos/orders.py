"""Orders to processes under test: a file for each, taken by whoever comes first to its step."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

#: Where a worker can be told to die: the protocol's own steps.
STEPS = ("claim", "decode", "generate", "checkpoint", "commit", "marker", "ack")


class Orders:
    """A folder of orders, `<step>/<what>.<number>`. Given by one process, taken by others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def give(self, step: str, what: str) -> Path:
        """Have `what` done by the first process that comes to the step; gone once it is taken."""
        path = self._folder / step / f"{what}.{next(self._numbers)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def take(self, step: str) -> str | None:
        """What is to be done at this step now; one process gets it, once."""
        with contextlib.suppress(FileNotFoundError):
            for path in (self._folder / step).iterdir():
                with contextlib.suppress(FileNotFoundError):  # another was faster
                    path.unlink()
                    return path.name.partition(".")[0]
        return None
