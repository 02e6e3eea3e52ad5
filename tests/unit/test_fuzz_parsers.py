"""Any text or bytes through what parses them: a value, or the error that is theirs."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from jobs.markup import Output, read_output
from jobs.pages import check_pages, chosen_pages
from jobs.tasks.loose_json import read_loose
from orchestration.wire import fault
from storage import cell_uri, tar_uri
from storage.errors import InvalidManifest, RowError
from storage.media import MediaSource
from storage.sniff import HEAD_BYTES, Kind, Sniffed, sniff
from tests.hostile.films import film
from tests.hostile.mutation import broken, every, mutated, tried
from tests.hostile.papers import whole
from tests.hostile.pictures import FORMATS, sample
from tests.hostile.sounds import sound
from tests.media import tone
from tests.planning import planned

_CSV = (
    b'uri,id,n,t\na.png,1,5,"x, y"\nb.png,,0.5,"two\nlines"\nc.png,3,,"a ""quote"""\n',
    'uri\turis\n\t["a", "b"]\nc\té\n'.encode(),
)
_JSON = tuple(
    "\n".join(json.dumps(row) for row in rows).encode()
    for rows in (
        [{"uri": "a", "id": "x", "n": 1}, {"uri": "b", "n": 2.5, "deep": {"a": [1, {"b": None}]}}],
        [{"uris": ["a", "é"], "id": 12345678901234567890, "duration_s": 1e300, "bytes": -1}],
        [{"uri": "a", "t": "\u2028\ud83d\ude00"}] * 3,
    )
)


def _table(**options: Any) -> bytes:
    sink = io.BytesIO()
    columns = {"uri": ["a", "b", "c"], "id": [1, 2, 3], "x": [[1], None, [2, 3]], "t": list("abc")}
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


_MEMBERS = {
    "a.png": sample("PNG"), "a.json": b'{"n": 1}', "b.txt": b"words", "b.jpg": sample("JPEG"),
    "x" * 120 + ".png": b"p", "c.cls": b"7",
}  # fmt: skip


def _tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in _MEMBERS.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


@tried(60, 3000)
def test_sniffing(tries: int, tmp_path: Path) -> None:
    wholes = [sample(form) for form in FORMATS]
    wholes += [whole(tmp_path), _tar(), _table(), *_CSV, *_JSON, "é<svg>".encode("utf-16")]
    for form in (("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("aac", "aac")):
        wholes.append(sound(tmp_path, *form, tone(0.1, rate=48_000)))
    wholes.append(film(tmp_path, "ts", "mpeg2video", "yuv420p", 2))

    def check(data: bytes) -> None:
        found = sniff(data[:HEAD_BYTES])
        assert isinstance(found, Sniffed)
        assert found.kind is None or found.kind in get_args(Kind)
        assert found.mime
        assert found.looks

    every(tries, mutated(wholes), check)


def _plans(path: Path, tries: int, wholes: tuple[bytes, ...]) -> None:
    """Damaged manifests, each of which must be planned or refused by its name."""

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            plan, rows = planned(path)
        except InvalidManifest as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert plan.rows == len(rows) > 0
            assert len({row.id for row in rows}) == len(rows)
            assert all(uri.strip() for row in rows for uri in row.uris)

    every(tries, mutated(wholes), check)


@pytest.mark.parametrize(
    ("name", "wholes"),
    [
        ("m.jsonl", _JSON),
        ("m.csv", _CSV),
        ("m.tsv", _CSV),
        ("m.parquet", (_table(), _table(compression="zstd"), _table(use_dictionary=False))),
        ("m.tar", (_tar(),)),
    ],
)
@tried(20, 800)
def test_manifests(tries: int, name: str, wholes: tuple[bytes, ...], tmp_path: Path) -> None:
    _plans(tmp_path / name, tries, wholes)


_CELL = ("cell:", "/data/x.parquet", "#column=", "image", "&row=", "1", "&tag=", "a", "&batch=",
         "5-1", "&name=", "%41", "%", "#", "&", "=", "-", "9" * 19, "\u0663")  # fmt: skip
_TAR = ("tar:", "/data/x.tar", "#at=", "512", "&bytes=", "1", "&head=", "9f3ac21b", "&tag=", "a",
        "&member=", "0001.jpg", "%2f", "%", "#", "&", "\0", "9" * 18)  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "form"),
    [
        (_CELL, "cell:/x.parquet#column={}&row={}&tag={}&batch=5-1&name={}"),
        (_TAR, "tar:/x.tar#at={}&bytes={}&head=9f3ac21b&tag={}&member={}"),
    ],
)
@tried(40, 1500)
def test_references(tries: int, parts: tuple[str, ...], form: str, tmp_path: Path) -> None:
    """Also those that are well-formed and of nothing: a row's own error, whatever they say."""
    source = MediaSource(local_roots=[tmp_path])
    value = broken(parts)
    numbers = st.one_of(st.integers(0, 10**18).map(str), value)
    filled = st.tuples(value, numbers, value, value).map(lambda four: form.format(*four))

    def check(text: str) -> None:
        parse = cell_uri.parse if text.startswith("cell:") else tar_uri.parse
        try:
            parse(text)
        except RowError as error:
            assert error.kind == "not_found"  # noqa: PT017
        with pytest.raises(RowError):
            source.fetch(text, max_bytes=1000)

    try:
        every(tries, st.one_of(broken(parts), filled), check)
    finally:
        source.close()


