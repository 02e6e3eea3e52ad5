"""Reading manifests of every kind, and what is said of those that cannot be planned."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.plan import Plan, PlanReader, ShardRows
from storage import ids as ids_module
from storage.blocks import Faults
from storage.columns import carried_type, parse_type
from storage.errors import InvalidManifest
from storage.ids import IdSpill, hash_strings
from storage.manifest_csv import CsvRows
from tests.planning import staged
from tests.unit.fakes import MemoryStore

RESERVED = frozenset({"row_id", "uri"})


def planned(uri: str | Path, **subset: int) -> tuple[Plan, ShardRows]:
    """The plan of a manifest of a few rows, and those rows."""
    store = MemoryStore()
    plan = staged(store, uri, **subset)
    (shard,) = [PlanReader(store, plan).shard(n) for n in range(plan.shards)]
    return plan, shard


def refusal(uri: str | Path) -> str:
    """What is said of a manifest that is refused; nothing may be left of it."""
    store = MemoryStore()
    with pytest.raises(InvalidManifest) as caught:
        staged(store, uri)
    assert not list(store.list())
    assert str(uri).removesuffix("/") in str(caught.value)
    return str(caught.value)


def write(path: Path, data: bytes | str | pa.Table) -> Path:
    if isinstance(data, pa.Table):
        pq.write_table(data, path)
    else:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# --- JSONL ---------------------------------------------------------------------------------


def test_jsonl_with_bom_crlf_blank_lines_and_no_last_newline(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.jsonl",
        b'\xef\xbb\xbf{"uri":"x"}\r\n\r\n{"id":7,"uri":"y"}\n   \n{"id":"","uris":["a","b"]}',
    )
    plan, shard = planned(path)
    assert [(row.id, row.uris) for row in shard.rows] == [
        ("0", ("x",)), ("7", ("y",)), ("2", ("a", "b"))
    ]  # fmt: skip
    assert plan.manifest_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert plan.base == str(tmp_path)


def test_jsonl_faults_are_gathered_by_kind(tmp_path: Path) -> None:
    good = '{"uri": "x"}\n'
    lines = [good] * 3 + ['{"uri": \n', "[1]\n", '{"uri": ""}\n', '{"id": true, "uri": "y"}\n']
    lines += ['{"uri": " "}\n', '{"uri": 3}\n', "{}\n"] * 3 + ['{"id": 0, "uri": "twice"}\n']
    lines += ['{"uris": ["a", ""]}\n', '{"uris": "a"}\n', '{"uri": "a", "uris": ["b"]}\n']
    said = refusal(write(tmp_path / "m.jsonl", "".join(lines)))
    assert "line 4 (unexpected end of data" in said
    assert "row 4: not a JSON object" in said
    assert "rows 5, 7, 8, 9, 10, … (12 in all): no 'uri'; every row needs" in said
    assert "row 6: an 'id' of another kind" in said
    assert "row 16 (row 0 is '0' too): the 'id' of an earlier row" in said
    assert "row 19: both 'uri' and 'uris'" in said


def test_only_the_first_five_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.manifest_jsonl._BLOCK_BYTES", 20)
    said = refusal(write(tmp_path / "m.jsonl", "{}\n" * 30 + "{\n" * 30))
    assert "rows 0, 1, 2, 3, 4, … (30 in all): no 'uri'" in said
    assert "35 (" in said
    assert "36 (" not in said
    assert "(30 in all): not JSON" in said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no rows"),
        (b"\n \n", "no rows"),
        (b'[{"uri": "x"},\n{"uri": "y"}]\n', "one array"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b'{"uri": "x"}\n{"uri": "\xff"}\n', "line 2"),
        (b'{"uri": NaN}\n', "line 1"),
        (b'{"uri": "x", "a": ' + b"[" * 400 + b"]" * 400 + b"}", "row 0: nested too deep"),
        (b'{"uri": "x", "a": ' + b"[" * 4000 + b"]" * 4000 + b"}", "line 1"),
    ],
)
def test_jsonl_that_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refusal(write(tmp_path / "m.jsonl", data))


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.manifest_jsonl._MAX_LINE_BYTES", 1000)
    monkeypatch.setattr("storage.manifest_jsonl._BLOCK_BYTES", 600)
    path = write(tmp_path / "m.jsonl", '{"uri": "x"}\n' + "y" * 5000)
    assert "line 2: longer than" in refusal(path)


def test_a_csv_row_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.manifest_csv._MAX_ROW_BYTES", 1000)
    monkeypatch.setattr("storage.manifest_csv._BLOCK_BYTES", 100)
    path = write(tmp_path / "m.csv", "uri,a\n" + "x,1\n" * 500 + '"' + "y\n" * 2000)
    assert "line 1001: a row of over" in refusal(path)
    # Rows of many lines each are no such row.
    path = write(tmp_path / "n.csv", "uri,a\n" + 'x,"1\n\n2"\n' * 500)
    assert staged(MemoryStore(), path).rows == 500


def test_csv_rows_are_read_as_many_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.manifest_csv._MAX_BLOCK_BYTES", 1000)
    path = write(tmp_path / "m.csv", "uri,a\n" + f"x,{'y' * 96}\n" * 50)
    with path.open("rb") as file:
        rows = CsvRows("m.csv", lambda: file, ",")
        sizes = [len(block.ids) for block in rows.blocks(Faults("m.csv"))]
    assert sum(sizes) == 50
    assert max(sizes) <= 11


def test_blocks_do_not_change_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"id": f"ä{i}", "uri": "ö" * (i % 7 + 1)}) for i in range(50)]
    path = write(tmp_path / "m.jsonl", "\r\n".join(lines))
    store = MemoryStore()
    expected = staged(store, path)
    for size in (1, 7, 64):
        monkeypatch.setattr("storage.manifest_jsonl._BLOCK_BYTES", size)
        assert staged(store, path) == expected


def test_compressed_files(tmp_path: Path) -> None:
    text = "".join(f'{{"uri": "{i}"}}\n' for i in range(15)).encode()
    packed = gzip.compress(text[:60]) + gzip.compress(text[60:])
    zst = pa.compress(text, codec="zstd", asbytes=True)
    for name, data in (("m.jsonl.gz", packed), ("m.ndjson.zst", zst)):
        plan, shard = planned(write(tmp_path / name, data))
        assert len(shard.rows) == 15
        assert plan.manifest_digest == hashlib.sha256(data).hexdigest()
    assert "damaged" in refusal(write(tmp_path / "cut.jsonl.gz", gzip.compress(text)[:-9]))
    assert "damaged" in refusal(write(tmp_path / "no.jsonl.zst", b"nothing of the kind"))
    as_csv = gzip.compress(b'id,uri\r\n1,"a\rb"\r\n2,c')
    _, shard = planned(write(tmp_path / "m.csv.gz", as_csv))
    assert [row.uris for row in shard.rows] == [("a\rb",), ("c",)]


# --- CSV -----------------------------------------------------------------------------------


def test_csv_is_typed_by_all_its_values(tmp_path: Path) -> None:
    header = "id,uri,n,zip,f,mix,b,empty,day,wide,exp,words"
    rows = [
        'a,"x,1.jpg",1,007,1,1,true,,2026-01-02,12345678901234567,1e3,1',
        ',"y\n""z"".jpg",-2,1,2.5,1.5,False,,2026-01-03,1,-0.5,two',
        "c,w.jpg,,12,,x,,,,,,",
    ]
    path = write(tmp_path / "m.csv", "\ufeff" + "\r\n".join([header, "", *rows]) + "\r\n")
    plan, shard = planned(path)
    assert {c.source: c.type for c in plan.columns} == {
        "n": "int64", "zip": "string", "f": "double", "mix": "string", "b": "bool",
        "empty": "string", "day": "string", "wide": "int64", "exp": "double", "words": "string",
    }  # fmt: skip
    assert [row.id for row in shard.rows] == ["a", "1", "c"]
    assert shard.rows[1].uris == ('y\n"z".jpg',)
    carried = shard.carried.to_pydict()
    assert carried["n"] == [1, -2, None]
    assert carried["zip"] == ["007", "1", "12"]
    assert carried["f"] == [1.0, 2.5, None]
    assert carried["b"] == [True, False, None]
    assert carried["wide"] == [12345678901234567, 1, None]
    assert carried["exp"] == [1000.0, -0.5, None]


def test_csv_whole_numbers_that_a_double_would_round_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "uri,a\nx,12345678901234567\ny,0.5\n")
    _, shard = planned(path)
    assert shard.carried.column("a").to_pylist() == ["12345678901234567", "0.5"]


def test_csv_lists_of_uris_are_json(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", 'uri,uris\n,"[""a"",""b""]"\nc,\n')
    _, shard = planned(path)
    assert [row.uris for row in shard.rows] == [("a", "b"), ("c",)]
    assert shard.carried.to_pydict() == {"uris": [["a", "b"], None]}
    said = refusal(write(tmp_path / "bad.csv", "uris\na b\n[]\n"))
    assert "rows 0, 1 (2 in all): no 'uri'" in said


def test_lists_of_uris_are_carried_behind_all_others(tmp_path: Path) -> None:
    lines = '{"uris": ["a", "b"], "n": 1}\n{"uri": "c", "n": 2}\n'
    _, shard = planned(write(tmp_path / "m.jsonl", lines))
    assert [row.uris for row in shard.rows] == [("a", "b"), ("c",)]
    assert shard.carried.to_pydict() == {"n": [1, 2], "uris": [["a", "b"], None]}
    assert shard.carried.schema.field("uris").type == pa.list_(pa.string())


def test_tsv(tmp_path: Path) -> None:
    _, shard = planned(write(tmp_path / "m.tsv", "uri\tn\na,b\t3\n"))
    assert (shard.rows[0].uris, shard.rows[0].columns) == (("a,b",), {"n": 3})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no rows"),
        (b"uri,a\n", "no rows"),
        (b"path,a\nx,1\n", "no column 'uri' or 'uris' in the first line"),
        (b"uri,a,a\nx,1,2\n", "two columns are called 'a'"),
        (b"uri,a\nx\ny,1\nz,1,2\n", "lines 2, 4 (2 in all): not as many cells"),
        (b"uri,a\nx,1\n\xff,2\n", "line 3: not UTF-8"),
        (b'uri,a\nx,"1\n', "line 2: not CSV"),
        (b"uri,a\nx,1\n,2\n", "row 1: no 'uri'"),
        (b"id,uri\n5,x\n5,y\n", "row 1 (row 0 is '5' too)"),
    ],
)
def test_csv_that_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refusal(write(tmp_path / "m.csv", data))


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=20))
def test_csv_gives_back_every_cell(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([("uri", "a", "b"), *(("x", *row) for row in rows)])
    path = tmp_path_factory.mktemp("csv") / "m.csv"
    store = MemoryStore()
    plan = staged(store, write(path, text.getvalue()))
    found = [PlanReader(store, plan).shard(n).carried for n in range(plan.shards)]
    for name, index in (("a", 0), ("b", 1)):
        values = [v for table in found for v in table.column(name).to_pylist()]
        kinds = {c.name: c.type for c in plan.columns}
        for value, row in zip(values, rows, strict=True):
            expected = row[index] or None
            if kinds[name] == "string" or expected is None:
                assert value == expected
            else:
                assert (
                    value == {"int64": int, "double": float}.get(kinds[name], str.lower)(expected)
                    or kinds[name] == "bool"
                )


# --- Parquet -------------------------------------------------------------------------------


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "uri": pa.array(["a", "b"]).dictionary_encode(),
            "id": pa.array([None, 5], pa.int32()),
            "ns": pa.array([at, None], pa.timestamp("ns", tz="Europe/Paris")),
            "price": pa.array([decimal.Decimal("1.50"), None]),
            "small": pa.array([1, None], pa.uint8()),
            "day": pa.array([at.date(), None]),
            "label": pa.array(["u", None]).dictionary_encode(),
            "nest": pa.array([{"k": b"1", "at": at}, None]),
            "list": pa.array([[1, 2], []]),
            "nothing": pa.nulls(2),
            "blob": pa.array([b"\xff", b""]),
            "long": pa.array(["x", "y"], pa.large_string()),
        }
    )
    plan, shard = planned(write(tmp_path / "m.parquet", table))
    types = {c.source: c.type for c in plan.columns}
    assert types == {
        "ns": "timestamp[ns, tz=Europe/Paris]", "price": "decimal128(3, 2)", "small": "uint8",
        "day": "date32[day]", "label": "string", "nest": "json", "list": "json",
        "nothing": "string", "blob": "binary", "long": "large_string",
    }  # fmt: skip
    assert shard.carried.schema == plan.schema
    for name in ("ns", "price", "small", "day", "blob", "long"):
        assert shard.carried.column(name).to_pylist() == table.column(name).to_pylist()
    assert [row.id for row in shard.rows] == ["0", "5"]
    first = shard.rows[0]
    assert first.uris == ("a",)
    assert first.columns["nest"] == {"k": "MQ==", "at": "2026-01-02T03:04:05.000678+00:00"}
    assert first.columns["list"] == [1, 2]
    assert first.columns["ns"] == at
    assert plan.manifest_digest == hashlib.sha256((tmp_path / "m.parquet").read_bytes()).hexdigest()


def test_parquet_rows_with_several_media(tmp_path: Path) -> None:
    table = pa.table({"uris": [["a", "b"], None, ["c"]], "uri": ["", "z", None], "n": [1, 2, 3]})
    _, shard = planned(write(tmp_path / "m.parquet", table))
    assert [row.uris for row in shard.rows] == [("a", "b"), ("z",), ("c",)]
    assert shard.carried.to_pydict() == {"n": [1, 2, 3], "uris": [["a", "b"], None, ["c"]]}
    table = pa.table(
        {"uris": [["a"], [], None, [None], ["b", " "], ["c"]], "uri": ["x"] + [""] * 5}
    )
    said = refusal(write(tmp_path / "bad.parquet", table))
    assert "row 0: both" in said
    assert "rows 1, 2, 3, 4 (4 in all): no 'uri'" in said


def test_parquet_faults_are_gathered(tmp_path: Path) -> None:
    uris: list[str | None] = ["x"] * 100_000
    for i, blank in ((3, ""), (50_000, " \t"), (99_999, None)):
        uris[i] = blank
    path = write(tmp_path / "m.parquet", pa.table({"uri": uris, "id": range(100_000)}))
    assert "rows 3, 50000, 99999 (3 in all): no 'uri'" in refusal(path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"a": [1]}), "no column 'uri' or 'uris'"),
        (pa.table({"uri": [1]}), "column 'uri' is int64"),
        (pa.table({"uris": ["a"]}), "column 'uris' is string"),
        (pa.table({"uri": ["a"], "id": [0.5]}), "column 'id' is double"),
        (pa.table([["a"], ["b"]], names=["uri", "uri"]), "two columns are called 'uri'"),
        (pa.table({"uri": pa.array([], pa.string())}), "no rows"),
        (pa.table({"uri": pa.nulls(2)}), "rows 0, 1 (2 in all): no 'uri'"),
        (pa.table({"uri": ["a", "b"], "id": ["x", "x"]}), "row 1 (row 0 is 'x' too)"),
        (pa.table({"uri": ["a"], "s": pa.array([b"\xff"]).view(pa.string())}), "UTF8"),
        (b"PAR1 and nothing else", "not a readable Parquet file"),
        (b"", "not a readable Parquet file"),
    ],
)
def test_parquet_that_is_refused(tmp_path: Path, table: pa.Table | bytes, said: str) -> None:
    assert said in refusal(write(tmp_path / "m.parquet", table))


def test_damage_in_the_middle_of_a_parquet_file(tmp_path: Path) -> None:
    text = [os.urandom(500).hex() for _ in range(2000)]
    path = write(tmp_path / "m.parquet", pa.table({"uri": text}))
    data = bytearray(path.read_bytes())
    data[1000:300_000] = bytes(299_000)
    path.write_bytes(data)
    assert "damaged Parquet file" in refusal(path)


def test_a_folder_of_parquet_files_is_one_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for n in range(3):
        columns: dict[str, Any] = {"uri": [f"{n}a", f"{n}b"], "n": [n, n]}
        order = sorted(columns, reverse=bool(n % 2))
        write(folder / f"{n}.parquet", pa.table({name: columns[name] for name in order}))
    plan, shard = planned(folder)
    assert [row.uris[0] for row in shard.rows] == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert [row.id for row in shard.rows] == list("012345")
    assert planned(folder / "*.parquet")[0].manifest_digest == plan.manifest_digest
    assert plan.base == str(folder)
    write(folder / "3.parquet", pa.table({"uri": ["x"], "n": ["text"]}))
    store = MemoryStore()
    with pytest.raises(InvalidManifest, match=r"3\.parquet: column 'n' is string, and int64"):
        staged(store, folder)
    write(folder / "3.parquet", pa.table({"uri": ["x"]}))
    with pytest.raises(InvalidManifest, match="column 'n' is in one of them only"):
        staged(store, folder)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.parquet", pa.table({"uri": ["a"]}))

    class Meddling(MemoryStore):
        def put(self, key: str, data: bytes) -> None:
            super().put(key, data)
            write(path, pa.table({"uri": ["another"]}))

    store = Meddling()
    with pytest.raises(InvalidManifest, match="changed while it was read"):
        staged(store, path)
    assert not list(store.list())


# --- listings ------------------------------------------------------------------------------


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    for name in ("b.JPG", "a/x.mp4", "a/deep/y.mp4", "a-b/z.wav", "notes.txt", "a/[1].mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return folder


def test_a_folder_gives_its_media_sorted_by_key(media: Path) -> None:
    plan, shard = planned(media)
    names = ["a-b/z.wav", "a/[1].mp4", "a/deep/y.mp4", "a/x.mp4", "b.JPG"]
    assert [row.id for row in shard.rows] == names
    assert [row.uris for row in shard.rows] == [(str(media / name),) for name in names]
    assert [row.columns["bytes"] for row in shard.rows] == [len(name) for name in names]
    assert plan.base is None
    assert planned(f"{media}/")[0].manifest_digest == plan.manifest_digest
    (media / "a" / "x.mp4").write_bytes(b"other content")
    assert planned(media)[0].manifest_digest != plan.manifest_digest


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**/*.mp4", ["a/[1].mp4", "a/deep/y.mp4", "a/x.mp4"]),
        ("*/*.mp4", ["a/[1].mp4", "a/x.mp4"]),
        ("a/?.mp4", ["x.mp4"]),
        ("a/[[]1].mp4", ["[1].mp4"]),
        ("a/[!x]*.mp4", ["[1].mp4"]),
        ("**", ["a-b/z.wav", "a/[1].mp4", "a/deep/y.mp4", "a/x.mp4", "b.JPG"]),
        ("*.txt", ["notes.txt"]),
        ("a*/**", ["a-b/z.wav", "a/[1].mp4", "a/deep/y.mp4", "a/x.mp4"]),
    ],
)
def test_patterns(media: Path, pattern: str, names: list[str]) -> None:
    _, shard = planned(media / pattern)
    assert [row.id for row in shard.rows] == names


def test_a_manifest_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    path = write(tmp_path / "m[1].jsonl", '{"uri": "x"}')
    assert planned(path)[0].rows == 1


def test_what_is_no_manifest(media: Path, tmp_path: Path) -> None:
    assert "no such manifest" in refusal(tmp_path / "none.jsonl")
    assert "no such manifest" in refusal(tmp_path / "none")
    assert "known are .jsonl" in refusal(media / "notes.txt")
    assert "give one such file" in refusal(media / "*.jsonl")
    assert "no objects found" in refusal(media / "*.webm")
    assert "no such .parquet files" in refusal(media / "*.parquet")
    (tmp_path / "empty").mkdir()
    assert "no media (by extension) found" in refusal(tmp_path / "empty")
    write(media / "m.parquet", pa.table({"uri": ["a"]}))
    assert "both media and .parquet" in refusal(media)
    assert "only s3://" in refusal("https://example.org/m.jsonl")


def test_a_name_that_is_not_utf8_is_refused(media: Path) -> None:
    (Path(os.fsdecode(os.fsencode(media) + b"/\xff.jpg"))).write_bytes(b"x")
    assert "is not UTF-8" in refusal(media)


# --- ids -----------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=40), max_size=50))
def test_hashes_are_of_the_text_alone(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    together = hash_strings(pa.array(["padding", *texts], pa.string()).slice(1))
    alone = [int(hash_strings(pa.array([text]))[0]) for text in texts]
    assert together.tolist() == alone
    assert len(set(alone)) == len(set(texts))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.sampled_from([f"id{n}" for n in range(30)]), max_size=20), max_size=6))
def test_repeats_are_exactly_the_rows_seen_before(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[list[str]]
) -> None:
    check_repeats(tmp_path_factory.mktemp("ids"), blocks)


def test_equal_hashes_are_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def colliding(array: pa.StringArray) -> np.ndarray[Any, np.dtype[np.uint64]]:
        return np.full(len(array), 7, dtype=np.uint64)

    monkeypatch.setattr(ids_module, "hash_strings", colliding)
    check_repeats(tmp_path, [["a", "b"], ["c", "a"], ["d", "b", "a"]])
    check_repeats(tmp_path, [["a", "b"], ["c"]])


def check_repeats(folder: Path, blocks: list[list[str]]) -> None:
    seen: dict[str, int] = {}
    expected, first = [], 0
    with IdSpill(folder) as spill:
        for texts in blocks:
            spill.add(np.arange(first, first + len(texts)), pa.array(texts, pa.string()))
            for row, text in enumerate(texts, first):
                if seen.setdefault(text, row) != row:
                    expected.append((row, seen[text], text))
            first += len(texts)
        found = spill.repeats()
    assert found.total == len(expected)
    assert list(found.first) == expected[:5]
    assert not list(folder.iterdir())


# --- types ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
        pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(16),
        pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.timestamp("s"),
        pa.timestamp("us", tz="UTC"), pa.timestamp("ns", tz="+02:00"), pa.duration("ms"),
        pa.decimal32(5, 1), pa.decimal64(12, -2), pa.decimal128(10, 2), pa.decimal256(50, 2),
    ],
)  # fmt: skip
def test_types_are_kept_as_text(kind: pa.DataType) -> None:
    assert parse_type(carried_type(kind)) == kind
