"""Temporary folders that do not outlive whoever made them, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from pathlib import Path
from typing import IO


class LivingFolder:
    """A new folder in `parent`. Thread-safe.

    A lock on a file in it says that its process, or one that this forked, lives; a folder without
    one was left by processes that died, and is removed by the next of the same prefix.
    """

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        self.parent = Path(tempfile.gettempdir()) if parent is None else parent
        self.parent.mkdir(parents=True, exist_ok=True)
        self._prefix = prefix
        self._sweep()
        self.path, self._alive = self._claim()

    def close(self) -> None:
        """Remove it, with everything that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._alive.close()

    def _claim(self) -> tuple[Path, IO[bytes]]:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=self._prefix, dir=self.parent))
            alive = (folder / ".alive").open("wb")
            # Another process may have taken it for a dead one's before it was locked.
            if _lock(alive) is not False and (folder / ".alive").exists():
                return folder, alive
            alive.close()

    def _sweep(self) -> None:
        for folder in self.parent.glob(f"{self._prefix}*"):
            with contextlib.suppress(OSError), (folder / ".alive").open("rb") as file:
                if _lock(file):
                    shutil.rmtree(folder, ignore_errors=True)


def _lock(file: IO[bytes]) -> bool | None:
    """Whether we hold the lock now; None where the file system has none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
