"""Samples of a WebDataset tar as rows: members with one basename are one.

As the webdataset library has it, a member's key is its name up to the first dot of its last
part, neighbours with one key are a sample, and the rest of the name says what a member is.
Media stay where they are: a row's URIs are references to members (`storage.tar_uri`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from storage.columns import json_text, loads_exactly
from storage.errors import Forbidden, InvalidManifest, NotFound
from storage.listing import MEDIA_EXTENSIONS
from storage.ranges import open_ranges
from storage.tar_uri import TarMember
from storage.tars import Member, Tar

#: Bytes of the members of a sample that are read for columns, together and at most.
_MOST_TEXT = 16 << 20
#: What webdataset takes for a key; names without a dot, or that begin with one, are no sample's.
_NAME = re.compile(r"(?P<key>(?:.*/)?[^./]+)\.(?P<extension>[^/]*)", re.DOTALL)
_NOTES = re.compile(r"__[^/]*__(/|$)")
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
#: Names that are no field's of a .json member.
_TAKEN = frozenset({"id", "uri", "uris", "txt", "cls"})
_MEDIA = "jpg, png, webp, mp3, flac, wav, mp4, …"


@dataclass(frozen=True, slots=True)
class PlannedTar:
    """A tar, the version of it that is planned, and what stands before keys in ids."""

    uri: str
    size: int
    tag: str
    prefix: str


@dataclass(frozen=True, slots=True)
class SampleFault:
    """What is wrong, with which member or sample, and what to do."""

    what: str
    named: str
    advice: str


@dataclass(slots=True)
class _Sample:
    key: str
    members: dict[str, Member] = field(default_factory=dict)
    columns: dict[str, bytes] = field(default_factory=dict)
    faults: list[SampleFault] = field(default_factory=list)


def rows_of(tar: PlannedTar, text_alone: bool) -> Iterator[bytes | SampleFault]:
    """Each sample as a row, one line of JSON, or what is wrong with it in its place.

    Columns are `txt`, `cls`, the fields of a .json that are not nested, and `bytes`, of its
    media. Raises InvalidManifest for what is no tar or is damaged, StoreUnavailable.
    """
    for sample in _samples(tar):
        if sample.faults:
            yield from sample.faults
            continue
        name = f"{tar.prefix}{sample.key}"
        row: dict[str, Any] = {"id": name}
        media = [
            TarMember(tar.uri, m.at, m.size, m.head, tar.tag, m.name)
            for extension, m in sample.members.items()
            if _last(extension) in MEDIA_EXTENSIONS
        ]
        if len(media) == 1:
            row["uri"] = media[0].uri
        elif media:
            row["uris"] = [member.uri for member in media]
        faults = list(_add_columns(row, name, sample.columns))
        if not media and not text_alone:
            advice = f"every sample needs one, known by its extension ({_MEDIA})"
            faults.append(SampleFault("no medium among its members", name, advice))
        if faults:
            yield from faults
            continue
        if media:
            row.setdefault("bytes", sum(member.size for member in media))
        yield json_text([row])[0].as_py().encode() + b"\n"


def _samples(tar: PlannedTar) -> Iterator[_Sample]:
    """Neighbours with one key, with the bytes of those that become columns."""
    try:
        source = open_ranges(tar.uri)
        if source.tag != tar.tag:
            raise NotFound("changed while it was read; submit it again")
        archive = Tar(source)
        sample: _Sample | None = None
        for member in archive.members():
            match = _NAME.fullmatch(member.name)
            if match is None or _NOTES.match(member.name):
                continue
            key, extension = match["key"], match["extension"].lower()
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = _Sample(key)
            _take(tar, archive, member, extension, sample)
        if sample is not None:
            yield sample
    except (NotFound, Forbidden) as error:
        raise InvalidManifest(f"{tar.uri}: the tar cannot be read: {error}") from error


def _take(tar: PlannedTar, archive: Tar, member: Member, extension: str, sample: _Sample) -> None:
    named = f"{tar.prefix}{member.name}"
    last = _last(extension)
    columns = last in ("json", "txt", "cls")
    if not columns and last not in MEDIA_EXTENSIONS:
        return
    fault = None
    if not _is_utf8(named):
        fault = SampleFault("a name that is not UTF-8", repr(named), "rename its members")
    elif extension in sample.members:
        fault = SampleFault("a second member of one name", named, "keep one of them")
    elif member.is_link:
        advice = "make the tar with --dereference --hard-dereference"
        fault = SampleFault("a link, which has no bytes of its own", named, advice)
    elif columns and member.size > _MOST_TEXT:
        fault = SampleFault(f"a .{last} of over {_MOST_TEXT >> 20} MiB", named, "leave it out")
    elif columns and member.size + sum(map(len, sample.columns.values())) > _MOST_TEXT:
        what = f"texts of over {_MOST_TEXT >> 20} MiB in one sample"
        fault = SampleFault(what, named, "leave some out")
    if fault is not None:
        sample.faults.append(fault)
        return
    sample.members[extension] = member
    if columns:
        sample.columns[extension] = archive.read(member)


def _add_columns(
    row: dict[str, Any], name: str, columns: dict[str, bytes]
) -> Iterator[SampleFault]:
    """Put the columns of a sample into its row."""
    for extension, data in columns.items():
        if _last(extension) == "json":
            continue
        try:
            text = data.decode()
        except UnicodeDecodeError:
            yield SampleFault("a text that is not UTF-8", f"{name}.{extension}", "save it as UTF-8")
            continue
        whole = _last(extension) == "cls" and _WHOLE.fullmatch(text.strip())
        row[extension] = int(text) if whole else text
    for extension, data in columns.items():
        if _last(extension) != "json":
            continue
        try:
            fields = orjson.loads(data)
        except orjson.JSONDecodeError:
            yield SampleFault("a .json that is not JSON", f"{name}.{extension}", "write it again")
            continue
        if isinstance(fields, dict) and any(isinstance(v, float) for v in fields.values()):
            # orjson rounds whole numbers beyond 64 bits.
            fields = loads_exactly(data)
        for key, value in fields.items() if isinstance(fields, dict) else ():
            if not isinstance(value, dict | list):
                column = f"{extension.removesuffix('json')}{key}"
                while column in _TAKEN or column in row:
                    column = f"in_{column}"
                row[column] = value


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _last(extension: str) -> str:
    return extension.rpartition(".")[2]
