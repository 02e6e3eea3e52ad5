"""Rows of CSV manifests: cells are text, and columns typed by all their values."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from storage.blocks import (
    BOTH,
    HINTS,
    KEYS,
    NO_URI,
    URIS,
    Block,
    Column,
    Faults,
    row_numbers,
    selected,
)
from storage.errors import InvalidManifest
from storage.manifest_lines import line_blocks

#: Rows read at a time, and bytes.
_BLOCK_ROWS = 8192
_BLOCK_BYTES = 1 << 20
#: A longer row is a file of another kind. Each of its cells would be an object in memory.
_MAX_ROW_BYTES = 16 << 20
#: Bytes of the rows read at a time at most, or one row if that has more.
_MAX_BLOCK_BYTES = 32 << 20

# What a number looks like. A text that would not come back as it was ("007", "1_000", "+5")
# stays text, so that no zip code or phone number is damaged.
_INT = r"^(0|-?[1-9][0-9]{0,17})$"
_DOUBLE = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$"
#: Whole numbers that a double might round.
_WIDE = r"^-?[0-9]{16,}"
_BOOL = r"^(true|false|True|False|TRUE|FALSE)$"
_PATTERNS = {"bool": _BOOL, "int64": _INT, "double": _DOUBLE}


class CsvRows:
    """Rows of a CSV file; `open_file` gives its bytes, uncompressed. See `Source`."""

    format: Literal["parquet", "json"] = "json"

    def __init__(self, name: str, open_file: Callable[[], BinaryIO], delimiter: str) -> None:
        self._name = name
        self._open = open_file
        self._delimiter = delimiter
        self._header: list[str] = []
        #: The types that all values of a column so far would allow.
        self._types: dict[str, set[str]] = {}
        #: Columns in which a value was seen.
        self._filled: set[str] = set()

    def columns(self) -> list[Column]:
        """The columns in the order of the header."""
        own = [Column(n, self._type(n)) for n in self._header if n not in KEYS]
        return [*own, URIS] if "uris" in self._header else own

    def _type(self, name: str) -> str:
        if name in self._filled:
            for kind in ("bool", "int64", "double"):
                if kind in self._types[name]:
                    return kind
        return "string"

    def blocks(
        self, faults: Faults, *, limit: int | None = None, keep: npt.NDArray[np.int64] | None = None
    ) -> Iterator[Block]:
        """See `Source.blocks`."""
        with self._open() as file:
            lines = _Lines(self._name, file)
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            rows = self._checked(reader, lines)
            self._read_header(next(rows, (0, []))[1], faults.text_alone)
            first = 0
            while True:
                left = _BLOCK_ROWS if limit is None else limit - first
                end = lines.done + _MAX_BLOCK_BYTES
                read = []
                for row in islice(rows, min(left, _BLOCK_ROWS)):
                    read.append(row)
                    if lines.done > end:
                        break
                if not read:
                    return
                numbers = np.arange(first, first + len(read), dtype=np.int64)
                first += len(read)
                even = self._even(read, faults)
                if keep is not None:
                    even &= selected(numbers, keep)
                cells = [read[i][1] for i in np.flatnonzero(even).tolist()]
                if cells:
                    yield self._block(cells, numbers[even], faults)

    def _read_header(self, header: list[str], text_alone: bool) -> None:
        twice = sorted({n for n in header if header.count(n) > 1})
        if twice:
            raise InvalidManifest(
                f"{self._name}: two columns are called {twice[0]!r}; rename one in the first line"
            )
        if header and not text_alone and "uri" not in header and "uris" not in header:
            raise InvalidManifest(
                f"{self._name}: no column 'uri' or 'uris' in the first line, which names the "
                f"columns; it has: {', '.join(header)}"
            )
        self._header = header
        for name in header:
            self._types.setdefault(name, set(_PATTERNS))

    def _even(self, rows: list[tuple[int, list[str]]], faults: Faults) -> npt.NDArray[np.bool_]:
        """Which rows have as many cells as the header; the others are faults."""
        width = len(self._header)
        even = np.array([len(cells) == width for _, cells in rows], dtype=np.bool_)
        if not even.all():
            faults.add(
                f"not as many cells as the header, which has {width}",
                [rows[i][0] for i in np.flatnonzero(~even).tolist()],
                f"quote cells that hold {self._delimiter!r}",
                unit="line",
            )
        return even

    def _checked(self, reader: Any, lines: _Lines) -> Iterator[tuple[int, list[str]]]:
        """Rows that are not blank, and the line each ends at."""
        try:
            for cells in reader:
                lines.done = lines.read
                if cells:
                    yield reader.line_num, cells
        except csv.Error as error:
            raise InvalidManifest(
                f"{self._name}, line {reader.line_num}: not CSV ({error}); check its quotes"
            ) from error

    def _block(
        self, rows: list[list[str]], numbers: npt.NDArray[np.int64], faults: Faults
    ) -> Block:
        columns = dict(zip(self._header, map(list, zip(*rows, strict=True)), strict=True))
        arrays = {name: pa.array(cells, type=pa.string()) for name, cells in columns.items()}
        for name, array in arrays.items():
            self._note_types(name, array)
        uris, media, good = _uris(columns, numbers, faults)
        # An empty cell is no value at all.
        texts = (
            orjson.dumps({n: c or None for n, c in zip(self._header, cells, strict=True)})
            for cells in rows
        )
        json = pa.array(list(texts), type=pa.string())
        hints = {h: _numbers(arrays[h]) for h in HINTS if h in arrays}
        ids = row_numbers(numbers)
        if "id" in arrays:
            ids = pc.if_else(pc.equal(arrays["id"], ""), ids, arrays["id"])
        block = Block(numbers, ids, uris, media, hints, pa.table({"id": ids, "json": json}))
        return block if good.all() else block.only(good)

    def _note_types(self, name: str, cells: pa.StringArray) -> None:
        """Narrow the column's types to those that these cells allow too."""
        if name in KEYS:
            return
        allowed = self._types[name]
        cells = cells.filter(pc.not_equal(cells, ""))
        if not len(cells):
            return
        self._filled.add(name)
        for kind in sorted(allowed):
            if not pc.all(pc.match_substring_regex(cells, _PATTERNS[kind])).as_py():
                allowed.discard(kind)
        if "double" in allowed and pc.any(pc.match_substring_regex(cells, _WIDE)).as_py():
            allowed.discard("double")


