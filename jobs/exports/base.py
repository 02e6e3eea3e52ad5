"""The contract of a format: tables of records in, files of bytes out. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from storage.errors import InvalidJob


@dataclass(frozen=True, slots=True)
class File:
    """One file of an export. Its chunks are to be read before the next file is asked for.

    `name` is its name in DEST, where the format makes a folder. Else it is DEST itself or,
    if `beside` is given (`images`), the file of that kind beside it.
    """

    chunks: Iterable[bytes]
    name: str = ""
    beside: str = ""


@dataclass(slots=True)
class Tally:
    """What became of the records.

    `records` were read, `written` of them are in the export, and `left_out` counts the
    others by reason. `labels` counts objects whose label is no category; they are in no
    file either. `notes` are for people.
    """

    records: int = 0
    written: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


class Format(ABC):
    """One way to write a job's records down."""

    name: ClassVar[str]
    #: DEST is a folder with a file for each record, which may be written side by side.
    folder: ClassVar[bool] = False
    #: A column of lists that records must have, and fields that its items must have.
    needs: ClassVar[tuple[str, frozenset[str]] | None] = None

    @abstractmethod
    def files(
        self, tables: Iterator[pa.Table], kinds: Mapping[str, str], tally: Tally
    ) -> Iterator[File]:
        """The files that these records make, counted in `tally` on the way.

        `tables` are a job's shards in order, each small enough for memory; `kinds` are the
        types of the manifest's columns as the plan names them.
        """

    def check(self, schema: pa.Schema) -> None:
        """Raises InvalidJob if records of this schema lack what the format shows."""
        if self.needs is not None and not has_items(schema, *self.needs):
            column, _ = self.needs
            raise InvalidJob(
                f"format {self.name} shows the column {column}, which the records of this job "
                f"do not have; they have: {', '.join(schema.names)}"
            )


def has_items(schema: pa.Schema, column: str, fields: frozenset[str]) -> bool:
    """Whether records have such a column of lists, of items with these fields."""
    if column not in schema.names:
        return False
    kind = schema.field(column).type
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    return fields <= {kind.value_type.field(i).name for i in range(kind.value_type.num_fields)}
