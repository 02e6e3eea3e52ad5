"""What a reader of a job's output sees, and what is wrong with it."""

from __future__ import annotations

import io
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.objects import open_store


class Wrong(AssertionError):
    """Raised when a job did not end as promised; says which rows."""


def records(out: str) -> dict[str, dict[str, Any]]:
    """A job's records by row, without what may differ. Raises Wrong for a row that is there twice.

    Reads whatever a reader of `data/*.parquet` would.
    """
    found: dict[str, dict[str, Any]] = {}
    schemas: list[pa.Schema] = []
    store = open_store(out)
    for item in store.list("data/"):
        if not re.fullmatch(r"data/\d{7}\.parquet", item.key):
            raise Wrong(f"a stranger among the shards: {item.key}")
        table = pq.read_table(io.BytesIO(store.get(item.key)))
        schemas.append(table.schema.remove_metadata())
        for record in table.to_pylist():
            if record["row_id"] in found:
                raise Wrong(f"{record['row_id']} is there twice")
            record.pop("lineage")
            record["usage"].pop("seconds")
            found[record["row_id"]] = record
    if any(schema != schemas[0] for schema in schemas):
        raise Wrong("shards of unlike schemas")
    return found
