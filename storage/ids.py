"""Whether the ids of a manifest are unique, at any number of rows, in flat memory.

Each id is hashed to 64 bits and the hashes are spilled to local files, one for each
range of hashes, which are sorted one after the other. Equal hashes only raise a
suspicion: the ids themselves, spilled beside them, are then compared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Ranges of hashes: three million rows take 0.8 MB each, a hundred million 25 MB.
_RANGES = 64
_RANGE_SHIFT = np.uint64(58)
#: Repeated ids that a report names.
_NAMED = 5

_SEED = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
#: Which bytes of a word belong to an id that has so many left.
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(9)], dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows whose id an earlier row has: how many, and (row, earlier row, id) of the first."""

    total: int
    first: tuple[tuple[int, int, str], ...]


class IdSpill:
    """Collects the ids of a manifest in a local folder. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / f"ids-{n:02d}.u64" for n in range(_RANGES)]
        self._files: list[BinaryIO] = [path.open("wb") for path in self._paths]
        self._text_path = folder / "ids.arrow"
        self._schema = pa.schema([("row", pa.int64()), ("id", pa.string())])
        self._text = pa.ipc.new_file(str(self._text_path), self._schema)
        #: Number of the first row of each batch of text.
        self._starts: list[int] = []
        self.rows = 0

    def __enter__(self) -> IdSpill:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()
        for file in self._files:
            file.close()
        for path in (*self._paths, self._text_path):
            path.unlink(missing_ok=True)

    def add(self, numbers: npt.NDArray[np.int64], ids: pa.StringArray) -> None:
        """Take the ids of some rows; row numbers go up from call to call."""
        if not len(ids):
            return
        self.rows += len(ids)
        self._starts.append(int(numbers[0]))
        self._text.write_batch(pa.record_batch([pa.array(numbers), ids], schema=self._schema))
        hashes = hash_strings(ids)
        ranges = (hashes >> _RANGE_SHIFT).astype(np.uint8)
        order = np.argsort(ranges, kind="stable")
        pairs = np.empty((len(ids), 2), dtype=np.uint64)
        pairs[:, 0] = hashes[order]
        pairs[:, 1] = numbers[order]
        ends = np.cumsum(np.bincount(ranges, minlength=_RANGES))
        start = 0
        for file, end in zip(self._files, ends.tolist(), strict=True):
            if end > start:
                file.write(pairs[start:end].data)
            start = end

    def repeats(self) -> Repeats:
        """Compare all ids that were added."""
        self._text.close()
        total = 0
        first: list[tuple[int, int, str]] = []
        for path, file in zip(self._paths, self._files, strict=True):
            file.flush()
            pairs = np.fromfile(path, dtype=np.uint64).reshape(-1, 2)
            for row, earlier, text in self._confirmed(_suspects(pairs)):
                total += 1
                first.append((row, earlier, text))
                if len(first) > 4 * _NAMED:
                    first = sorted(first)[:_NAMED]
        return Repeats(total, tuple(sorted(first)[:_NAMED]))

    def _confirmed(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, str]]:
        """Of rows with suspicious hashes, those whose id an earlier one has."""
        if not len(rows):
            return
        seen: dict[str, int] = {}
        with pa.memory_map(str(self._text_path)) as source:
            reader = pa.ipc.open_file(source)
            at = 0
            while at < len(rows):
                number = bisect_right(self._starts, int(rows[at])) - 1
                batch = reader.get_batch(number)
                numbers = batch.column("row").to_numpy()
                end = int(np.searchsorted(rows, numbers[-1], side="right"))
                within = np.searchsorted(numbers, rows[at:end])
                texts = batch.column("id").take(pa.array(within)).to_pylist()
                for row, text in zip(rows[at:end].tolist(), texts, strict=True):
                    earlier = seen.setdefault(text, row)
                    if earlier != row:
                        yield row, earlier, text
                at = end


def _suspects(pairs: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Numbers of the rows whose hash is not theirs alone, in order."""
    hashes = np.sort(pairs[:, 0])
    shared = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(shared):
        return np.empty(0, dtype=np.int64)
    rows = pairs[np.isin(pairs[:, 0], shared), 1]
    return np.sort(rows.astype(np.int64))


def hash_strings(array: pa.StringArray) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each string, the same on every machine: equal strings, equal hashes.

    Eight bytes of all strings are mixed in at a time, with splitmix64's finaliser.
    """
    count = len(array)
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)[array.offset : array.offset + count + 1]
    low, high = int(offsets[0]), int(offsets[-1])
    # Eight zero bytes behind the last string, so that every word can be read whole.
    data = np.zeros(high - low + 8, dtype=np.uint8)
    if high > low:
        data[:-8] = np.frombuffer(data_buffer, dtype=np.uint8)[low:high]
    words = np.ndarray(shape=(len(data) - 7,), dtype="<u8", buffer=data.data, strides=(1,))
    starts = offsets[:-1].astype(np.int64) - low
    lengths = np.diff(offsets).astype(np.int64)
    hashes = _mixed(lengths.astype(np.uint64) + _SEED)
    active = np.arange(count)
    # The first round is for all, so that an empty string is the same in every company.
    longest = int(lengths.max(initial=1))
    for done in range(0, longest, 8):
        if done:
            active = active[lengths[active] > done]
            left = np.minimum(lengths[active] - done, 8)
            word = words[starts[active] + done] & _MASKS[left]
            hashes[active] = _mixed(hashes[active] ^ word)
        else:
            hashes = _mixed(hashes ^ (words[starts] & _MASKS[np.minimum(lengths, 8)]))
    return hashes


def _mixed(h: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    h = (h ^ (h >> np.uint64(30))) * _MIX_1
    h = (h ^ (h >> np.uint64(27))) * _MIX_2
    result: npt.NDArray[np.uint64] = h ^ (h >> np.uint64(31))
    return result
