"""The plan of a job: its rows in shards, as Parquet objects that workers read a shard of.

`_job/plan/<token>/<n>.parquet` holds up to 256 shards, each a row group. Their columns
are `id`, then either `uri`, `uris` and the carried columns of a Parquet manifest in their
order, or `json`, the text of a row whose types were settled over the whole manifest.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from jobs.tasks.base import Row
from storage.columns import JSON, for_python, from_json, loads_exactly, parse_type
from storage.errors import CorruptObject, NotFound
from storage.objects import Store
from storage.ranges import ObjectRanges, RangeFile, Twice

#: Footers kept in memory: a worker's open shards are neighbours, so few files are in use.
_FOOTERS = 16


class Carried(BaseModel):
    """A column of the manifest that goes into the records.

    `source` is its name in the manifest, `name` the one in records (`in_<source>` where
    that is a record column), `type` its Arrow type as text ("json": a string of JSON).
    """

    model_config = ConfigDict(frozen=True)

    source: str
    name: str
    type: str

    @property
    def field(self) -> pa.Field:
        """The column in the schema of the records."""
        return pa.field(self.name, parse_type(self.type))


class Plan(BaseModel):
    """What is known of a planned manifest, and where its shards lie.

    `tokens` is what the rows are estimated to take, prompts, media and answers.
    `firsts` has the number of the first shard of each plan file. `base` is what relative
    URIs resolve against; a listing has none, its URIs are whole.
    """

    model_config = ConfigDict(frozen=True)

    token: str
    format: Literal["parquet", "json"]
    shards: int
    rows: int
    tokens: int
    columns: tuple[Carried, ...]
    manifest_digest: str
    base: str | None
    firsts: tuple[int, ...]

    @property
    def schema(self) -> pa.Schema:
        """The carried columns as records have them."""
        return pa.schema([column.field for column in self.columns])


@dataclass(frozen=True, slots=True)
class ShardRows:
    """The rows of a shard; `carried` has the record names and final types, in the same order.

    The `columns` of a row are under their names in the manifest, as Python values.
    """

    shard: int
    rows: list[Row]
    carried: pa.Table


def plan_prefix(token: str) -> str:
    """Where the objects of a plan lie under OUT."""
    return f"_job/plan/{token}/"


def plan_key(token: str, number: int) -> str:
    """The key of the plan's file `number`."""
    return f"{plan_prefix(token)}{number:05d}.parquet"


class PlanReader:
    """Reads shards of a plan, each by ranged reads of one row group. Thread-safe."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store = store
        self._plan = plan
        self._lock = threading.Lock()
        self._footers: OrderedDict[int, tuple[pq.FileMetaData, ObjectRanges]] = OrderedDict()

    def shard(self, n: int) -> ShardRows:
        """The rows of shard `n`. Raises CorruptObject if the plan is damaged or gone."""
        if not 0 <= n < self._plan.shards:
            raise IndexError(f"shard {n} of a plan of {self._plan.shards}")
        number = bisect_right(self._plan.firsts, n) - 1
        key = plan_key(self._plan.token, number)
        try:
            table = self._group(number, key, n - self._plan.firsts[number])
        except NotFound as error:
            raise CorruptObject(
                f"{self._store.uri}/{key}: the plan's file is gone; move the output place away "
                "and submit again"
            ) from error
        except (pa.ArrowException, OSError) as error:
            raise CorruptObject(
                f"{self._store.uri}/{key}: not a readable plan file ({error}); move the output "
                "place away and submit again"
            ) from error
        return (
            _from_json(self._plan, n, table)
            if self._plan.format == "json"
            else _from_columns(self._plan, n, table)
        )

    def _group(self, number: int, key: str, group: int) -> pa.Table:
        metadata, source = self._footer(number, key)
        with pq.ParquetFile(
            RangeFile(source), metadata=metadata, pre_buffer=True, page_checksum_verification=True
        ) as file:
            return file.read_row_group(group, use_threads=False)

    def _footer(self, number: int, key: str) -> tuple[pq.FileMetaData, ObjectRanges]:
        with self._lock:
            if number in self._footers:
                self._footers.move_to_end(number)
                return self._footers[number]
        found = self._store.head(key)
        if found is None:
            raise NotFound(f"{self._store.uri}/{key}: no such object")
        source = ObjectRanges(self._store, found)
        # No page's checksum covers it, and it is kept.
        metadata = pq.read_metadata(RangeFile(Twice(source)))
        with self._lock:
            self._footers[number] = (metadata, source)
            while len(self._footers) > _FOOTERS:
                self._footers.popitem(last=False)
        return metadata, source


def _from_columns(plan: Plan, shard: int, table: pa.Table) -> ShardRows:
    ids = table.column("id").to_pylist()
    none = [None] * table.num_rows
    names = table.column_names
    uris = table.column("uris").to_pylist() if "uris" in names else none
    uri = table.column("uri").to_pylist() if "uri" in names else none
    offset = table.num_columns - len(plan.columns)
    arrays = [table.column(offset + i) for i in range(len(plan.columns))]
    carried = _carried(plan, arrays, table.num_rows)
    values = _values(plan, carried)
    rows = [
        Row(i, tuple(many) if many is not None else _one(one), columns)
        for i, one, many, columns in zip(ids, uri, uris, values, strict=True)
    ]
    return ShardRows(shard, rows, carried)


def _from_json(plan: Plan, shard: int, table: pa.Table) -> ShardRows:
    # Whole numbers beyond 64 bits are in columns of JSON text only, where each digit counts.
    exact = any(column.type == JSON for column in plan.columns)
    loads = loads_exactly if exact else orjson.loads
    objects: list[dict[str, Any]] = [loads(text) for text in table.column("json").to_pylist()]
    arrays = [from_json([o.get(c.source) for o in objects], c.type) for c in plan.columns]
    carried = _carried(plan, arrays, len(objects))
    values = _values(plan, carried)
    rows = [
        Row(i, _uris(o), columns)
        for i, o, columns in zip(table.column("id").to_pylist(), objects, values, strict=True)
    ]
    return ShardRows(shard, rows, carried)


def _uris(value: dict[str, Any]) -> tuple[str, ...]:
    many = value.get("uris")
    if many is None:
        return _one(value.get("uri"))
    # In a CSV file a list is JSON text.
    return tuple(orjson.loads(many) if isinstance(many, str) else many)


def _one(uri: str | None) -> tuple[str, ...]:
    return (uri,) if uri and uri.strip() else ()


def _values(plan: Plan, carried: pa.Table) -> Iterator[dict[str, Any]]:
    names = [column.source for column in plan.columns]
    columns = [for_python(carried.column(i), c.type) for i, c in enumerate(plan.columns)]
    if not columns:
        return ({} for _ in range(carried.num_rows))
    return (dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True))


def _carried(plan: Plan, arrays: list[Any], rows: int) -> pa.Table:
    if not arrays:
        # A table made of no columns would forget how many rows it has.
        return pa.table({"x": pa.nulls(rows)}).select([])
    return pa.Table.from_arrays(arrays, schema=plan.schema)
