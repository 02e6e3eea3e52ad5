"""Files of a folder as objects: listed by key, tagged, and with errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from storage.errors import Forbidden, MediamillError, NotFound, StoreUnavailable
from storage.objects import Object

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def walk(folder: Path, base: str, prefix: str, after: str) -> Iterator[Object]:
    """Files below `folder`, whose keys start with `base`, sorted by key.

    Only keys that start with `prefix` and are greater than `after`; one folder at a time
    is in memory. Folders behind symlinks are not entered.
    """
    found: list[tuple[str, os.DirEntry[str]]] = []
    with translated(folder):
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    key = f"{base}{entry.name}/" if is_folder else f"{base}{entry.name}"
                    if _wanted(key, is_folder, prefix, after):
                        found.append((key, entry))
        except (FileNotFoundError, NotADirectoryError):
            return
    # By key with the folder's slash, so that `a-b` comes before `a/x` as it does on S3.
    found.sort(key=lambda pair: pair[0])
    for key, entry in found:
        if key.endswith("/"):
            yield from walk(Path(entry.path), key, prefix, after)
            continue
        with translated(entry.path):
            try:
                status = entry.stat()
            except FileNotFoundError:  # removed meanwhile, or a dangling link
                continue
        if stat.S_ISREG(status.st_mode):
            yield as_object(key, status)


def _wanted(key: str, is_folder: bool, prefix: str, after: str) -> bool:
    if key in ("_job/lock", "_job/tmp/"):
        return False
    if is_folder:
        # Entered if some key below it can be under the prefix and past `after`.
        below = key.startswith(prefix) or prefix.startswith(key)
        return below and (key > after or after.startswith(key))
    return key.startswith(prefix) and key > after


def as_object(key: str, found: os.stat_result) -> Object:
    """The file with this status as the object `key`."""
    return Object(key, found.st_size, etag_of(found), found.st_mtime)


def etag_of(found: os.stat_result) -> str:
    """A tag that changes whenever the file is replaced."""
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


@contextlib.contextmanager
def translated(path: Path | str) -> Iterator[None]:
    """Turn the system's errors into ours, saying where and what to do."""
    try:
        yield
    except MediamillError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in _ABSENT:
            raise NotFound(f"{path}: {why.lower()}") from error
        if error.errno in _DENIED:
            raise Forbidden(
                f"{path}: {why.lower()}; give this user access, or name another folder"
            ) from error
        if error.errno in _FULL:
            raise StoreUnavailable(f"{path}: {why.lower()}; make room on that disk") from error
        raise StoreUnavailable(f"{path}: the file system failed ({why})") from error
