"""Manifests that are WebDataset tars: found by name, read several at once, given in order."""

from __future__ import annotations

import hashlib
import json
import os.path
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from storage.blocks import Block, Faults
from storage.braces import expand
from storage.errors import Forbidden, InvalidManifest, NotFound, Refused
from storage.listing import is_pattern, parse_pattern
from storage.manifest_jsonl import JsonRows
from storage.objects import is_local, local_path
from storage.ranges import open_ranges
from storage.samples import PlannedTar, SampleFault, rows_of

#: Tars of one manifest at most: their names are in memory, and each is looked at first.
_MOST_TARS = 1_000_000
#: Tars looked at, and read, at once.
_LOOKS_AT_ONCE = 16
_READS_AT_ONCE = 4
#: Bytes of rows that are read ahead of each of those.
_AHEAD_BYTES = 8 << 20
_Row = bytes | SampleFault

_PACKED = re.compile(r"(?i)\.(tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst|lz4))$")


def tars_of(uri: str) -> list[str] | None:
    """URIs and patterns of the tars that `uri` stands for; None if it is no manifest of tars.

    Raises InvalidManifest for compressed ones.
    """
    # As os.path has it: a pattern may be longer than a path can be, which pathlib raises for.
    is_there = is_local(uri) and os.path.exists(local_path(uri))  # noqa: PTH110
    names = [uri] if is_there else expand(uri, _MOST_TARS)
    for name in names:
        if _PACKED.search(name):
            raise InvalidManifest(
                f"{name}: members of a compressed tar cannot be read by range; uncompress it to a "
                "plain .tar (media hardly get smaller by it), or unpack it and name the folder"
            )
    tars = [name.lower().endswith(".tar") for name in names]
    if not any(tars) or (is_local(uri) and os.path.isdir(local_path(uri))):  # noqa: PTH112
        return None
    if not all(tars):
        raise InvalidManifest(f"{uri}: stands for tars and for other files; name either")
    return names


class TarRows(JsonRows):
    """Rows of tars, in order. See `Source`."""

    def __init__(self, named: str, tars: Sequence[PlannedTar]) -> None:
        super().__init__(named, lambda: _as_file(iter(())))
        self._tars = tars

    def blocks(
        self, faults: Faults, *, limit: int | None = None, keep: npt.NDArray[np.int64] | None = None
    ) -> Iterator[Block]:
        """See `Source.blocks`."""
        if keep is not None:
            limit = int(keep[-1]) + 1 if len(keep) else 0
        with _Reading(self._tars, ahead=limit is None) as reading:
            lines = _good(reading.rows(faults.text_alone), faults, limit)
            self._open = lambda: _as_file(lines)
            yield from super().blocks(faults, limit=limit, keep=keep)

    def digest(self) -> str:
        """SHA-256 of each tar's name, size and etag (of a local one the time of its change)."""
        known = [[tar.uri, tar.size, tar.tag] for tar in self._tars]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def open_tars(named: str, names: Sequence[str]) -> TarRows:
    """The rows of what `tars_of` gave. Raises InvalidManifest if a tar is not there."""
    uris: list[str] = []
    for name in names:
        if is_pattern(name):
            found = [whole for _, whole, _ in parse_pattern(name).find()]
            if not found:
                raise InvalidManifest(f"{name}: no such tars; check the pattern")
            uris += found
        else:
            uris.append(str(local_path(name)) if is_local(name) else name)
    shared = os.path.commonprefix(uris)  # noqa: RUF071 - of characters, cut at a slash below
    start = shared.rfind("/") + 1
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        looks = pool.map(_look, uris)
        tars = [
            PlannedTar(uri, size, tag, f"{uri[start:-4]}/" if len(uris) > 1 else "")
            for uri, (size, tag) in zip(uris, looks, strict=True)
        ]
    return TarRows(named, tars)


def _look(uri: str) -> tuple[int, str]:
    try:
        found = open_ranges(uri)
    except (NotFound, Forbidden, Refused) as error:
        raise InvalidManifest(f"{uri}: the tar cannot be read: {error}") from error
    return found.size, found.tag


def _good(rows: Iterator[_Row], faults: Faults, limit: int | None) -> Iterator[bytes]:
    """The first `limit` rows; what is at fault is noted."""
    left = limit
    for row in rows if limit != 0 else ():
        if isinstance(row, SampleFault):
            faults.add_named(row.what, 1, [row.named], row.advice, unit="sample")
            continue
        yield row
        if left is not None:
            left -= 1
            if not left:
                return


def _as_file(lines: Iterator[bytes]) -> BinaryIO:
    return cast("BinaryIO", _Lines(lines))


class _Lines:
    """Lines as a file to be read once."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def read(self, size: int) -> bytes:
        """Some `size` bytes of whole lines; none at the end."""
        data = bytearray()
        for line in self._lines:
            data += line
            if len(data) >= size:
                break
        return bytes(data)


class _Reading:
    """Rows of several tars, read at once and given in order. Use as a context manager."""

    def __init__(self, tars: Sequence[PlannedTar], *, ahead: bool) -> None:
        self._tars = tars
        self._ahead = _READS_AT_ONCE if ahead else 1
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="manifest-tar")

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        # Else a pool's threads would be waited for when the process ends.
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def rows(self, text_alone: bool) -> Iterator[_Row]:
        """Each row as a line of JSON, or a fault in its place."""
        if self._ahead == 1:
            for each in self._tars:
                yield from rows_of(each, text_alone)
            return
        waiting = iter(self._tars)
        open_ones: deque[tuple[Iterator[_Row], Future[list[_Row]]]] = deque()
        while True:
            while len(open_ones) < self._ahead and (tar := next(waiting, None)) is not None:
                rows = rows_of(tar, text_alone)
                open_ones.append((rows, self._pool.submit(self._some, rows)))
            if not open_ones:
                return
            rows, future = open_ones.popleft()
            while some := future.result():
                future = self._pool.submit(self._some, rows)
                yield from some

    def _some(self, rows: Iterator[_Row]) -> list[_Row]:
        """The next rows of a tar, none at its end."""
        some: list[_Row] = []
        size = 0
        while size < _AHEAD_BYTES and not self._stop.is_set():
            row = next(rows, None)
            if row is None:
                break
            some.append(row)
            size += len(row) if isinstance(row, bytes) else _AHEAD_BYTES // 64
        return some
