"""A store in a local folder: writes that are whole or not there, decided by the file system.

Every write goes to `_job/tmp/` first and takes its name in one step. A new name is
taken with a hard link, which fails where there is one; a replacement happens under an
exclusive lock. Both are then on the disk, since the folder is synced too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from storage.atomic import identity, make_folder, sync_folder, take_name
from storage.errors import Forbidden, NotFound, UnsafeStore
from storage.objects import Names, Object, StoreTraits
from storage.walk import as_object, etag_of, translated, walk

#: Seconds after which a file in `_job/tmp/` was left by a process that died.
_TMP_AGE_S = 3600.0
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

# Where a file system turns flock into POSIX locks (NFS), threads do not exclude each other.
_replacing = threading.Lock()


class LocalStore:
    """Objects as files below `root`. See `storage.objects.Store`."""

    def __init__(self, root: Path, traits: StoreTraits) -> None:
        self.root = root
        self.traits = traits
        self._tmp = root / "_job" / "tmp"
        self._lock = root / "_job" / "lock"
        self._swept = False
        #: Folders that the first write had to make, from the root upwards.
        self._made: list[Path] = []

    @property
    def uri(self) -> str:
        """The root as an absolute path."""
        return str(self.root)

    def get(self, key: str) -> bytes:
        """The whole content. Raises NotFound."""
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """The whole content and its etag. Raises NotFound."""
        with self.open(key) as file, translated(self._path(key)):
            tag = etag_of(os.fstat(file.fileno()))
            return file.read(), tag

    def open(self, key: str) -> BinaryIO:
        """The file itself, for reading. Raises NotFound."""
        path = self._path(key)
        with translated(path):
            return path.open("rb")

    def head(self, key: str) -> Object | None:
        """The object without its content; None if there is none."""
        path = self._path(key)
        with translated(path):
            try:
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return as_object(key, found) if stat.S_ISREG(found.st_mode) else None

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        """Bytes `start` to `end`, of the version with `etag` if given. Raises NotFound."""
        with self.open(key) as file, translated(self._path(key)):
            if etag and etag_of(os.fstat(file.fileno())) != etag:
                raise NotFound(f"{self._path(key)}: replaced while it was read; read it again")
            file.seek(start)
            return file.read(max(0, end - start))

    def put(self, key: str, data: bytes) -> None:
        """Write, whatever was there."""
        with translated(self._path(key)), self._written(data) as tmp:
            self._place(key, lambda target: tmp.replace(target))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write if there is nothing: True if ours is there."""
        if self.traits.unsafe:
            if self.head(key) is not None:
                return False
            self.put(key, data)
            return True
        with translated(self._path(key)), self._written(data) as tmp:
            ours = identity(tmp)
            try:
                self._place(key, lambda target: take_name(tmp, target))
            except OSError as error:
                # A network file system may have lost the answer to what it did.
                if identity(self._path(key)) == ours:
                    return True
                if error.errno == errno.EEXIST:
                    return False
                raise
        return True

    def put_if_match(self, key: str, data: bytes, etag: str) -> bool:
        """Replace the object if it still has this etag: True if ours is there."""
        target = self._path(key)
        with translated(target), self._written(data) as tmp, self._locked():
            try:
                current = target.stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
            if etag_of(current) != etag:
                return False
            # A reused inode within one tick of the clock must not bring an old tag back.
            if tmp.stat().st_mtime_ns <= current.st_mtime_ns:
                later = current.st_mtime_ns + 1
                os.utime(tmp, ns=(later, later))
            self._place(key, lambda target: tmp.replace(target))
        return True

    def delete(self, key: str) -> None:
        """Remove the file, and the folders above it that are empty now."""
        path = self._path(key)
        with translated(path):
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                return
        for folder in path.parents:
            if folder == self.root or self.root not in folder.parents:
                break
            try:
                folder.rmdir()
            except OSError:  # not empty: somebody's files are there
                break

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        """Files below the root, sorted by key. Folders behind symlinks are not entered."""
        base = prefix.rpartition("/")[0]
        folder = self._path(base) if base else self.root
        yield from walk(folder, f"{base}/" if base else "", prefix, after)

    def folders(self, prefix: str) -> Names:
        """Names of the folders right below `prefix`, sorted."""
        folder = self._path(prefix) if prefix else self.root
        with translated(folder):
            try:
                with os.scandir(folder) as entries:
                    names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
            except (FileNotFoundError, NotADirectoryError):
                return []
        # Ours hold no objects.
        return [n for n in names if prefix + n not in ("_job", "_job/tmp") or self._holds(n)]

    def now(self) -> float:
        """The clock that stamps files: that of a file just touched.

        Where nothing may be written, this machine's.
        """
        for folder in (self._tmp, self.root):
            path = folder / f".clock-{secrets.token_hex(8)}"
            try:
                with path.open("xb") as file:
                    return os.fstat(file.fileno()).st_mtime
            except OSError:
                continue
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
        return time.time()

    def tidy(self) -> None:
        """If no object of ours lies here, take back what writing made: folders, and the lock."""
        if self._holds("_job"):
            return
        # A folder that is not empty is in somebody's use, and so are those above it.
        with contextlib.suppress(OSError, UnsafeStore):
            self._tmp.rmdir()
            with self._locked():
                self._lock.unlink(missing_ok=True)
            for folder in (self._lock.parent, *self._made):
                folder.rmdir()

    def _holds(self, name: str) -> bool:
        return name == "_job" and next(self.list("_job/"), None) is not None

    def _path(self, key: str) -> Path:
        if key.startswith("/") or ".." in key.split("/"):
            raise Forbidden(f"{self.root}: the key {key!r} leads out of the store")
        return self.root / key

    @contextlib.contextmanager
    def _written(self, data: bytes) -> Iterator[Path]:
        """A file of this content in `_job/tmp/`, on the disk; gone afterwards."""
        self._sweep()
        path = self._tmp / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            with self._new(path) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _new(self, path: Path) -> BinaryIO:
        """A new file in `_job/tmp/`, which a `tidy` beside us may remove again."""
        for _ in range(10):
            if not self._tmp.is_dir():
                self._made = [f for f in (self.root, *self.root.parents) if not f.exists()]
            with contextlib.suppress(FileNotFoundError):
                make_folder(self._tmp)
                return path.open("xb")
        raise FileNotFoundError(errno.ENOENT, "its folder is removed again and again", str(path))

    def _place(self, key: str, take: Callable[[Path], object]) -> None:
        """Give a written file its name and sync the folder that holds it."""
        target = self._path(key)
        for _ in range(10):  # a `delete` beside us may remove the folder again
            try:
                make_folder(target.parent)
                take(target)
            except FileNotFoundError:
                continue
            sync_folder(target.parent)
            return
        raise FileNotFoundError(errno.ENOENT, "its folder is removed again and again", str(target))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self.traits.unsafe or sys.platform == "win32":
            yield
            return
        import fcntl

        with _replacing, contextlib.ExitStack() as stack:
            locked = None
            # What was locked may be gone by then: a `tidy` removed it, and others lock another.
            while locked is None or locked != identity(self._lock):
                file = stack.enter_context(self._lock.open("ab"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                except OSError as error:
                    if error.errno in _NO_LOCKS:
                        raise UnsafeStore(
                            f"{self.root}: this file system has no file locks, so a retry could "
                            "replace a newer result; use another one, or --unsafe-store"
                        ) from error
                    raise
                found = os.fstat(file.fileno())
                locked = found.st_dev, found.st_ino
            yield

    def _sweep(self) -> None:
        """Once, remove what writers that died have left in `_job/tmp/`."""
        if self._swept:
            return
        self._swept = True
        with contextlib.suppress(OSError), os.scandir(self._tmp) as entries:
            oldest = self.now() - _TMP_AGE_S
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.stat().st_mtime < oldest:
                        Path(entry.path).unlink()
