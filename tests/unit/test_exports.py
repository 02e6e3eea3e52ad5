"""Exports: the files that records make, and what is told of those that make none."""

from __future__ import annotations

import datetime
import gzip
import html
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pysubs2
import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import mediamill
from jobs.exports import FORMATS, get_format
from jobs.exports.cues import make_cues
from jobs.exports.subtitles import Srt, Vtt, file_name
from jobs.exports.writing import Exported, export, make_format
from jobs.spec import StoredJob
from jobs.tempo import Tempo
from orchestration.cli import app
from storage.errors import CorruptObject, InvalidJob, Refused
from storage.objects import Store, open_store
from storage.records import Record
from tests.unit.exporting import SOUND, failed, job_of, record

SEGMENTS = [
    {"start_s": 0.5, "end_s": 2.5, "text": "R&D <b>is</b> 1 --> 2"},
    {"start_s": 3.0, "end_s": 21.0, "text": "What a day! " * 20},
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "job"))


def talk(row_id: str, segments: Sequence[dict[str, Any]] = SEGMENTS, **fields: Any) -> Record:
    return record(row_id, "transcribe", segments=segments, **{"media": [SOUND], **fields})


def exported(store: Store, job: StoredJob, to: str, dest: Path | str) -> Exported:
    return export(store, job, make_format(to), str(dest), Tempo())


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_formats_by_name() -> None:
    assert [get_format(name).name for name in FORMATS] == list(FORMATS)
    with pytest.raises(InvalidJob, match="known: srt, vtt, coco, jsonl"):
        get_format("mp3")


@pytest.mark.parametrize("to", ["srt", "vtt"])
def test_a_file_for_each_medium_with_speech(store: Store, tmp_path: Path, to: str) -> None:
    silent = talk("silent", [])
    both = talk("both", media=[SOUND, SOUND])
    untimed = talk("untimed", [{"start_s": None, "end_s": None, "text": "a"}])
    shards = [[talk("a/b"), failed("gone", "transcribe"), silent], [both, untimed, talk("..")]]
    dest = tmp_path / "subtitles"
    dest.mkdir()
    (dest / "others.txt").write_text("stays")
    (dest / f"a%2Fb.{to}").write_text("goes")
    done = exported(store, job_of(store, "transcribe", shards), to, dest)
    assert sorted(path.name for path in dest.iterdir()) == [
        f"%2E..{to}",
        f"a%2Fb.{to}",
        "others.txt",
    ]
    assert (dest / f"a%2Fb.{to}").read_text() != "goes"
    assert (done.state, done.rows, done.files, done.tally.written) == ("done", 6, 2, 2)
    assert done.tally.left_out == {"error": 1, "no_speech": 1, "several_media": 1, "no_times": 1}


@pytest.mark.parametrize("to", ["srt", "vtt"])
def test_ffmpeg_reads_the_cues(store: Store, tmp_path: Path, to: str) -> None:
    exported(store, job_of(store, "transcribe", [[talk("a")]]), to, tmp_path)
    cues = make_cues(SEGMENTS)
    assert cues is not None
    with av.open(str(tmp_path / f"a.{to}")) as file:
        base = file.streams[0].time_base
        assert base is not None
        packets = [packet for packet in file.demux() if packet.size]
        assert [round(p.pts * base * 1000) for p in packets] == [c.start_ms for c in cues]
        assert [round(p.duration * base * 1000) for p in packets] == [
            c.end_ms - c.start_ms for c in cues
        ]


def test_translated_speech_is_shown_translated(store: Store, tmp_path: Path) -> None:
    segments = [
        {"start_s": 0.0, "end_s": 1.0, "text": "Guten Tag.", "translation": "Hello."},
        {"start_s": 1.0, "end_s": 2.0, "text": "Ach.", "translation": None},
    ]
    said = record("a", "translate-speech", segments=segments, media=[SOUND])
    job = job_of(store, "translate-speech", [[said]], options={"target": "English"})
    exported(store, job, "srt", tmp_path)
    assert [e.text for e in pysubs2.load(str(tmp_path / "a.srt"))] == ["Hello.", "Ach."]


TEXTS = st.lists(st.text(max_size=200), min_size=1, max_size=4)


@given(TEXTS)
def test_a_parser_of_subrip_reads_any_text(texts: list[str]) -> None:
    cues = make_cues([{"start_s": i, "end_s": i + 1, "text": t} for i, t in enumerate(texts)])
    assert cues is not None
    read = pysubs2.SSAFile.from_string(Srt.render(cues), "srt", keep_unknown_html_tags=True)
    assert [(e.start, e.end) for e in read] == [(c.start_ms, c.end_ms) for c in cues]
    if not any(character in text for text in texts for character in "<{\\"):
        said = [tuple(e.text.split("\\N")) for e in read]
        arrow = [tuple(line.replace("-->", "→") for line in c.lines) for c in cues]
        assert said == arrow


