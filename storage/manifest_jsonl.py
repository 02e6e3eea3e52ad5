"""Rows of JSONL manifests: one pass, a block of lines at a time, each parsed once.

Of a key that is twice in an object the last value counts, as it does for most parsers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from storage.blocks import (
    BAD_ID,
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
from storage.columns import EXACT_IN_DOUBLE, JSON, Kinds, loads_exactly, settle
from storage.errors import InvalidManifest
from storage.manifest_lines import line_blocks

#: Bytes of text parsed at a time: a few thousand rows, some 20 MB as Python objects.
_BLOCK_BYTES = 2 << 20
#: A longer line is a file of another kind, and would have to lie in memory whole.
_MAX_LINE_BYTES = 64 << 20
#: Kinds of rows remembered, so that each is looked into once.
_SHAPES = 4096
_INT64 = 2**63
#: Brackets in a line from which it is tried whether its depth can be written again.
_DEEP = 200

_KIND_OF: dict[type, Kinds] = {
    bool: Kinds.BOOL,
    int: Kinds.INT,
    float: Kinds.FLOAT,
    str: Kinds.TEXT,
    list: Kinds.NESTED,
    dict: Kinds.NESTED,
    type(None): Kinds.NOTHING,
}

_Row = dict[str, Any]


class JsonRows:
    """Rows of a JSONL file; `open_file` gives its bytes, uncompressed. See `Source`."""

    format: Literal["parquet", "json"] = "json"

    def __init__(self, name: str, open_file: Callable[[], BinaryIO]) -> None:
        self._name = name
        self._open = open_file
        self._kinds: dict[str, Kinds] = {}
        self._shapes: set[tuple[tuple[str, ...], tuple[type, ...]]] = set()

    def columns(self) -> list[Column]:
        """The columns in the order in which they first appeared."""
        found = []
        for name, seen in self._kinds.items():
            if name not in KEYS:
                kind = settle(seen)
                note = None
                if kind == JSON:
                    what = ", ".join(k.name.lower() for k in Kinds if k in seen and k.name)
                    note = f"column {name}: values of different or nested types ({what})"
                    note += " become JSON text"
                found.append(Column(name, kind, note))
        return [*found, URIS] if "uris" in self._kinds else found

    def blocks(
        self, faults: Faults, *, limit: int | None = None, keep: npt.NDArray[np.int64] | None = None
    ) -> Iterator[Block]:
        """See `Source.blocks`."""
        first = 0
        with self._open() as file:
            for line, lines in _lines(self._name, file):
                if limit is not None:
                    lines = lines[: limit - first]
                numbers = np.arange(first, first + len(lines), dtype=np.int64)
                first += len(lines)
                if keep is not None:
                    mask = selected(numbers, keep)
                    lines = [lines[i] for i in np.flatnonzero(mask).tolist()]
                    numbers, line = numbers[mask], line[mask]
                if lines:
                    yield self._block(lines, line, numbers, faults)
                if first == limit:
                    return

    def _block(
        self,
        lines: list[bytes],
        line: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
        faults: Faults,
    ) -> Block:
        rows = _parsed(lines, line, numbers, faults)
        names = self._note_kinds(rows, lines)
        if any(self._kinds[name] & Kinds.NESTED for name in names):
            _check_depth(rows, lines, numbers, faults)
        hints = {h: _numbers([_get(row, h) for row in rows]) for h in HINTS if h in names}
        media = np.ones(len(rows), dtype=np.int64)
        uris, ids = [_get(row, "uri") for row in rows], [_get(row, "id") for row in rows]
        bad: set[int] = set()
        if "uris" in names or not _all_text(uris):
            uris, media, bad = _checked_uris(rows, numbers, faults)
        if not set(map(type, ids)) <= {str}:
            ids, wrong = _checked_ids(ids, lines)
            faults.add(BAD_ID[0], numbers[wrong].tolist(), BAD_ID[1])
            bad |= set(wrong)
        if bad:
            at = [i for i in range(len(rows)) if i not in bad]
            lines, uris, ids = ([x[i] for i in at] for x in (lines, uris, ids))
            numbers, media = numbers[at], media[at]
            hints = {h: values[at] for h, values in hints.items()}
        texts = pa.array(ids, type=pa.string())
        missing = pc.fill_null(pc.equal(texts, ""), True)
        if pc.any(missing).as_py():
            texts = pc.if_else(missing, row_numbers(numbers), texts)
        body = pa.table({"id": texts, "json": pa.array(lines, type=pa.string())})
        return Block(numbers, texts, pa.array(uris, type=pa.string()), media, hints, body)

    def _note_kinds(self, rows: list[Any], lines: list[bytes]) -> set[str]:
        """Take note of the kinds of values, and give the names of the block's columns."""
        # A dict keeps the order, so that columns come in the order of the file.
        shapes = dict.fromkeys(
            (tuple(row), tuple(map(type, row.values()))) for row in rows if type(row) is dict
        )
        names: set[str] = set()
        for shape in shapes:
            names.update(shape[0])
            if shape not in self._shapes:
                for name, kind in zip(*shape, strict=True):
                    self._kinds[name] = self._kinds.get(name, Kinds.NOTHING) | _KIND_OF[kind]
        if len(self._shapes) < _SHAPES:
            self._shapes.update(shapes)
        for name in names:
            if self._kinds[name] & (Kinds.INT | Kinds.FLOAT):
                self._note_size(name, rows, lines)
        return names

    def _note_size(self, name: str, rows: list[Any], lines: list[bytes]) -> None:
        """Take note of whole numbers that int64 or a double would not hold."""
        seen = self._kinds[name]
        if seen & (Kinds.HUGE | Kinds.TEXT | Kinds.NESTED | Kinds.BOOL) or name in KEYS:
            return  # JSON text already, where every number fits
        values = [_get(row, name) for row in rows]
        whole = [v for v in values if type(v) is int]
        if whole:
            low, high = min(whole), max(whole)
            if low < -_INT64 or high >= _INT64:
                seen |= Kinds.HUGE
            elif low < -EXACT_IN_DOUBLE or high > EXACT_IN_DOUBLE:
                seen |= Kinds.WIDE
        # orjson reads whole numbers beyond 64 bits as floats; the text tells them apart.
        for at, value in enumerate(values):
            beyond = type(value) is float and abs(value) >= _INT64
            if beyond and type(_exact(lines[at], name)) is int:
                seen |= Kinds.HUGE
        self._kinds[name] = seen


