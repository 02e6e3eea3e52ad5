"""JSON lines: a record a line, with all that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from jobs.exports.base import File, Format, Tally, has_items
from jobs.exports.subtitles import SEGMENTS, cues_of
from storage.columns import for_python, json_text

#: The column that records with segments get beside them.
CUES = "cues"


class Lines(Format):
    """Every record, those with an error too. Nested values stay nested, and columns that hold
    JSON text become what it says; times are ISO 8601, and NaN is null."""

    name: ClassVar[str] = "jsonl"

    def files(
        self, tables: Iterator[pa.Table], kinds: Mapping[str, str], tally: Tally
    ) -> Iterator[File]:
        """One file."""
        yield File(self._lines(tables, kinds, tally))

    def _lines(
        self, tables: Iterator[pa.Table], kinds: Mapping[str, str], tally: Tally
    ) -> Iterator[bytes]:
        for table in tables:
            records = _records(table, kinds)
            if has_items(table.schema, *SEGMENTS):
                if CUES in table.schema.names:
                    note = f"the manifest's column {CUES} is kept; cues of subtitles are left out"
                    tally.notes += [note] if note not in tally.notes else []
                else:
                    for record in records:
                        record[CUES] = _cues(record)
            tally.records += len(records)
            tally.written += len(records)
            yield "".join(f"{line}\n" for line in json_text(records).to_pylist()).encode()


def _records(table: pa.Table, kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    columns = [
        for_python(table.column(index), kinds.get(column.name, str(column.type)))
        for index, column in enumerate(table.schema)
    ]
    names = table.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _cues(record: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    cues, _ = cues_of(record)
    return None if cues is None else [cue.to_json() for cue in cues]