@given(TEXTS)
def test_a_parser_of_webvtt_reads_any_text(texts: list[str]) -> None:
    cues = make_cues([{"start_s": i, "end_s": i + 1, "text": t} for i, t in enumerate(texts)])
    assert cues is not None
    read = webvtt.from_buffer(io.StringIO(Vtt.render(cues)))
    assert len(read) == len(cues)
    for caption, cue in zip(read, cues, strict=True):
        assert tuple(html.unescape(line) for line in caption.lines) == cue.lines
        assert caption.start_in_seconds == cue.start_ms // 1000


def test_arrows_and_markup_are_text() -> None:
    cues = make_cues(SEGMENTS[:1])
    assert cues is not None
    assert Srt.render(cues) == "1\n00:00:00,500 --> 00:00:02,500\nR&D <b>is</b> 1 → 2\n"
    assert Vtt.render(cues) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.500\nR&amp;D &lt;b&gt;is&lt;/b&gt; 1 --&gt; 2\n"
    )


@given(st.lists(st.text(max_size=300), max_size=8, unique=True))
def test_any_id_gives_a_name_of_its_own(ids: list[str]) -> None:
    names = [file_name(row_id, "srt") for row_id in ids]
    assert len(set(names)) == len(names)
    for name in names:
        assert name.endswith(".srt")
        assert len(name) <= 204
        assert not name.startswith(".")
        assert set(name) <= set("@%_.-~") | {chr(c) for c in range(128) if chr(c).isalnum()}


def test_long_and_odd_ids_by_name() -> None:
    assert file_name("talk-1.mp4", "vtt") == "talk-1.mp4.vtt"
    assert file_name("../é", "vtt") == "%2E.%2F%C3%A9.vtt"
    assert file_name("", "srt") == "%.srt"
    first, second = file_name("x" * 400, "srt"), file_name("x" * 401, "srt")
    assert first != second
    # No id is named as another's short form: its @ would be escaped.
    assert file_name(first.removesuffix(".srt"), "srt") != first


def test_json_lines_have_all_that_records_have(store: Store, tmp_path: Path) -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
    carried = {
        "score": pa.array([1.5, float("nan")]),
        "day": pa.array([when.date(), None]),
        "at": pa.array([when, None], pa.timestamp("ns", tz="UTC")),
        "blob": pa.array([b"\x00\x01", None]),
        "n": pa.array([2**63, 0], pa.uint64()),
    }
    job = job_of(
        store,
        "transcribe",
        [[talk("a", media=[{**SOUND, "duration_s": float("inf")}]), failed("b", "transcribe")]],
        carried=carried,
    )
    dest = tmp_path / "new" / "out.jsonl"
    done = exported(store, job, "jsonl", dest)
    first, second = lines_of(dest)
    assert (done.tally.written, done.files) == (2, 1)
    assert (first["row_id"], second["error"]["kind"]) == ("a", "not_found")
    assert first["lineage"]["finished_at"] == "2026-01-01T00:00:00.250000+00:00"
    assert (first["score"], second["score"]) == (1.5, None)
    assert first["media"][0]["duration_s"] is None
    assert first["day"] == "2026-01-02"
    assert first["at"] == "2026-01-02T03:04:05.678901+00:00"
    assert (first["blob"], first["n"]) == ("AAE=", 2**63)
    assert first["segments"] == SEGMENTS
    assert first["cues"][0] == {
        "start_s": 0.5, "end_s": 2.5, "text": "R&D <b>is</b> 1 --> 2", "split": False
    }  # fmt: skip
    assert len(first["cues"]) > 2
    assert all(cue["split"] for cue in first["cues"][1:])
    assert second["cues"] is None


def test_columns_of_json_text_become_what_they_say(store: Store, tmp_path: Path) -> None:
    text = pa.array(['{"a":[1,null]}', '"word"', None])
    rows = [record(name, "to-html", html="c") for name in "abc"]
    job = job_of(store, "to-html", [rows], carried={"meta": text, "plain": text})
    (meta, plain) = job.plan.columns
    columns = (meta.model_copy(update={"type": "json"}), plain)
    job = job.model_copy(update={"plan": job.plan.model_copy(update={"columns": columns})})
    exported(store, job, "jsonl", tmp_path / "out.jsonl")
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["meta"] for line in lines] == [{"a": [1, None]}, "word", None]
    assert lines[0]["plain"] == '{"a":[1,null]}'
    assert "cues" not in lines[0]


def test_a_column_called_cues_is_the_users(store: Store, tmp_path: Path) -> None:
    job = job_of(store, "transcribe", [[talk("a")], [talk("b")]],
                 carried={"cues": pa.array(["mine", "too"])})  # fmt: skip
    done = exported(store, job, "jsonl", tmp_path / "out.jsonl")
    assert [line["cues"] for line in lines_of(tmp_path / "out.jsonl")] == ["mine", "too"]
    (note,) = done.tally.notes
    assert "cues" in note


