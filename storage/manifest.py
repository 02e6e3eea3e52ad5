"""Manifests: what a URI names, ready to be read in blocks of rows.

JSONL (`.jsonl`, `.ndjson`), CSV (`.csv`, `.tsv`), both also as `.gz` or `.zst`; Parquet,
one file, a folder of files or a pattern; a dataset saved by Hugging Face `datasets`;
WebDataset tars; or a listing of media by folder or pattern. Each local or in a store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from storage.blocks import Source
from storage.errors import Forbidden, InvalidManifest, NotFound, Refused
from storage.listing import Listing, folder, is_pattern, parse_pattern, write_listing
from storage.local_copy import LocalCopy
from storage.manifest_cells import no_column_named, open_cells
from storage.manifest_csv import CsvRows
from storage.manifest_jsonl import JsonRows
from storage.manifest_parquet import ParquetRows, check_media
from storage.manifest_tars import open_tars, tars_of
from storage.objects import is_local, local_path, open_store, split_uri
from storage.table_files import escaped, find_tables, saved_files
from storage.tables import ParquetTable, schema_in_place

_JSON = frozenset({".jsonl", ".ndjson"})
_CSV = {".csv": ",", ".tsv": "\t"}
_PARQUET = frozenset({".parquet", ".pq"})
_PACKED = frozenset({".gz", ".zst"})
_KNOWN = (
    ".jsonl, .ndjson, .csv, .tsv (also with .gz or .zst behind), .parquet, .tar, a folder of "
    "media or of .parquet files, and patterns such as 's3://bucket/prefix/**/*.mp4' or "
    "'x-{000..099}.tar'"
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """An open manifest. `digest` gives its content's SHA-256 once it was read."""

    uri: str
    source: Source
    digest: Callable[[], str]
    base: str | None


@contextlib.contextmanager
def open_manifest(
    uri: str, scratch: Path, *, media_column: str | None = None, text_alone: bool = False
) -> Iterator[Manifest]:
    """Open what `uri` names; `scratch` is an empty local folder to work in.

    With `media_column` it is tables that hold their media in that column; with `text_alone`
    rows need no media.

    Raises InvalidManifest for what is no manifest or cannot be read, StoreUnavailable if
    its store does not answer.
    """
    with contextlib.ExitStack() as stack:
        try:
            if media_column is None:
                manifest = _open(uri, scratch, stack, text_alone)
            else:
                manifest = _cells(uri, media_column)
        except (Refused, NotFound, Forbidden) as error:
            # A URI that no store takes, or a place that may not be listed.
            if isinstance(error, InvalidManifest):
                raise
            raise InvalidManifest(f"manifest {uri}: {error}") from error
        yield manifest


def _open(uri: str, scratch: Path, stack: contextlib.ExitStack, text_alone: bool) -> Manifest:
    tars = tars_of(uri)
    if tars is not None:
        rows = open_tars(uri, tars)
        return Manifest(uri, rows, rows.digest, None)
    if is_pattern(uri):
        listing = parse_pattern(uri)
        kind = PurePosixPath(uri).suffix.lower()
        if kind in _PARQUET:
            return _files(uri, listing, scratch, stack, text_alone)
        if kind in _JSON or kind in _CSV or kind in _PACKED or kind == ".json":
            raise InvalidManifest(
                f"{uri}: a pattern of {kind} files; give one such file (only Parquet manifests "
                "may be several)"
            )
        return _listing(listing, scratch)
    names = PurePosixPath(uri).suffixes[-2:]
    packed = bool(names) and names[-1].lower() in _PACKED
    kind = (names[-2] if packed and len(names) > 1 else names[-1] if names else "").lower()
    if _is_folder(uri, kind):
        return _folder(uri, scratch, stack, text_alone)
    if kind not in _JSON and kind not in _CSV and (kind not in _PARQUET or packed):
        if not is_local(uri) or local_path(uri).exists():
            raise InvalidManifest(f"{uri}: unknown kind of manifest; known are {_KNOWN}")
        raise InvalidManifest(f"{uri}: no such manifest; check the path")
    if is_local(uri) and _is_special(local_path(uri)):
        raise InvalidManifest(
            f"{uri}: a pipe or a device, and a manifest is read more than once; write it to a file"
        )
    if kind in _PARQUET:
        _look(uri, text_alone)
    copy = stack.enter_context(LocalCopy(uri, scratch, _hasher(stack)))
    if kind in _PARQUET:
        source: Source = ParquetRows([ParquetTable(uri, copy.path)])
    elif kind in _CSV:
        source = CsvRows(uri, copy.open, _CSV[kind])
    else:
        source = JsonRows(uri, copy.open)
    return Manifest(uri, source, copy.digest, split_uri(uri)[0])


def _cells(uri: str, column: str) -> Manifest:
    """Tables that hold their media, read in place."""
    files, base = find_tables(uri)
    rows = open_cells(files, column)
    return Manifest(uri, rows, rows.digest, base)


def _is_folder(uri: str, kind: str) -> bool:
    if is_local(uri):
        return local_path(uri).is_dir()
    if kind in _JSON or kind in _CSV or kind in _PARQUET:
        return False
    store = open_store(uri.rstrip("/"))
    return next(iter(store.list("")), None) is not None


def _is_special(path: Path) -> bool:
    return path.is_fifo() or path.is_char_device() or path.is_socket() or path.is_block_device()


def _folder(uri: str, scratch: Path, stack: contextlib.ExitStack, text_alone: bool) -> Manifest:
    if saved_files(uri) is not None:
        raise no_column_named(uri, find_tables(uri)[0][0])
    listing = folder(uri)
    tables = parse_pattern(f"{escaped(uri.rstrip('/'))}/*.parquet")
    if next(tables.find(), None) is None:
        return _listing(listing, scratch)
    if next(listing.find(), None) is not None:
        raise InvalidManifest(
            f"{uri}: holds both media and .parquet files; say which with a pattern, such as "
            f"'{uri.rstrip('/')}/*.parquet'"
        )
    return _files(uri, tables, scratch, stack, text_alone)


def _files(
    uri: str, listing: Listing, scratch: Path, stack: contextlib.ExitStack, text_alone: bool
) -> Manifest:
    """Several Parquet files as one manifest, sorted by key."""
    for _, name, _ in listing.find():
        _look(name, text_alone)
        break
    threads = _hasher(stack)
    copies = {
        key: stack.enter_context(LocalCopy(name, scratch, threads))
        for key, name, _ in listing.find()
    }
    if not copies:
        raise InvalidManifest(f"{uri}: no such .parquet files; check the pattern")

    def digest() -> str:
        parts = [[key, copy.digest()] for key, copy in copies.items()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    source = ParquetRows([ParquetTable(copy.uri, copy.path) for copy in copies.values()])
    return Manifest(uri, source, digest, listing.root)


def _look(uri: str, text_alone: bool) -> None:
    """See that a Parquet file says where media lie, before it is copied: it may hold them all."""
    if not is_local(uri) and not text_alone:
        check_media(uri, schema_in_place(uri))


def _listing(listing: Listing, scratch: Path) -> Manifest:
    path = scratch / "listing.parquet"
    digest = write_listing(listing, path)
    rows = ParquetRows([ParquetTable(listing.named, path)])
    return Manifest(listing.named, rows, lambda: digest, None)


def _hasher(stack: contextlib.ExitStack) -> ThreadPoolExecutor:
    return stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="manifest-digest"))
