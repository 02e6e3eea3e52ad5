"""The rows that a worker has in hand, in files that outlive its process.

One file for each open shard: a line of JSON, then a byte for each row, mapped into memory, so
that taking a row costs nothing and a process that is killed at any moment leaves it true.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from jobs.ledger import Attempt
from storage.errors import WorkerUnfit


@dataclass(frozen=True, slots=True)
class Left:
    """An attempt that a dead process has left, and the places of the rows that it had in hand.

    `alone` if that was one row, and no other shard of the process had any.
    """

    out: str
    shard: int
    generation: int
    attempt: int
    rows: tuple[int, ...]
    alone: bool


class Hand:
    """Rows of one open shard. Used by the shard's own loop."""

    def __init__(self, path: Path, head: bytes, rows: int) -> None:
        self._path = path
        self._start = len(head)
        with path.open("xb+") as file:
            # Room is taken now: a disk that is full later would lie about what is in hand.
            os.posix_fallocate(file.fileno(), 0, len(head) + rows + 1)
            file.write(head)
            file.flush()
            self._bytes = mmap.mmap(file.fileno(), 0)

    def take(self, place: int) -> None:
        """The row is begun."""
        self._bytes[self._start + place] = 1

    def drop(self, place: int) -> None:
        """The row has its record, or was given back."""
        self._bytes[self._start + place] = 0

    def close(self) -> None:
        """The attempt is over, in whatever way it could say itself."""
        self._path.unlink(missing_ok=True)
        self._bytes.close()


class InHand:
    """The open shards of a process, in files of one folder. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    def open(self, out: str, attempt: Attempt, rows: int) -> Hand:
        """A hand for an attempt at a shard of so many rows. Raises WorkerUnfit without room."""
        told = {
            "out": out,
            "shard": attempt.shard,
            "generation": attempt.generation,
            "attempt": attempt.number,
        }
        path = self.folder / f"{next(self._numbers)}.hand"
        try:
            return Hand(path, json.dumps(told).encode() + b"\n", rows)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise WorkerUnfit(f"{self.folder}: rows in hand cannot be noted: {error}") from error


def left_in(folder: Path) -> list[Left]:
    """What a process that is dead now had in hand, by the files it left."""
    found = []
    for path in sorted(folder.glob("*.hand")):
        head, _, marks = path.read_bytes().partition(b"\n")
        if head.startswith(b"{"):  # else it died while the file was made
            rows = tuple(place for place, mark in enumerate(marks) if mark)
            found.append((json.loads(head), rows))
    alone = sum(len(rows) for _, rows in found) == 1
    return [Left(**told, rows=rows, alone=alone and len(rows) == 1) for told, rows in found]
