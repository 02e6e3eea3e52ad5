"""Manifests that are a listing: the media of a folder or bucket, or what a pattern picks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import InvalidManifest
from storage.objects import Object, Store, is_local, open_store

#: Extensions of the media that a folder is searched for.
MEDIA_EXTENSIONS = frozenset(
    re.findall(
        r"\w+",
        "jpg jpeg png gif webp avif heic heif tif tiff bmp jp2 pdf "
        "wav flac mp3 ogg oga opus aac m4a amr aif aiff ac3 "
        "mp4 m4v mov mkv webm avi ts mts m2ts mpg mpeg flv 3gp wmv",
    )
)
_WILD = re.compile(r"[*?\[]")
_BATCH = 16_384
_SCHEMA = pa.schema([("id", pa.string()), ("uri", pa.string()), ("bytes", pa.int64())])


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects below `root` whose key, relative to it, `pattern` matches.

    Without an extension in the pattern only known media are taken. `named` is what the
    user gave.
    """

    named: str
    root: str
    prefix: str
    pattern: re.Pattern[str]
    media_only: bool

    def find(self) -> Iterator[tuple[str, str, Object]]:
        """(id, whole URI, object), sorted by key. Raises InvalidManifest if the root is gone."""
        store = open_store(self.root)
        ids = _id_prefix(store)
        for found in store.list(self.prefix):
            if self.pattern.fullmatch(found.key) and not found.key.endswith("/"):
                extension = found.key.rpartition(".")[2].lower()
                if not self.media_only or extension in MEDIA_EXTENSIONS:
                    yield ids + found.key, f"{store.uri}/{found.key}", found


def is_pattern(uri: str) -> bool:
    """Whether the URI has wildcards and is not the name of a file that is there."""
    return bool(_WILD.search(uri)) and ("://" in uri or not Path(uri).is_file())


def parse_pattern(uri: str) -> Listing:
    """A listing of what a pattern such as `s3://bucket/prefix/**/*.mp4` picks.

    `**` is any number of folders, `*` and `?` stay within a name, `[ab]` is one of them.
    """
    wild = _WILD.search(uri)
    at = uri.rfind("/", 0, wild.start() if wild else None)
    root, rest = (uri[:at], uri[at + 1 :]) if at >= 0 else (".", uri)
    literal = _WILD.split(rest, maxsplit=1)[0]
    last = rest.rpartition("/")[2]
    return Listing(uri, root or "/", literal, _regex(rest), "." not in last)


def folder(uri: str) -> Listing:
    """A listing of the media anywhere below a folder, bucket or prefix."""
    return Listing(uri, uri.rstrip("/") or "/", "", re.compile(".*", re.DOTALL), True)


def write_listing(listing: Listing, path: Path) -> str:
    """Write the rows of a listing as Parquet (id, uri, bytes), and give its digest.

    The digest is of the sorted (key, etag, size). Raises InvalidManifest if nothing is
    found.
    """
    digest = hashlib.sha256()
    rows: list[tuple[str, str, int]] = []
    total = 0
    with pq.ParquetWriter(path, _SCHEMA, compression="lz4", use_dictionary=False) as writer:
        for key, uri, found in listing.find():
            if not key.isascii():
                _check_name(listing.named, key)
            digest.update(json.dumps([key, found.etag, found.size]).encode() + b"\n")
            rows.append((key, uri, found.size))
            total += 1
            if len(rows) == _BATCH:
                _flush(writer, rows)
        _flush(writer, rows)
    if not total:
        what = "media (by extension)" if listing.media_only else "objects"
        raise InvalidManifest(
            f"{listing.named}: no {what} found; give a manifest file, a folder with media, or a "
            "pattern such as 's3://bucket/prefix/**/*.mp4'"
        )
    return digest.hexdigest()


def _check_name(named: str, key: str) -> None:
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise InvalidManifest(
            f"{named}: the file name {key!r} is not UTF-8, as ids and URIs are; rename it"
        ) from error


def _flush(writer: pq.ParquetWriter, rows: list[tuple[str, str, int]]) -> None:
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        writer.write_table(pa.table(columns, schema=_SCHEMA))
        rows.clear()


def _id_prefix(store: Store) -> str:
    """What stands before a relative key in an id: of a bucket ids are the keys."""
    if is_local(store.uri):
        return ""
    path = store.uri.partition("://")[2].partition("/")[2]
    return f"{path}/" if path else ""


def _regex(pattern: str) -> re.Pattern[str]:
    parts = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif pattern[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif pattern[at] == "?":
            parts.append("[^/]")
            at += 1
        elif pattern[at] == "[" and "]" in pattern[at + 2 :]:
            end = pattern.index("]", at + 2)
            negated = pattern[at + 1] == "!"
            inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", pattern[at + 1 + negated : end])
            parts.append(f"[{'^/' if negated else ''}{inside}]")
            at = end + 1
        else:
            parts.append(re.escape(pattern[at]))
            at += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise InvalidManifest(f"{pattern}: no pattern ({error}); correct its [ ]") from error
