"""What a checkpoint holds: finished records, and finished requests of rows of several."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.pieces import Span
from storage.records import Record


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished request of a row of several: enough to not ask it again.

    `row` is the row's place in its shard; `media_sha256` and `prompt_sha256` must equal
    those of the new attempt, or the answer is to another question.
    """

    row: int
    media_sha256: str
    prompt_sha256: str
    span: Span
    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives an equal object back."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "span"} | {
            "span": [getattr(self.span, name) for name in Span.__slots__]
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(**{**value, "span": Span(*value["span"])})


@dataclass(slots=True)
class Progress:
    """What earlier attempts at a shard finished: records by row, and requests of other rows."""

    records: dict[int, Record] = field(default_factory=dict)
    requests: dict[int, list[Finished]] = field(default_factory=dict)

    def add(self, row: int, value: Record | Finished) -> None:
        """Note finished work; the first of a key wins."""
        if isinstance(value, Record):
            self.records.setdefault(row, value)
        elif all(
            (f.span, f.media_sha256, f.prompt_sha256)
            != (value.span, value.media_sha256, value.prompt_sha256)
            for f in self.requests.get(row, ())
        ):
            self.requests.setdefault(row, []).append(value)


def pack(work: Sequence[tuple[int, Record | Finished]]) -> bytes:
    """Finished work by row as the bytes of an object."""
    table = pa.table(
        {
            "row": pa.array([row for row, _ in work], pa.int32()),
            "kind": pa.array(
                ["record" if isinstance(v, Record) else "request" for _, v in work], pa.string()
            ),
            "value": pa.array([json.dumps(v.to_json()) for _, v in work], pa.string()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def unpack(data: bytes) -> list[tuple[int, Record | Finished]]:
    """What `pack` was given. Raises ArrowException, ValueError, TypeError or KeyError."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        table = file.read(use_threads=False)
    read: list[tuple[int, Record | Finished]] = []
    for entry in table.to_pylist():
        kind = Record if entry["kind"] == "record" else Finished
        read.append((entry["row"], kind.from_json(json.loads(entry["value"]))))
    return read
