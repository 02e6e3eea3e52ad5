"""Which local files may be media: those of named folders, wherever links lead."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from storage.errors import Refused, RowError
from storage.objects import local_path

#: What the kernel makes up: the worker's own memory and environment lie there.
_PSEUDO = (Path("/proc"), Path("/sys"), Path("/dev"))
#: The one place among them that holds ordinary files.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
#: To go through a folder takes no right to list it, where the system makes the difference.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW


class Roots:
    """Folders whose files may be read; None for whatever this user may read."""

    def __init__(self, folders: Sequence[Path] | None) -> None:
        self._roots = None if folders is None else [_real(folder) for folder in folders]

    def path(self, uri: str, base: str | None) -> Path:
        """The real path of a local URI. Raises RowError if it may not be read."""
        try:
            if uri.startswith(("file:", "/")) or base is None:
                path = local_path(uri)
            else:
                path = local_path(base) / uri
        except Refused as error:
            raise RowError("not_found", str(error)) from error
        real = _real(path)
        pseudo = any(real.is_relative_to(folder) for folder in _PSEUDO)
        if pseudo and not real.is_relative_to(_SHARED_MEMORY):
            raise RowError("forbidden", f"{path}: leads to {real}, where no media are kept")
        if self._roots is None or any(real.is_relative_to(root) for root in self._roots):
            return real
        if not self._roots:
            raise RowError(
                "forbidden",
                f"{path}: this worker reads no local files; name the folders it may read in "
                "MEDIAMILL_LOCAL_ROOTS (separated by ':')",
            )
        leads = f" (it leads to {real})" if real != path else ""
        raise RowError(
            "forbidden",
            f"{path}: outside the folders that this worker may read{leads}; add its folder to "
            "MEDIAMILL_LOCAL_ROOTS",
        )


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """The ordinary file at a real path. Raises RowError, also for what fails while it is read."""
    try:
        handle = _opened(path)
        try:
            mode = os.fstat(handle).st_mode
            if not stat.S_ISREG(mode):
                what = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
                raise RowError("wrong_kind", f"{path}: is {what}; name a media file")
            with open(handle, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(handle)
    except OSError as error:
        raise _file_error(path, error) from error


def _opened(path: Path) -> int:
    """A descriptor of what lies at a real path, each folder opened from the one above it.

    None is followed that is a link: the path has none left, unless somebody has put one
    there since it was checked.
    """
    top, *names = path.parts
    folder = os.open(top, _FOLDER)
    try:
        for name in names[:-1]:
            inner = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Not blocking: a pipe without a writer would hold us for ever.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
        return os.open(names[-1] if names else ".", flags, dir_fd=folder)
    finally:
        os.close(folder)


def _real(path: Path) -> Path:
    # Not Path.resolve: that raises on a loop of links, where this goes on as open does.
    return Path(os.path.realpath(path))


def _file_error(path: Path, error: OSError) -> RowError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return RowError("not_found", f"{path}: no such file")
    if error.errno == errno.ENXIO:  # how the system refuses to open a socket
        return RowError("wrong_kind", f"{path}: is no ordinary file; name a media file")
    if error.errno in (errno.EACCES, errno.EPERM):
        return RowError("forbidden", f"{path}: this user may not read it")
    return RowError("unavailable", f"{path}: cannot be read ({error.strerror})")
