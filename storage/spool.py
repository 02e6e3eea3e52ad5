"""Where fetched media are kept: small ones in memory, larger ones in a file that goes away."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from pathlib import Path
from typing import IO, Self

from storage.errors import RowError
from storage.living import LivingFolder
from storage.sniff import HEAD_BYTES

#: Media up to this many bytes are handed on as bytes, larger ones as a file.
SMALL_BYTES = 8 * 1024 * 1024
_PREFIX = "mediamill-spool-"
#: What a disk, a quota or a limit on files says when it has no room.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class NoRoom(RowError):
    """Raised when the disk for fetched media is full: other rows may soon give room back."""


class Spool:
    """A folder of this process for media that were fetched. Thread-safe."""

    def __init__(self, parent: Path | None) -> None:
        self._living = LivingFolder(_PREFIX, parent)
        self.folder = self._living.path

    def close(self) -> None:
        """Remove everything that is still there."""
        self._living.close()

    def new_file(self) -> IO[bytes]:
        """A new empty file, named by its `name`."""
        return tempfile.NamedTemporaryFile(dir=self.folder, delete=False)


class Sink:
    """Takes the bytes of one medium as they come: counted, hashed, and capped at `max_bytes`.

    As a context it removes what was spooled if anything is raised in it.
    """

    def __init__(self, spool: Spool, shown: str, max_bytes: int) -> None:
        self._spool = spool
        self._shown = shown
        self._max_bytes = max_bytes
        self._file: IO[bytes] | None = None
        self._begin()

    def _begin(self) -> None:
        self._chunks = bytearray()
        self._hash = hashlib.sha256()
        self.size = 0
        self.head = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.discard()

    def expect(self, size: int) -> None:
        """Refuse a medium that says it will be over the cap. Raises RowError."""
        if size > self._max_bytes:
            raise too_large(self._shown, size, self._max_bytes)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises RowError: too_large, or unavailable if the disk fails; NoRoom if it is full.
        """
        self.size += len(chunk)
        self.expect(self.size)
        self._hash.update(chunk)
        if len(self.head) < HEAD_BYTES:
            self.head += chunk[: HEAD_BYTES - len(self.head)]
        try:
            if self._file is None and self.size <= SMALL_BYTES:
                self._chunks += chunk
                return
            if self._file is None:
                self._file = self._spool.new_file()
                self._file.write(self._chunks)
                self._chunks = bytearray()
            self._file.write(chunk)
        except OSError as error:
            raise self._disk(error) from error

    def restart(self) -> None:
        """Forget what came: the medium is sent again from its start."""
        self.discard()
        self._begin()

    def discard(self) -> None:
        """Remove what was spooled."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            Path(self._file.name).unlink(missing_ok=True)
            self._file = None

    def finish(self) -> tuple[bytes | Path, str]:
        """The content, as bytes or as a file, and its SHA-256 in hex."""
        digest = self._hash.hexdigest()
        if self._file is None:
            return bytes(self._chunks), digest
        try:
            self._file.close()
        except OSError as error:
            raise self._disk(error) from error
        return Path(self._file.name), digest

    def _disk(self, error: OSError) -> RowError:
        full = error.errno in _FULL
        what = "the disk is full" if full else f"{os.strerror(error.errno or errno.EIO)}"
        return (NoRoom if full else RowError)(
            "unavailable",
            f"{self._shown}: cannot be kept in {self._spool.folder} ({what}); make room there, "
            "or set TMPDIR to a folder on a larger disk",
        )


def too_large(shown: str, size: int, max_bytes: int) -> RowError:
    """The refusal of a medium over the cap."""
    return RowError(
        "too_large",
        f"{shown}: {size:,} bytes or more, and at most {max_bytes:,} are taken; "
        "raise max_media_bytes to take it",
    )
