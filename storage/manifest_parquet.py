"""Rows of Parquet manifests, a column at a time and never row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
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
from storage.cell_columns import media_columns
from storage.columns import JSON, carried_type, parse_type, plain
from storage.errors import InvalidManifest
from storage.tables import TableFile


class ParquetRows:
    """Rows of one or more tables with the same columns. See `Source`."""

    format: Literal["parquet", "json"] = "parquet"
    #: The fault of a row without media, and what to do.
    no_media = NO_URI

    def __init__(self, files: Sequence[TableFile]) -> None:
        """Raises InvalidManifest."""
        self._files = files
        self._schema = files[0].schema().remove_metadata()
        _check_keys(files[0].name, self._schema)
        for file in files[1:]:
            _check_same(files[0].name, self._schema, file.name, file.schema())

    def columns(self) -> list[Column]:
        """The columns to carry, as the files have them."""
        found = []
        for field in self._schema:
            if field.name not in KEYS:
                kind = carried_type(field.type)
                note = f"column {field.name}: {field.type} becomes JSON text"
                found.append(Column(field.name, kind, note if kind == JSON else None))
        return [*found, URIS] if "uris" in self._schema.names else found

    def blocks(
        self, faults: Faults, *, limit: int | None = None, keep: npt.NDArray[np.int64] | None = None
    ) -> Iterator[Block]:
        """See `Source.blocks`."""
        if not faults.text_alone:
            check_media(self._files[0].name, self._schema)
        first = 0
        for file in self._files:
            for batch in file.batches(self._schema.names):
                table = pa.Table.from_batches([batch])
                if limit is not None:
                    table = table.slice(0, limit - first)
                numbers = np.arange(first, first + table.num_rows, dtype=np.int64)
                first += table.num_rows
                if keep is not None:
                    mask = selected(numbers, keep)
                    table, numbers = table.filter(pa.array(mask)), numbers[mask]
                if table.num_rows:
                    yield self._block(file.name, table, numbers, faults)
                if first == limit:
                    return

    def _block(
        self, name: str, table: pa.Table, numbers: npt.NDArray[np.int64], faults: Faults
    ) -> Block:
        # A batch is one chunk, so that columns can be taken as plain arrays.
        present = set(table.column_names)
        uri = _one(table.column("uri").cast(pa.string())) if "uri" in present else None
        uris = _one(table.column("uris").cast(_LIST)) if "uris" in present else None
        usable = _usable(numbers, uri, uris, faults, self.no_media)
        if not usable.all():
            mask = pa.array(usable)
            table, numbers = table.filter(mask).combine_chunks(), numbers[usable]
            uri = uri.filter(mask) if uri is not None else None
            uris = uris.filter(mask) if uris is not None else None
        ids = _ids(name, table, numbers)
        names, arrays = ["id"], [ids]
        media = np.ones(len(numbers), dtype=np.int64)
        first = pa.nulls(len(numbers), pa.string()) if uri is None else uri
        if uri is not None:
            names, arrays = [*names, "uri"], [*arrays, uri]
        if uris is not None:
            names, arrays = [*names, "uris"], [*arrays, uris]
            media = pc.fill_null(pc.list_value_length(uris), 1).to_numpy().astype(np.int64)
            # Rows without a list are null here: their first URI is the one of `uri`.
            head = pc.list_element(uris.fill_null([None]), 0)
            first = head if uri is None else pc.coalesce(head, uri)
        if faults.text_alone:
            media = np.where(_is_text(first), media, 0)
        for column in self._schema.names:
            if column not in KEYS:
                names.append(f"c{len(names)}")
                arrays.append(_plain(name, table, column)[0])
        if uris is not None:
            names, arrays = [*names, f"c{len(names)}"], [*arrays, uris]
        hints = {h: _numbers(table.column(h)) for h in HINTS if _is_hint(table, h)}
        return Block(numbers, ids, first, media, hints, pa.table(arrays, names=names))


_LIST = pa.list_(pa.string())


def _check_keys(name: str, schema: pa.Schema) -> None:
    names = schema.names
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InvalidManifest(f"{name}: two columns are called {twice[0]!r}; rename one")
    wrong = {
        "uri": "uri" in names and carried_type(schema.field("uri").type) not in _TEXTS,
        "uris": "uris" in names and not _is_text_list(schema.field("uris").type),
        "id": "id" in names and not _is_id(schema.field("id").type),
    }
    wanted = {"uri": "text", "uris": "a list of texts", "id": "text or a whole number"}
    for column, is_wrong in wrong.items():
        if is_wrong:
            raise InvalidManifest(
                f"{name}: column {column!r} is {schema.field(column).type}, "
                f"and must be {wanted[column]}; cast it"
            )


def check_media(name: str, schema: pa.Schema) -> None:
    """Raise InvalidManifest if no column says where the rows' media lie."""
    if "uri" not in schema.names and "uris" not in schema.names:
        held = media_columns(schema)
        if held:
            raise InvalidManifest(
                f"{name}: no column 'uri' or 'uris', which says where a row's media lie; if they "
                f"are in a column themselves, name it: --media-column {' or '.join(held)}"
            )
        raise InvalidManifest(
            f"{name}: no column 'uri' or 'uris', which says where a row's media lie; "
            f"the columns are: {', '.join(schema.names) or 'none'}"
        )


