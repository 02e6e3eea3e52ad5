"""Shard files in and out. A shard's file is its own commit: it exists, so it is done."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import CorruptObject, NotFound
from storage.objects import Object, Store
from storage.ranges import ObjectRanges, Twice
from storage.records import SCHEMA_VERSION

_FOOTER_KEY = b"mediamill"
_DATA_KEY = re.compile(r"data/(\d{7,})\.parquet")
#: Enough for the footer of almost every shard file in one ranged read.
_TAIL_BYTES = 64 * 1024


class Footer(BaseModel):
    """What a shard's file says of itself, in its Parquet key-value metadata.

    `ok`, `error` and `quarantined` count its rows by outcome, `warnings` those that have
    each warning, by name; times are seconds since the epoch by the worker's clock; tokens
    are those of all its rows.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    shard: int
    generation: int
    attempt: int
    worker: str
    ok: int
    error: int
    quarantined: int
    started_at: float
    finished_at: float
    prompt_tokens: int
    output_tokens: int
    warnings: dict[str, int] = {}
    schema_version: str = SCHEMA_VERSION


def shard_name(shard: int) -> str:
    """The fixed, sortable name of a shard in every key that mentions it."""
    return f"{shard:07d}"


def data_key(shard: int) -> str:
    """The key of a shard's result."""
    return f"data/{shard_name(shard)}.parquet"


def encode(table: pa.Table, footer: Footer) -> bytes:
    """The bytes of a shard's file."""
    metadata = {**(table.schema.metadata or {}), _FOOTER_KEY: footer.model_dump_json().encode()}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return sink.getvalue()


def commit(store: Store, shard: int, table: pa.Table, footer: Footer) -> bool:
    """Write the shard's result if there is none; False if somebody else's is there."""
    return store.put_if_absent(data_key(shard), encode(table, footer))


def replace(store: Store, shard: int, table: pa.Table, footer: Footer, etag: str) -> bool:
    """Put a retry's result in place of the one with this etag; False if that one is gone."""
    return store.put_if_match(data_key(shard), encode(table, footer), etag)


def read_footer(store: Store, shard: int) -> Footer | None:
    """What the shard's file says of itself, by one or two ranged reads; None if not committed.

    Raises CorruptObject if something else lies there.
    """
    key = data_key(shard)
    while (found := store.head(key)) is not None:
        try:
            return _read_footer(store, found)
        except NotFound:
            # A retry replaced it between two reads: look at the new one.
            continue
    return None


def _read_footer(store: Store, found: Object) -> Footer:
    key, size = found.key, found.size
    source = Twice(ObjectRanges(store, found))
    tail = source.read(max(0, size - _TAIL_BYTES), size)
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) < length <= size:
        tail = source.read(size - length, size)
    try:
        # Parquet readers want the magic in front; the footer itself holds absolute offsets only.
        metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + tail[-length:])).metadata
    except (pa.ArrowException, OSError) as error:
        raise _not_ours(store, key, str(error)) from error
    return _footer(store, key, metadata)


def read_shard(
    store: Store, shard: int, columns: list[str] | None = None
) -> tuple[pa.Table, Footer, str]:
    """A committed shard's records, its footer, and its etag. Raises NotFound, CorruptObject.

    With `columns` only these are decoded; the file is fetched whole, which takes one round
    trip where its parts would take several.
    """
    key = data_key(shard)
    data, etag = store.get_tagged(key)
    table = _table(store, key, data, columns)
    return table, _footer(store, key, table.schema.metadata), etag


def read_tables(store: Store) -> Iterator[pa.Table]:
    """Every committed shard's records, in the manifest's order. Raises CorruptObject."""
    for shard in committed(store):
        key = data_key(shard)
        yield _table(store, key, store.get(key)).replace_schema_metadata(None)


def committed(store: Store) -> Iterator[int]:
    """Shards that have a result, in order, by listing it. Files of others are left alone."""
    for found in store.list("data/"):
        match = _DATA_KEY.fullmatch(found.key)
        if match is not None:
            yield int(match[1])


def _table(store: Store, key: str, data: bytes, columns: list[str] | None = None) -> pa.Table:
    try:
        # In this thread, from pyarrow's own kind of file: its threads drop what they read of
        # Python's a moment after it was given out, and a command that ends in that moment
        # is ended by SIGABRT.
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            return file.read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _not_ours(store, key, str(error)) from error


def _footer(store: Store, key: str, metadata: dict[bytes, bytes] | None) -> Footer:
    try:
        return Footer.model_validate_json((metadata or {})[_FOOTER_KEY])
    except KeyError:
        raise _not_ours(store, key, "it has no footer of ours") from None
    except ValidationError as error:
        raise _not_ours(store, key, f"its footer does not read: {error}") from error


def _not_ours(store: Store, key: str, why: str) -> CorruptObject:
    return CorruptObject(
        f"{store.uri}/{key}: not a shard of mediamill ({why}); move the file out of data/"
    )
