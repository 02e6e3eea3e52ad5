"""Manifests that hold their media: tables with a column of them, of which all else is read.

Files are read in place, and of the media no more than how long they are: a row's URI
becomes a reference to its cell (`storage.cell_uri`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from storage.arrow_cells import ArrowCells
from storage.arrow_stream import read_schema
from storage.blocks import Column
from storage.cell_columns import holds_media, media_columns
from storage.errors import Forbidden, InvalidManifest, NotFound
from storage.manifest_parquet import ParquetRows
from storage.parquet_cells import ParquetCells
from storage.parquet_sizes import check_rows
from storage.ranges import open_ranges

#: Rows handed on at a time.
_ROWS = 32_768
#: Files opened at once.
_OPENED_AT_ONCE = 8
#: Before names of columns that would be taken for something else here.
_OTHER = "\0"

Reader = ParquetCells | ArrowCells


class CellFile:
    """One table with media in `column`. Raises InvalidManifest."""

    def __init__(self, uri: str, column: str) -> None:
        self.name = uri
        with _refused(uri):
            source = open_ranges(uri)
            self.tag, self.size = source.tag, source.size
            make = ArrowCells if uri.endswith(".arrow") else ParquetCells
            self._reader: Reader = make(source)
        self._column = column
        _check(uri, self._reader.schema, column)

    @property
    def summary(self) -> str:
        """SHA-256 of the part of the file that describes the rest, in hex."""
        return self._reader.summary

    def schema(self) -> pa.Schema:
        """The columns as rows have them: the cell's reference as `uri`, then the others."""
        others = [f for f in self._reader.schema if f.name != self._column]
        return pa.schema([pa.field("uri", pa.string()), *(f.with_name(_own(f)) for f in others)])

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows with these columns, and with the media's sizes as `bytes` if it is not one."""
        first = 0
        with _refused(self.name):
            for others, uris, sizes in self._reader.rows(self._column):
                arrays = {"uri": uris}
                arrays |= {_own(f): a for f, a in zip(others.schema, others.columns, strict=True)}
                arrays.setdefault("bytes", sizes)
                wanted = [*names, *({"bytes"} - set(names))]
                batch = pa.RecordBatch.from_arrays([arrays[n] for n in wanted], wanted)
                check_rows(self.name, first, batch)
                first += batch.num_rows
                # Neither format's writers always keep UTF-8.
                batch.validate(full=True)
                for start in range(0, batch.num_rows, _ROWS):
                    yield batch.slice(start, _ROWS)

    def check_unchanged(self) -> None:
        """Raise InvalidManifest if the file is another by now."""
        with _refused(self.name):
            if open_ranges(self.name).tag != self.tag:
                raise NotFound("changed while it was read; submit it again")


class CellRows(ParquetRows):
    """Rows of tables with media in a column. See `Source`.

    What the tables call `uri` or `uris` is a column like any other.
    """

    def __init__(self, files: Sequence[CellFile], column: str) -> None:
        """Raises InvalidManifest if the files do not have the same columns."""
        super().__init__(files)
        self._cells = files
        self.no_media = (
            f"neither bytes nor a path in {column!r}",
            "every row needs one; leave the others out",
        )

    def columns(self) -> list[Column]:
        """The columns to carry, as the files have them."""
        return [
            Column(c.source.removeprefix(_OTHER), c.type, c.note and c.note.replace(_OTHER, ""))
            for c in super().columns()
        ]

    def digest(self) -> str:
        """SHA-256 of what tells the files' versions; the media are not read for it.

        That is, of each its name and size, the store's etag (of a local file the time of its
        last change), and the digest of its footer, which says where each part lies and how
        long it is (of an Arrow stream: of its schema). Raises InvalidManifest if a file
        changed while the manifest was read.
        """
        with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
            list(pool.map(CellFile.check_unchanged, self._cells))
        known = [[file.name, file.size, file.tag, file.summary] for file in self._cells]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def open_cells(uris: Sequence[str], column: str) -> CellRows:
    """The rows of these files, whole URIs, in order. Raises InvalidManifest."""
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        files = list(pool.map(lambda uri: CellFile(uri, column), uris))
    return CellRows(files, column)


def no_column_named(uri: str, file: str) -> InvalidManifest:
    """The refusal of a saved dataset of which `file` is one, since its media lie in a column."""
    with _refused(file):
        schema, _ = read_schema(open_ranges(file))
    return InvalidManifest(
        f"{uri}: a dataset saved by datasets, whose media lie in a column; name it with "
        f"--media-column, which {_could_be(schema)}"
    )


def _could_be(schema: pa.Schema) -> str:
    """Which columns could hold media, in words."""
    names = media_columns(schema)
    return f"could be: {', '.join(names)}" if names else "could be none of its columns"


def _check(name: str, schema: pa.Schema, column: str) -> None:
    at = schema.get_field_index(column)
    if at < 0:
        raise InvalidManifest(
            f"{name}: no column {column!r} for --media-column; {_could_be(schema)}"
        )
    if not holds_media(schema.field(at).type):
        raise InvalidManifest(
            f"{name}: column {column!r} is {schema.field(at).type}, and a --media-column is binary "
            f"or a struct of binary 'bytes' and text 'path'; {_could_be(schema)}"
        )


def _own(field: pa.Field) -> str:
    name = str(field.name)
    return f"{_OTHER}{name}" if name in ("uri", "uris") else name


@contextlib.contextmanager
def _refused(name: str) -> Iterator[None]:
    try:
        yield
    except (NotFound, Forbidden) as error:
        raise InvalidManifest(f"{name}: the manifest cannot be read: {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise InvalidManifest(f"{name}: not a readable table ({error}); write it again") from error