class _Lines:
    """Lines as text. Raises InvalidManifest with the line that is none, or a row too long."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._lines = enumerate(_lines(name, file), 1)
        #: Bytes of all lines so far, and of the rows that are complete.
        self.read = self.done = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.read += len(line)
            # Within quotes a row goes on over any number of lines.
            if self.read - self.done > _MAX_ROW_BYTES:
                raise InvalidManifest(
                    f"{self._name}, line {number}: a row of over {_MAX_ROW_BYTES >> 20} MiB; "
                    "check its quotes"
                )
            if b"\0" in line:
                raise InvalidManifest(
                    f"{self._name}, line {number}: null bytes, so this is no text in UTF-8; "
                    "save it as that"
                )
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InvalidManifest(
                    f"{self._name}, line {number}: not UTF-8 ({error.reason} at byte "
                    f"{error.start}); save the file as UTF-8"
                ) from error


def _lines(name: str, file: BinaryIO) -> Iterator[bytes]:
    what = "a CSV file has one row a line"
    for _, lines in line_blocks(name, file, _BLOCK_BYTES, _MAX_ROW_BYTES, what):
        yield from (line + b"\n" for line in lines)


def _uris(
    columns: dict[str, list[str]], numbers: npt.NDArray[np.int64], faults: Faults
) -> tuple[pa.StringArray, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The first URI of each row, how many it has, and which rows are good."""
    count = len(numbers)
    first = list(columns.get("uri", [""] * count))
    media = np.ones(count, dtype=np.int64)
    both = np.zeros(count, dtype=np.bool_)
    for i, cell in enumerate(columns.get("uris", ())):
        if cell:
            both[i] = bool(first[i].strip())
            uris = _list(cell)
            first[i], media[i] = (uris[0], len(uris)) if uris else ("", 1)
    good = np.array([bool(uri.strip()) for uri in first], dtype=np.bool_)
    if faults.text_alone:
        lists = columns.get("uris", [""] * count)
        none = ~good & np.array([not cell or cell == "[]" for cell in lists], dtype=np.bool_)
        good, media = good | none, np.where(none, 0, media)
    faults.add(BOTH[0], numbers[both].tolist(), BOTH[1])
    advice = NO_URI[1] + (" as JSON in CSV" if "uris" in columns else "")
    faults.add(NO_URI[0], numbers[~good & ~both].tolist(), advice)
    texts = [uri or None for uri in first]
    return pa.array(texts, type=pa.string()), media, good & ~both


def _list(cell: str) -> list[str]:
    """The texts of a JSON list; none if the cell is anything else."""
    try:
        value = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return []
    texts = isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)
    return value if texts else []


def _numbers(cells: pa.StringArray) -> npt.NDArray[np.float64]:
    numeric = pc.match_substring_regex(cells, _DOUBLE)
    values = pc.if_else(numeric, cells, pa.scalar("nan")).cast(pa.float64())
    result: npt.NDArray[np.float64] = values.to_numpy()
    return result
