"""References to cells: what stands for a medium that lies in a column of a table.

    cell:s3://bucket/train-00001.parquet#column=image&row=123&tag=9b2c…&name=cat.jpg
    cell:/data/photos/data-00000.arrow#column=image&row=123&tag=18f…&batch=5312-100&name=…

The table's URI and the values are percent-escaped (UTF-8), so that `#`, `&` and `%` in
them are none of ours. `row` counts from 0 in the file. `tag` is the version of the file
that was planned. `batch` is the byte at which the row's record batch begins and that
batch's first row, since a stream of Arrow has no index. `name` is the last part of the
cell's own path: it tells people what it is, and the planner an extension, and so comes last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import RowError
from storage.references import escaped

_FORM = re.compile(
    r"cell:(?P<file>[^#&]+)#column=(?P<column>[^#&]*)&row=(?P<row>\d{1,18})&tag=(?P<tag>[^#&]*)"
    r"(?:&batch=(?P<batch>\d{1,18})-(?P<first>\d{1,18}))?(?:&name=[^#&]*)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Where a record batch lies in a stream: its first byte, and the number of its first row."""

    at: int
    first: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: row `row` of `column` in the version `tag` of `file`."""

    file: str
    column: str
    row: int
    tag: str
    batch: Batch | None = None


def parse(uri: str) -> Cell:
    """The cell that a reference means. Raises RowError (not_found) for what is none."""
    match = _FORM.fullmatch(uri)
    if match is None:
        raise RowError(
            "not_found",
            f"{uri}: no reference to a cell, such as 'cell:s3://bucket/x.parquet#column=image&"
            "row=0&tag=…'; --media-column makes them",
        )
    batch = Batch(int(match["batch"]), int(match["first"])) if match["batch"] else None
    file, column, tag = (unquote(match[part]) for part in ("file", "column", "tag"))
    return Cell(file, column, int(match["row"]), tag, batch)


def references(
    file: str,
    column: str,
    tag: str,
    rows: pa.Int64Array,
    *,
    batch: Batch | None = None,
    names: Sequence[str | None] | None = None,
) -> pa.StringArray:
    """References to cells of one column, one for each of `rows`."""
    head = f"cell:{escaped(file)}#column={quote(column, safe='')}&row="
    tail = f"&tag={quote(tag, safe='')}"
    if batch is not None:
        tail += f"&batch={batch.at}-{batch.first}"
    parts = [head, rows.cast(pa.string()), tail]
    if names is not None:
        parts.append(pa.array([_named(name) for name in names], pa.string()))
    return pc.binary_join_element_wise(*parts, "")


def _named(path: str | None) -> str:
    name = (path or "").rpartition("/")[2]
    return f"&name={quote(name, safe='')}" if name else ""