def _lines(name: str, file: BinaryIO) -> Iterator[tuple[npt.NDArray[np.int64], list[bytes]]]:
    """Lines that are not blank, and their numbers from 1, a block at a time."""
    for number, lines in line_blocks(name, file, _BLOCK_BYTES, _MAX_LINE_BYTES, _ADVICE):
        if number == 1:
            if lines[0].startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InvalidManifest(f"{name}: this is UTF-16; save it as UTF-8")
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        numbers = np.arange(number, number + len(lines), dtype=np.int64)
        if not all(map(bytes.strip, lines)):
            full = [i for i, text in enumerate(lines) if text.strip()]
            lines, numbers = [lines[i] for i in full], numbers[full]
        if lines:
            yield numbers, lines


def _parsed(
    lines: list[bytes],
    line: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    faults: Faults,
) -> list[Any]:
    """The lines as Python values; None for what is not an object, which is a fault."""
    try:
        rows = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        rows = [_parsed_one(text, n, faults) for text, n in zip(lines, line.tolist(), strict=True)]
    if set(map(type, rows)) == {dict}:
        return rows
    other = [i for i, row in enumerate(rows) if type(row) is not dict and row is not _BAD]
    faults.add("not a JSON object", numbers[other].tolist(), _ADVICE)
    return [row if type(row) is dict else None for row in rows]


_ADVICE = "write one JSON object a line (`jq -c '.[]'` does it to a file that is one array)"
#: Stands for a line that is not JSON.
_BAD: Any = object()


def _parsed_one(text: bytes, line: int, faults: Faults) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        named = f"{line} ({error.msg}, column {error.colno})"
        faults.add_named("not JSON", 1, [named], _ADVICE, unit="line")
        return _BAD


def _check_depth(
    rows: list[Any], lines: list[bytes], numbers: npt.NDArray[np.int64], faults: Faults
) -> None:
    """Nested values are written again as JSON text, which has an end at some depth."""
    for i, text in enumerate(lines):
        if text.count(b"[") + text.count(b"{") > _DEEP:
            try:
                orjson.dumps(rows[i])
            except TypeError:
                faults.add("nested too deep", [int(numbers[i])], "at most 250 levels are kept")


def _exact(line: bytes, name: str) -> Any:
    """A value with all its digits; None in a row so deep that it will be refused."""
    try:
        return loads_exactly(line)[name]
    except RecursionError:
        return None


def _get(row: Any, name: str) -> Any:
    return None if row is None else row.get(name)


def _all_text(values: list[Any]) -> bool:
    return set(map(type, values)) == {str} and all(map(str.strip, values))


def _checked_uris(
    rows: list[Any], numbers: npt.NDArray[np.int64], faults: Faults
) -> tuple[list[Any], npt.NDArray[np.int64], set[int]]:
    """The first URI of each row, how many it has, and which rows have a fault."""
    uris: list[Any] = []
    media = np.ones(len(rows), dtype=np.int64)
    without: list[int] = []
    both: list[int] = []
    for i, row in enumerate(rows):
        one, many = _get(row, "uri"), _get(row, "uris")
        first = one
        if many is not None:
            usable = type(many) is list and many and _all_text(many)
            first, media[i] = (many[0], len(many)) if usable else (None, 1)
        if faults.text_alone and not one and not many:
            first, media[i] = None, 0
        uris.append(first)
        if many is not None and isinstance(one, str) and one.strip():
            both.append(i)
        elif row is not None and media[i] and not (isinstance(first, str) and first.strip()):
            without.append(i)
    faults.add(NO_URI[0], numbers[without].tolist(), NO_URI[1])
    faults.add(BOTH[0], numbers[both].tolist(), BOTH[1])
    bad = {*without, *both, *(i for i, row in enumerate(rows) if row is None)}
    return uris, media, bad


def _checked_ids(ids: list[Any], lines: list[bytes]) -> tuple[list[str | None], list[int]]:
    """Ids as text (None where there is none), and which cannot be ids."""
    texts: list[str | None] = []
    wrong = []
    for i, value in enumerate(ids):
        if type(value) is float and abs(value) >= _INT64:
            # A whole number that orjson had to round is exact in the text.
            value = _exact(lines[i], "id")
        if value is None or type(value) is str:
            texts.append(value)
        elif type(value) is int:
            texts.append(str(value))
        else:
            texts.append(None)
            wrong.append(i)
    return texts, wrong


def _numbers(values: list[Any]) -> npt.NDArray[np.float64]:
    """Values as floats; NaN for what is no number."""
    if set(map(type, values)) <= {int, float}:
        return np.array(values, dtype=np.float64)
    numbers = (v if type(v) in (int, float) else np.nan for v in values)
    return np.fromiter(numbers, dtype=np.float64, count=len(values))