def _check_same(first: str, expected: pa.Schema, name: str, schema: pa.Schema) -> None:
    missing = sorted(set(expected.names) ^ set(schema.names))
    if missing:
        raise InvalidManifest(
            f"{name} and {first}: column {missing[0]!r} is in one of them only; "
            "the files of one manifest have the same columns"
        )
    for field in expected:
        other = schema.field(field.name).type
        if carried_type(field.type) != carried_type(other):
            raise InvalidManifest(
                f"{name}: column {field.name!r} is {other}, and {field.type} in {first}; "
                "the files of one manifest have the same types"
            )


_TEXTS = ("string", "large_string")


def _is_text_list(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    lists = lists or pa.types.is_fixed_size_list(kind)
    return bool(lists) and carried_type(kind.value_type) in _TEXTS


def _is_id(kind: pa.DataType) -> bool:
    text = carried_type(kind)
    return text in _TEXTS or bool(pa.types.is_integer(parse_type(text)))


def _is_hint(table: pa.Table, name: str) -> bool:
    if name not in table.column_names:
        return False
    kind = table.schema.field(name).type
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(is_one(kind) for is_one in numeric)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _plain(name: str, table: pa.Table, column: str) -> tuple[pa.ChunkedArray, str]:
    try:
        return plain(table.column(column))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidManifest(
            f"{name}: column {column!r} cannot be carried ({error}); cast or drop it"
        ) from error


def _ids(name: str, table: pa.Table, numbers: npt.NDArray[np.int64]) -> pa.StringArray:
    if "id" not in table.column_names:
        return row_numbers(numbers)
    ids = _one(_plain(name, table, "id")[0].cast(pa.string()))
    missing = pc.or_kleene(pc.is_null(ids), pc.equal(pc.binary_length(ids), 0))
    if pc.any(missing).as_py():
        ids = pc.if_else(missing, row_numbers(numbers), ids)
    return ids


def _usable(
    numbers: npt.NDArray[np.int64],
    uri: pa.Array | None,
    uris: pa.Array | None,
    faults: Faults,
    no_media: tuple[str, str],
) -> npt.NDArray[np.bool_]:
    """Which rows can be planned; the others are noted as faults."""
    good = np.zeros(len(numbers), dtype=np.bool_) if uri is None else _is_text(uri)
    both = np.zeros(len(numbers), dtype=np.bool_)
    if uris is not None:
        has_list: npt.NDArray[np.bool_] = uris.is_valid().to_numpy(zero_copy_only=False)
        both = has_list & good
        parents = pc.list_parent_indices(uris).to_numpy()
        blank = parents[~_is_text(pc.list_flatten(uris))]
        some = np.bincount(parents, minlength=len(numbers)) > 0
        some &= np.bincount(blank, minlength=len(numbers)) == 0
        good = (has_list & some) | (~has_list & good)
    if faults.text_alone:
        alone = ~good
        if uris is not None:
            alone &= pc.fill_null(pc.list_value_length(uris), 0).to_numpy() == 0
        good |= alone
    faults.add(BOTH[0], numbers[both].tolist(), BOTH[1])
    faults.add(no_media[0], numbers[~good & ~both].tolist(), no_media[1])
    return good & ~both


def _is_text(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Which are neither null nor blank."""
    if not texts.null_count and not pc.any(pc.utf8_is_space(texts)).as_py():
        full: npt.NDArray[np.bool_] = pc.binary_length(texts).to_numpy() > 0
        return full
    trimmed = pc.fill_null(pc.binary_length(pc.utf8_trim_whitespace(texts)), 0)
    some: npt.NDArray[np.bool_] = trimmed.to_numpy(zero_copy_only=False) > 0
    return some


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    values = column.cast(pa.float64(), safe=False)
    result: npt.NDArray[np.float64] = values.to_numpy().astype(np.float64)
    return result
