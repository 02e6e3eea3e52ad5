"""What one hostile file is: how it is made, and what has to become of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from storage.errors import ErrorKind

#: What has to become of a file: pieces, or an error of one of these kinds.
Expected = frozenset[ErrorKind | str]
OK = "ok"
#: Makes the file's bytes; `folder` is an empty one to work in.
Make = Callable[[Path], bytes]


@dataclass(frozen=True)
class Case:
    """A file named `name`, of a kind of the issue's list, and its outcomes that are right.

    Where damage may fall on what does not matter, there is more than one. `slow` ones take
    seconds to be made or decoded. `write` makes it where it is too large for memory.
    """

    kind: str
    name: str
    expected: Expected
    make: Make | None = None
    write: Callable[[Path], None] | None = None
    slow: bool = False

    @property
    def id(self) -> str:
        """The case in the name of a test."""
        return ascii(f"{self.kind}/{self.name}")[1:-1]

    def put(self, path: Path) -> Path:
        """Make the file at `path`."""
        if self.write is not None:
            self.write(path)
        else:
            assert self.make is not None
            with TemporaryDirectory(prefix="making-") as folder:
                path.write_bytes(self.make(Path(folder)))
        return path


def expect(*outcomes: str) -> Expected:
    """A row of the table: these outcomes are right, and no other."""
    return frozenset(outcomes)


def seeded(name: str) -> random.Random:
    """Numbers of chance that are the same for a name in every run."""
    return random.Random(name)
