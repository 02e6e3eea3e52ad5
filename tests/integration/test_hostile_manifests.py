"""Manifests that are too long, of no text, or of odd values: refused with a reason, or read."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import RowError
from storage.media import MediaSource
from tests.planning import ROOM_MB, plan_apart, planned, refusal


def _packed(path: Path, parts: Iterator[bytes]) -> None:
    """Write a compressed manifest that never lies anywhere as it is."""
    codec = {".gz": "gzip", ".zst": "zstd"}[path.suffix]
    with pa.CompressedOutputStream(str(path), codec) as file:
        for part in parts:
            file.write(part)


def _one_line(head: bytes, megabytes: int) -> Iterator[bytes]:
    yield head
    for _ in range(megabytes):
        yield b"a" * (1 << 20)


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.jsonl.zst", "m.tsv.zst"])
def test_a_line_of_a_gigabyte_is_refused_in_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    first = b'{"uri": "a"}\n' if "json" in name else b"uri\n"
    head = first * 3 + b'{"uri": "'
    if path.suffix in (".gz", ".zst"):
        _packed(path, _one_line(head, 1024))
    else:
        with path.open("wb") as file:
            file.write(head + b"a" * (80 << 20))
            file.truncate(1 << 30)  # the rest is a hole in the file
    found = plan_apart(path, tmp_path / "out", 120)
    assert found["rows"] is None
    assert f"{name}, line 4: longer than" in found["said"]
    assert found["held_mb"] < ROOM_MB


def _rows(count: int, filler: str) -> Iterator[bytes]:
    """Rows of some 10 kB, a megabyte at a time."""
    for first in range(0, count, 100):
        yield "".join(
            f'{{"id": "row-{n}", "uri": "media/{n}.png", "note": "{n} {filler}"}}\n'
            for n in range(first, min(first + 100, count))
        ).encode()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_ten_gigabytes_of_rows_are_planned_in_little_memory(tmp_path: Path) -> None:
    """Made on the fly, and packed: a manifest is read more than once, so it cannot be a pipe."""
    filler = "word " * 2030
    path = tmp_path / "m.jsonl.zst"
    count = 1_000_000
    _packed(path, _rows(count, filler))
    assert count * len(filler) > 10_000_000_000
    assert path.stat().st_size < 1 << 30
    found = plan_apart(path, tmp_path / "out", 500)
    assert found["said"] is None
    assert found["rows"] == count
    assert found["held_mb"] < ROOM_MB


def test_a_hundred_megabytes_of_rows_are_planned_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl.zst"
    _packed(path, _rows(10_000, "word " * 2000))
    found = plan_apart(path, tmp_path / "out", 120)
    assert (found["said"], found["rows"]) == (None, 10_000)
    assert found["held_mb"] < ROOM_MB


def _deep(levels: int) -> str:
    return "[" * levels + "]" * levels


_WIDE = "123456789012345678901234567890"
_REFUSED: dict[str, tuple[str, bytes, str]] = {
    "not UTF-8": ("m.jsonl", b'{"uri":"a"}\n{"uri":"\xff"}', "line 2 (str is not valid UTF-8"),
    "not UTF-8 in CSV": ("m.csv", b"uri\na\n\xff\n", "line 3: not UTF-8"),
    "half a character": ("m.jsonl", b'{"uri":"\\ud800"}', "line 1 (no low surrogate"),
    "UTF-16": ("m.jsonl", '{"uri":"a"}'.encode("utf-16"), "this is UTF-16; save it as UTF-8"),
    "UTF-16 unmarked": ("m.jsonl", '{"uri":"a"}'.encode("utf-16-le"), "line 1 ("),
    "UTF-16 in CSV": ("m.csv", "uri\na".encode("utf-16-le"), "line 1: null bytes"),
    "UTF-32": ("m.jsonl", '{"uri":"a"}'.encode("utf-32"), "save it as UTF-8"),
    "null bytes": ("m.jsonl", b'{"uri":"a"}\n' + bytes(99), "line 2 ("),
    "a null byte within": ("m.jsonl", b'{"uri":"a\0b"}', "line 1 ("),
    "null bytes in CSV": ("m.csv", b"uri,x\na,1\nb\0c,2\n", "line 3: null bytes"),
    "nothing but null": ("m.csv", bytes(5000), "line 1: null bytes"),
    "ids twice": ("m.jsonl", b'{"uri":"a","id":"1"}\n{"uri":"b","id":1}', "row 1 (row 0 is '1'"),
    "a column twice": ("m.csv", b"uri,a,a\n1,2,3\n", "two columns are called 'a'; rename one"),
    "fractions as ids": ("m.jsonl", b'{"uri":"a","id":1.5}', "row 0: an 'id' of another kind"),
    "truths as ids": ("m.jsonl", b'{"uri":"a","id":true}', "an id is text or a whole number"),
    "lists as ids": ("m.jsonl", b'{"uri":"a","id":[1]}', "row 0: an 'id' of another kind"),
    "endless ids": ("m.jsonl", b'{"uri":"a","id":1e999}', "line 1 (number is infinity"),
    "digits as ids": ("m.jsonl", b'{"uri":"a","id":%s}' % (b"9" * 5000), "line 1 (number is inf"),
    "numbers as URIs": ("m.jsonl", b'{"uri":5}\n{"uri":{}}', "rows 0, 1 (2 in all): no 'uri'"),
    "deep": ("m.jsonl", f'{{"uri":"a","x":{_deep(300)}}}'.encode(), "row 0: nested too deep"),
    "deeper": ("m.jsonl", f'{{"uri":"a","x":{_deep(1000)}}}'.encode(), "row 0: nested too deep"),
    "deepest": ("m.jsonl", f'{{"uri":"a","x":{_deep(10**6)}}}'.encode(), "line 1 (depth limit"),
    "deep, with a wide id": (
        "m.jsonl", f'{{"uri":"a","id":{_WIDE},"x":{_deep(1000)}}}'.encode(), "nested too deep"
    ),
    "deep, with a wide number": (
        "m.jsonl", f'{{"uri":"a","y":{_WIDE},"x":{_deep(1000)}}}'.encode(), "nested too deep"
    ),
    "an open quote": ("m.csv", b'uri,x\n"a,1\n' + b"b,2\n" * 50_000, "check its quotes"),
    "a million cells": ("m.csv", b"uri,x\na" + b"," * 10**6, "line 2: not as many cells"),
    "an array": ("m.jsonl", b'[{"uri":"a"}]', "row 0: not a JSON object"),
    "old line ends": ("m.jsonl", b'{"uri":"a"}\r{"uri":"b"}\r', "line 1 (unexpected content"),
    "nothing": ("m.jsonl", b"", "no rows; a job needs at least one"),
    "nothing packed": ("m.jsonl.zst", b"", "no rows; a job needs at least one"),
    "not packed": ("m.jsonl.gz", b"not gzip", "damaged compressed file"),
    "no Parquet": ("m.parquet", b"PAR1" + bytes(60) + b"PAR1", "not a readable Parquet file"),
    "no tar": ("m.tar", b"x" * 2000, "damaged tar, at byte 0"),
    "an empty tar": ("m.tar", b"", "damaged tar, at byte 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(_REFUSED))
def test_what_is_refused_is_told_with_its_place(tmp_path: Path, what: str) -> None:
    name, data, said = _REFUSED[what]
    path = tmp_path / name
    path.write_bytes(data)
    message = refusal(path)
    assert said in message
    assert str(path) in message
    assert "\0" not in message
    assert len(message) < 600


def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe, device = tmp_path / "pipe.jsonl", tmp_path / "device.csv"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    began = time.monotonic()
    for path in (pipe, device):
        assert "a pipe or a device" in refusal(path)
    assert time.monotonic() - began < 20


def test_whole_numbers_of_any_size_are_ids(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    ids: list[Any] = [77, -3, 0, 2**53 + 1, 2**64 - 1, int(_WIDE), "", None, "a\0b", " "]
    path.write_text("\n".join(json.dumps({"uri": "a", "id": value}) for value in ids))
    _, rows = planned(path)
    texts = [str(value) if value not in ("", None) else str(at) for at, value in enumerate(ids)]
    assert [row.id for row in rows] == texts


def test_of_a_key_given_twice_the_last_counts(tmp_path: Path) -> None:
    """In the plan's checks and in what a worker reads alike."""
    path = tmp_path / "m.jsonl"
    path.write_text(
        '{"uri": "a", "id": 1, "x": [], "uri": "b", "id": 2, "y": {"k": 1, "k": 2}, "x": 7}'
    )
    plan, [row] = planned(path)
    assert (row.id, row.uris, row.columns["x"]) == ("2", ("b",), 7)
    assert row.columns["y"] == {"k": 2}
    assert {c.name: c.type for c in plan.columns} == {"x": "int64", "y": "json"}