def test_a_name_that_says_so_is_packed(store: Store, tmp_path: Path) -> None:
    job = job_of(store, "to-html", [[record("a", "to-html", html="c")]])
    exported(store, job, "jsonl", tmp_path / "out.jsonl.gz")
    first = (tmp_path / "out.jsonl.gz").read_bytes()
    assert json.loads(gzip.decompress(first))["html"] == "c"
    exported(store, job, "jsonl", tmp_path / "out.jsonl.gz")
    assert (tmp_path / "out.jsonl.gz").read_bytes() == first, "the same records, the same file"


def test_a_job_at_work_is_exported_as_far_as_it_is(store: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    job = job_of(store, "transcribe", [[talk("a")], [talk("b")]], missing=3)
    dest = str(tmp_path / "out")
    done = export(store, job, make_format("srt"), dest, Tempo(), lambda *n: seen.append(n))
    assert (done.state, done.rows, done.tally.records, done.files) == ("running", 5, 2, 2)
    assert seen == [(1, 5), (2, 5)]


@pytest.mark.parametrize(("to", "task"), [("srt", "to-html"), ("coco", "transcribe")])
def test_a_job_without_the_columns_is_refused(
    store: Store, tmp_path: Path, to: str, task: str
) -> None:
    # A column of the manifest may have the name; it is not what the format shows.
    carried = {"segments": pa.array(["x"])} if task == "to-html" else {}
    job = job_of(store, task, [[record("a", task)]], carried=carried)
    with pytest.raises(InvalidJob, match="which the records of this job do not have; they have"):
        exported(store, job, to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dest", ["data/0000000.parquet", "_job/spec.json", "data"])
def test_the_job_itself_is_not_written_over(store: Store, dest: str) -> None:
    job = job_of(store, "to-html", [[record("a", "to-html")]])
    with pytest.raises(Refused, match="own files"):
        exported(store, job, "jsonl", f"{store.uri}/{dest}")


def test_from_python(store: Store, tmp_path: Path) -> None:
    job_of(store, "transcribe", [[talk("a")]])
    done = mediamill.Job(store.uri).export("srt", str(tmp_path / "out"))
    assert (done.files, done.tally.written) == (1, 1)
    with pytest.raises(InvalidJob, match="categories go with the format coco"):
        mediamill.Job(store.uri).export("srt", "out", categories="c.json")


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["export", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_tells_what_was_left_out(store: Store, tmp_path: Path) -> None:
    job_of(store, "transcribe", [[talk("a"), failed("b", "transcribe")]], missing=2)
    dest = str(tmp_path / "out")
    code, said, aside = call(store.uri, "--to", "vtt", dest)
    assert (code, said) == (0, f"1 of 4 rows in 1 file: {dest}\n")
    assert "left out: 1 rows with an error" in aside
    assert "the job is running: 2 of its 4 rows have no record yet" in aside
    code, said, aside = call(store.uri, "--to", "vtt", dest, "--json")
    document = json.loads(said)
    assert document.pop("job_id")
    assert document == {
        "out": store.uri,
        "to": "vtt",
        "dest": dest,
        "state": "running",
        "rows": 4,
        "files": 1,
        "records": 2,
        "written": 1,
        "left_out": {"error": 1},
        "labels": {},
        "notes": [],
    }
    assert "left out" in aside


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "mp3", "d"), "known: srt, vtt, coco, jsonl"),
        (("--to", "srt", "--categories", "f", "d"), "--categories goes with --to coco"),
        (("d",), "--to"),
        (("--to", "srt"), "DEST"),
    ],
)
def test_usage_errors_exit_2(arguments: tuple[str, ...], said: str) -> None:
    code, _, aside = call("out", *arguments)
    assert code == 2
    assert said in aside


def test_a_file_in_data_that_is_no_shard_is_named(store: Store, tmp_path: Path) -> None:
    job = job_of(store, "to-html", [[record("a", "to-html")]])
    store.put("data/0000007.parquet", b"PAR1 and no more")
    with pytest.raises(CorruptObject, match=r"data/0000007\.parquet: not a shard"):
        exported(store, job, "jsonl", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_the_command_ends_as_it_says(store: Store, tmp_path: Path) -> None:
    # Threads that pyarrow leaves behind ended two of five such processes with SIGABRT.
    job_of(store, "to-html", [[record("a", "to-html")]])
    command = [sys.executable, "-c", "from orchestration.cli import main; main()", "export"]
    arguments = [store.uri, "--to", "srt", str(tmp_path / "out")]
    for _ in range(6):
        done = subprocess.run(command + arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