@tried(60, 3000)
def test_data_uris(tries: int) -> None:
    source = MediaSource(local_roots=[])
    parts = ("data:", "DATA:", "image/png", ";base64", ",", "%", "%4", "iVBORw0KGgo=", "=", " ")

    def check(text: str) -> None:
        with pytest.raises(RowError):
            source.fetch(f"data:{text}", max_bytes=1)

    try:
        every(tries, broken(parts), check)
    finally:
        source.close()


_MARKUP = ("<|channel>", "<channel|>", "thought\n", "<|tool_call>", "<tool_call|>", "call:", "f",
           "{", "}", "[", "]", ",", ":", '<|"|>', "<turn|>", "<eos>", "true", "1e999", "-", "0.5",
           "\u0663", "9" * 400)  # fmt: skip
_LOOSE = ("{", "}", "[", "]", ",", ":", '"', "'", "\\", "\\u", "d800", "null", "None", "NaN", "-",
          "1", ".", "e", "//", "/*", "*/", "\n", "```json", "key", "9" * 5000)  # fmt: skip


@tried(60, 3000)
def test_answers_of_models(tries: int) -> None:
    def check_markup(text: str) -> None:
        found = read_output(text)
        assert isinstance(found, Output)
        json.dumps([call.arguments for call in found.tool_calls])

    def check_loose(text: str) -> None:
        for value in read_loose(text).values:
            assert isinstance(value, (list, dict))

    every(tries, broken(_MARKUP), check_markup)
    every(tries, broken(_LOOSE), check_loose)


@pytest.mark.parametrize(
    "opening", ["[", "{", '{"a":', "[[{", "call:f{a:[", "<|tool_call>call:f{a:"]
)
def test_answers_that_only_open(opening: str) -> None:
    """Deeper than a stack, and longer than what is squared would end in."""
    text = opening * 5_000
    read_output(text)
    read_output(f"<|tool_call>call:f{text}")
    assert read_loose(text).values == ()


_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


_PARTS = (
    "body", "callbacks", "chord", "eta", "task", "id", "reply_to", "content-type", "redelivered",
    "application/x-python-serialize", "priority", "body_encoding", "base64", "s3://b/x",
)  # fmt: skip


@st.composite
def _messages(draw: st.DrawFn) -> Any:
    """A message of ours in which some part is another: anything, or what Celery would obey."""
    body: Any = [["/place", 7], {}, {}]
    whole: dict[str, Any] = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "mediamill.run_shard", "id": "an-id"},
        "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "q"}},
    }
    places = [whole, whole["headers"], whole["properties"], body, *body]
    for _ in range(draw(st.integers(0, 3))):
        at: Any = draw(st.sampled_from(places))
        keys = st.integers(0, 3) if isinstance(at, list) else st.sampled_from(_PARTS) | st.text()
        key, value = draw(keys), draw(_JSON_VALUES | st.sampled_from(_PARTS))
        if isinstance(at, list):
            at[key : key + 1] = [value]
        else:
            at[key] = value
    if isinstance(whole["body"], list):
        whole["body"] = json.dumps(whole["body"])
    return whole if draw(st.booleans()) else json.loads(json.dumps(whole))


@tried(100, 5000)
def test_messages(tries: int) -> None:
    """Whatever is in a queue passes for a place and a number, or does not pass."""
    passed = 0

    def check(message: Any) -> None:
        nonlocal passed
        why = fault(message)
        if why is None:
            (place, shard), arguments, options = json.loads(message["body"])
            assert place.startswith(("/", "s3://"))
            assert type(shard) is int
            assert 0 <= shard < 10**9
            assert (arguments, options) == ({}, {})
            assert message["headers"]["task"] == "mediamill.run_shard"
            assert message["content-type"] == "application/json"
            passed += 1
        else:
            assert len(why) < 100

    every(tries, st.one_of(_messages(), _JSON_VALUES), check)
    assert 0 < passed < tries


@tried(60, 3000)
def test_pages(tries: int) -> None:
    def check(text: str) -> None:
        try:
            check_pages(text)
        except ValueError:
            return
        found = chosen_pages(text, 50)
        assert found == sorted(set(found))
        assert all(1 <= page <= 50 for page in found)

    every(tries, broken(("1", "-", ",", "50", "999999999", " ", "0", "\u0661")), check)
