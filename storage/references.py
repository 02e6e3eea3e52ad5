"""What references to media within other files share: cells of tables, members of tars."""

from __future__ import annotations

import os
from urllib.parse import quote

from storage.errors import RowError
from storage.ranges import FileRanges
from storage.roots import Roots, open_file

#: Characters of a URI or path that need no escape, beside letters, digits and `_.-~`.
_PLAIN = "/:@!$()*+,;="


def escaped(place: str) -> str:
    """A URI, path or name with what would be of the reference percent-escaped (UTF-8)."""
    return quote(place, safe=_PLAIN)


def local_ranges(roots: Roots, path: str) -> FileRanges:
    """The local file that a reference leads to. Raises RowError if it may not be read."""
    if not path.startswith("/"):
        raise RowError(
            "forbidden",
            f"{path}: cells and members are read from s3://bucket/key and other stores, and from "
            "absolute paths only",
        )
    real = roots.path(path, None)
    with open_file(real) as file:
        return FileRanges(real, os.dup(file.fileno()))
