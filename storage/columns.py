"""Types of a manifest's columns: settled over all its values, and kept in the spec as text."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import re
from collections.abc import Callable, Sequence
from enum import Flag, auto
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

#: The type of a column that holds JSON text: nested values, or values of several types.
JSON = "json"
#: The type of a column of lists of texts.
TEXTS = "list<string>"

#: Whole numbers up to here keep their value in a double.
EXACT_IN_DOUBLE = 2**53

_PARAMETRIC: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], pa.DataType]], ...] = (
    (re.compile(r"timestamp\[(\w+), tz=(.+)\]"), lambda m: pa.timestamp(m[1], tz=m[2])),
    (re.compile(r"decimal32\((\d+), (-?\d+)\)"), lambda m: pa.decimal32(int(m[1]), int(m[2]))),
    (re.compile(r"decimal64\((\d+), (-?\d+)\)"), lambda m: pa.decimal64(int(m[1]), int(m[2]))),
    (re.compile(r"decimal128\((\d+), (-?\d+)\)"), lambda m: pa.decimal128(int(m[1]), int(m[2]))),
    (re.compile(r"decimal256\((\d+), (-?\d+)\)"), lambda m: pa.decimal256(int(m[1]), int(m[2]))),
    (re.compile(r"fixed_size_binary\[(\d+)\]"), lambda m: pa.binary(int(m[1]))),
)


class Kinds(Flag):
    """What has been seen in a column of JSON values."""

    NOTHING = 0
    BOOL = auto()
    INT = auto()
    #: A whole number that a double would round.
    WIDE = auto()
    #: A whole number beyond int64.
    HUGE = auto()
    FLOAT = auto()
    TEXT = auto()
    NESTED = auto()


def settle(seen: Kinds) -> str:
    """The type of a column in which these kinds were seen; null goes with every type."""
    if seen in (Kinds.NOTHING, Kinds.TEXT):
        return "string"
    if seen == Kinds.BOOL:
        return "bool"
    if not seen & ~(Kinds.INT | Kinds.WIDE):
        return "int64"
    if not seen & ~(Kinds.INT | Kinds.FLOAT):
        return "double"
    return JSON


def parse_type(text: str) -> pa.DataType:
    """The Arrow type that `str(type)` gave; JSON text is a string. Raises ValueError."""
    if text == JSON:
        return pa.string()
    if text == TEXTS:
        return pa.list_(pa.string())
    for pattern, build in _PARAMETRIC:
        match = pattern.fullmatch(text)
        if match:
            return build(match)
    return pa.type_for_alias(text)


def plain(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, str]:
    """A Parquet column as it is carried, and its type as text.

    Dictionaries become their values, extension types their storage, and nested values
    JSON text; every other type is kept.
    """
    if isinstance(column.type, pa.BaseExtensionType):
        storage = [chunk.storage for chunk in column.chunks]
        column = pa.chunked_array(storage, type=column.type.storage_type)
    kind = carried_type(column.type)
    if kind == JSON:
        return pa.chunked_array([json_text(column.to_pylist())], type=pa.string()), JSON
    target = parse_type(kind)
    if column.type != target:
        column = pc.cast(column, target)
    return column, kind


def carried_type(kind: pa.DataType) -> str:
    """The type, as text, in which a Parquet column of type `kind` is carried."""
    if isinstance(kind, pa.BaseExtensionType):
        return carried_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return carried_type(kind.value_type)
    if pa.types.is_run_end_encoded(kind):
        return carried_type(kind.value_type)
    if pa.types.is_nested(kind):
        return JSON
    if pa.types.is_null(kind) or pa.types.is_string_view(kind):
        return "string"
    if pa.types.is_binary_view(kind):
        return "binary"
    return str(kind)


def json_text(values: Sequence[Any]) -> pa.Array:
    """JSON text of Python values; None stays null."""
    return pa.array([None if v is None else _dumps(v) for v in values], type=pa.string())


def from_json(values: Sequence[Any], kind: str) -> pa.Array:
    """A column of parsed JSON values in its settled type.

    The cells of a CSV file are text, and are read as numbers here.
    """
    if kind == JSON:
        return json_text(values)
    if kind == "string":
        return pa.array(values, type=pa.string())
    if kind == TEXTS:
        lists = [orjson.loads(v) if isinstance(v, str) else v for v in values]
        return pa.array(lists, type=parse_type(TEXTS))
    read = _READERS[kind]
    typed = [v if v is None or not isinstance(v, str) else read(v) for v in values]
    return pa.array(typed, type=parse_type(kind))


def for_python(column: pa.ChunkedArray, kind: str) -> list[Any]:
    """The column as Python values for a task: JSON text parsed, nanoseconds as microseconds."""
    if kind == JSON:
        return [None if v is None else loads_exactly(v) for v in column.to_pylist()]
    if kind.startswith(("timestamp[ns", "duration[ns", "time64[ns")):
        # Python's own types end at microseconds, and pyarrow would ask for pandas.
        column = pc.cast(column, parse_type(kind.replace("[ns", "[us", 1)), safe=False)
    return list(column.to_pylist())


def loads_exactly(text: str | bytes) -> Any:
    """Parse JSON with whole numbers of any size as they are, unlike orjson."""
    return json.loads(text)


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: text.lower() == "true",
    "int64": int,
    "double": float,
}


def _dumps(value: Any) -> str:
    try:
        return orjson.dumps(value, default=_default, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):
        # Whole numbers beyond 64 bits.
        return json.dumps(value, default=_default, ensure_ascii=False, separators=(",", ":"))


def _default(value: object) -> object:
    """Values of nested Parquet columns that JSON has no form for."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
