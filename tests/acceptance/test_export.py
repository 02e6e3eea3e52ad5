"""`mediamill export` on jobs that the command ran, read by the tools that exports are for."""

from __future__ import annotations

import contextlib
import gzip
import html
import io
import json
from pathlib import Path

import av
import pysubs2
import pytest
import webvtt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from storage.objects import open_object, open_store
from tests import media
from tests.acceptance.commands import Mill, make_media, write_manifest
from tests.services import S3Endpoint, new_bucket
from tests.unit.exporting import IMAGE, SOUND, failed, job_of, record

QUICK = ("--set", "max_tokens=12", "--set", "image_tokens=70")


def _records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in folder.read_text().splitlines()]


def test_what_a_good_model_says_opens_in_the_tools_it_is_for(
    tmp_path: Path, moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    mill = Mill(tmp_path, moto.environment)
    bucket = new_bucket(moto, monkeypatch)
    words = "Nobody spoke. Then the bell rang & the dogs barked, all <of> them, for a while. " * 5
    segments = [{"start_s": 1.25, "end_s": 27.5, "text": words}]
    talk = record("a/b", "transcribe", segments=segments, media=[SOUND])
    talks, boxes = f"{bucket}/talks", f"{bucket}/boxes"
    job_of(open_store(talks), "transcribe", [[talk], [failed("c", "transcribe")]], missing=1)
    told = mill.run("export", talks, "--to", "vtt", "subtitles")
    assert told.returncode == 0, told.stderr
    assert "1 of its 3 rows have no record yet" in told.stderr
    assert "left out: 1 rows with an error" in told.stderr
    mill.ok("export", talks, "--to", "srt", "subtitles")
    vtt, srt = (str(tmp_path / "subtitles" / f"a%2Fb.{to}") for to in ("vtt", "srt"))
    captions, events = webvtt.read(vtt), pysubs2.load(srt)
    said = " ".join(html.unescape(line) for caption in captions for line in caption.lines)
    assert said == words.strip()
    assert len(events) == len(captions) > 3
    for path in (vtt, srt):
        with av.open(path) as file:
            packets = [packet for packet in file.demux() if packet.size]
        assert [packet.pts for packet in packets] == [event.start for event in events]
    corners = {"x0": 3.0, "y0": 4.0, "x1": 103.0, "y1": 54.0}
    dog = {"label": "dog", "box": corners, "media_index": 0, "time_s": None}
    images = [record(name, "detect", objects=[dog], media=[IMAGE]) for name in ("x", "y")]
    job_of(open_store(boxes), "detect", [images])
    mill.ok("export", boxes, "--to", "coco", "truth.json")
    told = mill.run("export", boxes, "--to", "coco", "r.json", "--categories", "truth.json")
    assert "score is 1.0" in told.stderr
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "r.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_speech_becomes_subtitles(
    served: Mill, tmp_path: Path, moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(moto, monkeypatch)
    media.write_sound(tmp_path / "talk.wav", media.tone(2.0, 300))
    manifest = write_manifest(
        tmp_path / "rows.jsonl",
        [{"id": "a talk/1", "uri": "talk.wav"}, {"id": "gone", "uri": "none.wav"}],
    )
    served.done(manifest, "--task", "transcribe", *QUICK, out="out")
    whole = served.json("export", "out", "--to", "jsonl", "out.jsonl")
    assert (whole["state"], whole["records"], whole["written"]) == ("done", 2, 2)
    talk, gone = _records(tmp_path / "out.jsonl")
    assert (talk["row_id"], gone["status"], gone["cues"]) == ("a talk/1", "error", None)
    for to in ("srt", "vtt"):
        place = f"{bucket}/subtitles-{to}"
        done = served.json("export", "out", "--to", to, place)
        assert done["left_out"]["error"] == 1
        found = [f.key for f in open_store(place).list()]
        # A tone is no speech: whether the model hears words in it, it says itself.
        assert len(found) == done["files"] == bool(talk["cues"])
        for key in found:
            assert key == f"a%20talk%2F1.{to}"
            text = open_store(place).get(key).decode()
            (tmp_path / key).write_text(text)
            with av.open(str(tmp_path / key)) as file:
                assert len([p for p in file.demux() if p.size]) == len(talk["cues"])  # type: ignore[arg-type]
            read = (
                pysubs2.SSAFile.from_string(text, "srt")
                if to == "srt"
                else webvtt.from_buffer(io.StringIO(text))
            )
            assert len(read) == len(talk["cues"])  # type: ignore[arg-type]


@pytest.mark.full
def test_boxes_become_coco_and_lines_go_to_a_bucket(
    served: Mill, tmp_path: Path, moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(moto, monkeypatch)
    images = make_media(tmp_path / "media", images=3, videos=0, sounds=0)
    rows = [{"id": f"r{n}", "uri": str(m.path)} for n, m in enumerate(images)]
    out = f"{bucket}/job"
    manifest = write_manifest(tmp_path / "rows.jsonl", rows)
    served.done(manifest, "--task", "detect", *QUICK, out=out)
    dataset = served.json("export", out, "--to", "coco", "boxes.json")
    assert dataset["written"] + sum(dataset["left_out"].values()) == 3
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "boxes.json"))
    assert len(coco.imgs) == dataset["written"]
    categories = write_manifest(tmp_path / "categories.json", [])
    categories.write_text('[{"id": 3, "name": "car"}]')
    results = served.json("export", out, "--to", "coco", "r.json", "--categories", categories)
    assert all(r["score"] == 1.0 for r in json.loads((tmp_path / "r.json").read_text()))
    # Ids of rows are no integers, so a file tells those of images, if any has a record.
    assert results["files"] == 1 + bool(dataset["written"])
    lines = f"{bucket}/lines/all.jsonl.gz"
    assert served.json("export", out, "--to", "jsonl", lines)["written"] == 3
    store, key = open_object(lines)
    said = [json.loads(line) for line in gzip.decompress(store.get(key)).splitlines()]
    assert [line["row_id"] for line in said] == ["r0", "r1", "r2"]
    assert said[0]["media"][0]["sha256"] == images[0].sha256
    refused = served.run("export", out, "--to", "srt", "subtitles")
    assert refused.returncode == 1
    assert "shows the column segments" in " ".join(refused.stderr.split())
    assert served.run("export", out, "--to", "mp3", "d").returncode == 2
    assert served.run("export", "nowhere", "--to", "jsonl", "d").returncode == 1
    missing = served.run("export", out, "--to", "coco", "d", "--categories", "none.json")
    assert missing.returncode == 1
    assert "none.json" in missing.stderr
    assert not (tmp_path / "d").exists()
