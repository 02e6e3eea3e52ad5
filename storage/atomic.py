"""Names that a file takes in one step, and folders that are on the disk when we say so."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

from storage.errors import UnsafeStore

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
#: What `link` says where a file system has no hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
#: What `renameat2` says where it is unknown, or the file system cannot refuse.
_NO_REFUSAL = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def take_name(path: Path, target: Path) -> None:
    """Let the file at `path` be at `target` too, or instead, if nothing is there.

    Raises FileExistsError if something is, and UnsafeStore where the file system has
    neither hard links nor a rename that refuses.
    """
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_if_absent(path, target)


def rename_if_absent(path: Path, target: Path) -> None:
    """`renameat2(RENAME_NOREPLACE)`. Raises FileExistsError or UnsafeStore."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    code = errno.ENOSYS
    if rename is not None:
        names = (os.fsencode(path), os.fsencode(target))
        if not rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE):
            return
        code = ctypes.get_errno()
    if code in _NO_REFUSAL:
        raise UnsafeStore(
            f"{target}: this file system has neither hard links nor a rename that refuses, so two "
            "workers could both commit a shard; use another one, or --unsafe-store"
        )
    raise OSError(code, os.strerror(code), str(target))


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of what is at `path`; None if nothing is."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make_folder(folder: Path) -> None:
    """Make the folder and those above it, each on the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    if sys.platform == "win32":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