@pytest.mark.parametrize("name", ["m.jsonl", "m.parquet"])
def test_a_null_byte_in_a_uri_is_an_error_of_its_row(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "m.jsonl":
        path.write_text(json.dumps({"uri": "a\0b"}))
    else:
        pq.write_table(pa.table({"uri": ["a\0b"]}), path)
    _, [row] = planned(path)
    source = MediaSource(local_roots=[tmp_path])
    with contextlib.closing(source), pytest.raises(RowError) as caught:
        source.fetch(row.uris[0], max_bytes=1000, base=str(tmp_path))
    assert caught.value.kind == "not_found"
    assert "\0" not in caught.value.message


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.parquet"])
def test_columns_with_our_names_are_carried_under_others(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ours = frozenset({"row_id", "uri", "status", "error", "text"})
    columns = {"uri": "a", "status": 1, "error": 2, "text": "t", "in_text": 4, "row_id": 5}
    texts = {
        "m.jsonl": json.dumps(columns),
        "m.csv": f"{','.join(columns)}\n{','.join(map(str, columns.values()))}\n",
    }
    if name == "m.parquet":
        pq.write_table(pa.table({key: [value] for key, value in columns.items()}), path)
    else:
        path.write_text(texts[name])
    plan, [row] = planned(path, reserved=ours)
    names = {column.source: column.name for column in plan.columns}
    assert names == {
        "status": "in_status", "error": "in_error", "text": "in_in_text", "in_text": "in_text",
        "row_id": "in_row_id",
    }  # fmt: skip
    assert {source: row.columns[source] for source in names} == {n: columns[n] for n in names}
    assert not set(names.values()) & ours
