"""Committed shards for a command that reads them and ends: decoded in the calling thread."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from storage.dataset import committed, data_key
from storage.errors import CorruptObject
from storage.objects import Store


def shard_tables(store: Store) -> Iterator[pa.Table]:
    """Every committed shard's records, in the manifest's order. Raises CorruptObject.

    pyarrow's own threads drop what they read a moment after it was given out. If the
    process ends in that moment, the last of it, which is Python's, ends it with SIGABRT.
    """
    for shard in committed(store):
        key = data_key(shard)
        try:
            with pq.ParquetFile(pa.BufferReader(store.get(key))) as file:
                table = file.read(use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise CorruptObject(
                f"{store.uri}/{key}: not a shard of mediamill ({error}); move the file out of data/"
            ) from error
        yield table.replace_schema_metadata(None)
