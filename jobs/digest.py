"""What a checkpoint's folder holds: a digest of its files, and how many parameters."""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import tempfile
from pathlib import Path

from storage.errors import InvalidJob

#: Files above this are hashed once and remembered: 64 MiB take about 0.1 s.
REMEMBER_BYTES = 64 << 20

#: Files that are not part of the model.
_IGNORED = (".md", ".lock", ".metadata", ".gitattributes")


def folder_digest(folder: Path, *, cache: Path | None = None) -> str:
    """Hex sha256 over names, sizes and contents of the model's files in a folder.

    Hidden files and read-mes don't count. Digests of large files are remembered in
    `cache` (a JSON file; by default under the user's cache folder) by path, size and
    time of change. Raises InvalidJob if a file cannot be read.
    """
    remembered = _Remembered(_cache_file() if cache is None else cache)
    whole = hashlib.sha256()
    try:
        for path in sorted(_files(folder), key=lambda p: p.relative_to(folder).as_posix()):
            name = path.relative_to(folder).as_posix()
            size = path.stat().st_size
            digest = remembered.digest(path) if size > REMEMBER_BYTES else _digest(path)
            whole.update(f"{name}\0{size}\0{digest}\n".encode())
    except OSError as error:
        raise InvalidJob(f"model {folder}: {error.filename} cannot be read: {error}") from error
    remembered.save()
    return whole.hexdigest()


def parameters_in(folder: Path) -> float | None:
    """Parameters in a folder's safetensors files, by their headers; None if there are none.

    Raises InvalidJob for a damaged file.
    """
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > path.stat().st_size:
                    raise ValueError("its header is longer than the file")
                header = json.loads(file.read(length))
            total += sum(math.prod(t["shape"]) for n, t in header.items() if n != "__metadata__")
        except (OSError, ValueError, struct.error, KeyError, TypeError) as error:
            raise InvalidJob(f"model file {path} is damaged: {error}; fetch it again") from error
    return float(total) or None


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.endswith(_IGNORED)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache_file() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mediamill" / "digests.json"


class _Remembered:
    """Digests of large files, by path, size and time of change. Losing them costs time alone."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, str] = {}
        self._new = False
        try:
            known = json.loads(file.read_bytes())
        except (OSError, ValueError):
            return
        if isinstance(known, dict):
            self._known = {str(key): str(value) for key, value in known.items()}

    def digest(self, path: Path) -> str:
        # Through links: the hub's cache gives a file new content under a new target.
        target = path.resolve()
        facts = target.stat()
        key = f"{target}|{facts.st_size}|{facts.st_mtime_ns}"
        if key not in self._known:
            self._known[key] = _digest(target)
            self._new = True
        return self._known[key]

    def save(self) -> None:
        if not self._new:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._file.parent, delete=False) as file:
                json.dump(self._known, file)
            Path(file.name).replace(self._file)
        except OSError:
            # A home that cannot be written: the next run hashes again.
            return
