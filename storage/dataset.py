"""Shard files in and out. A shard's file is its own commit: it exists, so it is done."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from storage.errors import CorruptObject, NotFound
from storage.objects import Store
from storage.records import SCHEMA_VERSION

_FOOTER_KEY = b"mediamill"
#: Enough for the footer of almost every shard file in one ranged read.
_TAIL_BYTES = 64 * 1024


class Footer(BaseModel):
    """What a shard's file says of itself, in its Parquet key-value metadata.

    `positions` counts rows by outcome; times are seconds since the epoch; `tokens`
    are prompt and output tokens of the shard.
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
    """What the shard's file says of itself, by one or two ranged reads; None if not committed."""
    key = data_key(shard)
    found = store.head(key)
    if found is None:
        return None
    tail = store.read(key, max(0, found.size - _TAIL_BYTES), found.size)
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > len(tail):
        tail = store.read(key, max(0, found.size - length), found.size)
    # Parquet readers want the magic in front; the footer itself holds absolute offsets only.
    metadata = pq.read_metadata(io.BytesIO(b"PAR1" + tail[-length:])).metadata
    return _footer(key, metadata)


def read_shard(store: Store, shard: int) -> tuple[pa.Table, Footer, str]:
    """A committed shard's records, its footer, and its etag. Raises NotFound."""
    key = data_key(shard)
    data, etag = store.get_tagged(key)
    table = pq.read_table(io.BytesIO(data))
    return table, _footer(key, table.schema.metadata), etag


def read_tables(store: Store) -> Iterator[pa.Table]:
    """Every committed shard's records, in the manifest's order."""
    for found in store.list("data/"):
        try:
            data = store.get(found.key)
        except NotFound:
            continue
        yield pq.read_table(io.BytesIO(data)).replace_schema_metadata(None)


def _footer(key: str, metadata: dict[bytes, bytes] | None) -> Footer:
    value: Any = (metadata or {}).get(_FOOTER_KEY)
    if value is None:
        raise CorruptObject(f"{key}: not a shard of mediamill; move the file out of data/")
    return Footer.model_validate(json.loads(value))
