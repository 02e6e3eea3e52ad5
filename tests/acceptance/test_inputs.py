"""Jobs over what people have: documents beside images, media in a column or in tars."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.commands import Mill, make_media
from tests.paper import pdf
from tests.unit.clouds import serving

QUICK = ("--set", "max_tokens=4", "--set", "image_tokens=70")


def test_a_document_is_read_page_by_page(served: Mill) -> None:
    folder = served.folder / "media"
    make_media(folder, images=1, videos=0, sounds=0)
    (folder / "two.pdf").write_bytes(pdf("Exit", "Gate 4"))
    (folder / "locked.pdf").write_bytes(pdf("Exit", password="x"))
    look = served.done(folder, "--task", "ocr", *QUICK, out="out")
    assert look["rows"]["total"] == 3
    table = pq.read_table(served.folder / "out" / "data")
    found = {row["row_id"]: row for row in table.to_pylist()}
    image, locked, two = found["image-0.jpg"], found["locked.pdf"], found["two.pdf"]
    assert (image["status"], image["pages"]) == ("ok", None)
    assert (locked["status"], locked["error"]["kind"]) == ("error", "forbidden")
    assert two["status"] == "ok"
    assert [page["page"] for page in two["pages"]] == [1, 2]
    assert two["text"] == "\n\n".join(filter(None, (page["text"] for page in two["pages"])))
    assert (two["media"][0]["kind"], two["media"][0]["pages"]) == ("document", 2)


def test_media_lie_in_a_column(served: Mill) -> None:
    media = make_media(served.folder / "media", images=6, videos=0, sounds=0)
    images = [{"bytes": m.path.read_bytes(), "path": m.path.name} for m in media]
    # As the Hub stores them; one has a path alone, and one is no image.
    images[2] = {"bytes": None, "path": "media/image-2.jpg"}
    images[4] = {"bytes": b"no image at all", "path": "image-4.jpg"}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "n": range(6), "uri": ["u"] * 6})
    (served.folder / "hub").mkdir()
    pq.write_table(table.slice(0, 4), served.folder / "hub" / "train-0.parquet", row_group_size=2)
    pq.write_table(table.slice(4), served.folder / "hub" / "train-1.parquet")
    # Paths are looked for beside the tables.
    (served.folder / "media").rename(served.folder / "hub" / "media")
    job = ("--task", "caption", "--media-column", "image", *QUICK)
    look = served.done("hub/*.parquet", *job, out="out")
    assert look["rows"]["total"] == 6
    found = pq.read_table(served.folder / "out" / "data").sort_by("n")
    assert "image" not in found.column_names
    assert found["in_uri"].to_pylist() == ["u"] * 6
    for number, row in enumerate(found.to_pylist()):
        if number == 4:
            assert row["error"]["kind"] == "wrong_kind"
            continue
        assert row["status"] == "ok"
        assert row["media"][0]["sha256"] == media[number].sha256
        assert f"#column=image&row={number % 4}&" in row["uri"]
    # A dataset saved to disk holds the same, and is another job.
    features = datasets.Features({"image": datasets.Image(), "n": datasets.Value("int64")})
    rows = [{"image": images[n], "n": n} for n in (0, 1, 3, 5)]
    saved = datasets.Dataset.from_list(rows, features=features)
    saved.save_to_disk(served.folder / "saved", num_shards=2)
    look = served.done("saved", *job, out="out-2")
    assert look["rows"]["ok"] == 4
    again = pq.read_table(served.folder / "out-2" / "data").sort_by("n")
    shown = {row["n"]: row["caption"] for row in found.to_pylist()}
    assert {row["n"]: row["caption"] for row in again.to_pylist()}.items() <= shown.items()
    # What is missing is said before anything is begun.
    done = served.run("submit", "saved", "--task", "caption", "--out", "out-3")
    assert done.returncode == 1
    assert "could be: image" in " ".join(done.stderr.split())
    done = served.run(
        "submit", "saved", "--task", "caption", "--media-column", "x", "--out", "out-3"
    )
    assert "could be: image" in " ".join(done.stderr.split())


def test_samples_of_webdataset_tars_are_rows(served: Mill) -> None:
    media = make_media(served.folder / "media", images=4, videos=1, sounds=0)
    for number, held in enumerate((media[:2], media[2:])):
        with tarfile.open(served.folder / f"x-{number:03}.tar", "w") as archive:
            for medium in held:
                archive.add(medium.path, medium.path.name)
                text = medium.path.with_suffix(".txt")
                text.write_text(f"text of {medium.path.stem}")
                archive.add(text, text.name)
    job = ("--task", "caption", *QUICK, "--set", "fps=1")
    look = served.done("x-{000..001}.tar", *job, out="out")
    assert (look["rows"]["total"], look["rows"]["ok"]) == (5, 5)
    found = pq.read_table(served.folder / "out" / "data").to_pylist()
    by_id = {row["row_id"]: row for row in found}
    for number, held in enumerate((media[:2], media[2:])):
        for medium in held:
            row = by_id[f"x-{number:03}/{medium.path.stem}"]
            assert row["media"][0]["sha256"] == medium.sha256
            assert row["uri"].startswith(f"tar:{served.folder}/x-{number:03}.tar#at=")
            assert row["uri"].endswith(f"&member={medium.path.name}")
            assert row["txt"] == f"text of {medium.path.stem}"
            assert row["bytes"] == medium.size
    packed = served.run("submit", "x-{000..001}.tar.gz", *job, "--out", "out-2")
    assert packed.returncode == 1
    assert "cannot be read by range" in " ".join(packed.stderr.split())


def test_one_job_mixes_all_kinds_of_media(served: Mill) -> None:
    media = make_media(served.folder / "media", images=1, videos=1, sounds=1)
    paper = served.folder / "media" / "two.pdf"
    paper.write_bytes(pdf("Exit", "Gate 4"))
    rows: list[dict[str, object]] = [{"id": m.path.stem, "uri": str(m.path)} for m in media]
    rows += [
        {"id": "paper", "uri": "media/two.pdf"},
        {"id": "several", "uris": [str(media[0].path), "media/two.pdf"]},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (served.folder / "m.jsonl").write_text(lines)
    asked = ("--set", "question=What is this?", *QUICK)
    look = served.done("m.jsonl", "--task", "ask", *asked, out="out")
    assert (look["rows"]["total"], look["rows"]["ok"]) == (5, 5)
    found = {r["row_id"]: r for r in pq.read_table(served.folder / "out" / "data").to_pylist()}
    kinds = {name: [medium["kind"] for medium in row["media"]] for name, row in found.items()}
    assert kinds == {
        "image-0": ["image"],
        "video-0": ["video"],
        "sound-0": ["audio"],
        "paper": ["document"],
        "several": ["image", "document"],
    }
    assert found["several"]["uris"] == [str(media[0].path), "media/two.pdf"]
    assert found["paper"]["uris"] is None
    # The sound is a tone, in which nobody speaks.
    assert [name for name, row in found.items() if not row["answer"]] == ["sound-0"]
    assert found["sound-0"]["warnings"] == ["no_speech"]


def test_rows_of_text_alone_are_asked_too(served: Mill) -> None:
    make_media(served.folder / "media", images=1, videos=0, sounds=0)
    (served.folder / "m.csv").write_text("id,title,uri\na,One,\nb,Two,media/image-0.jpg\n")
    asked = ("--set", "prompt=Say {title}", *QUICK)
    served.done("m.csv", "--task", "chat", *asked, out="out")
    found = pq.read_table(served.folder / "out" / "data").to_pylist()
    assert [(row["row_id"], row["status"], row["uri"]) for row in found] == [
        ("a", "ok", None),
        ("b", "ok", "media/image-0.jpg"),
    ]
    assert [len(row["media"]) for row in found] == [0, 1]
    refused = served.run(
        "submit", "m.csv", "--task", "chat", "--out", "no", "--set", "prompt={titel}"
    )
    assert refused.returncode == 1
    assert "{titel} is no column of the manifest" in " ".join(refused.stderr.split())


@pytest.mark.full
def test_media_lie_in_other_stores(tmp_path: Path) -> None:
    media = make_media(tmp_path / "media", images=3, videos=0, sounds=0)
    with serving() as clouds:
        places = ["gs://b/a.jpg", "az://b/b.png", "hf://datasets/b/r/c.jpg"]
        for place, medium in zip(places, media, strict=True):
            clouds.objects[place.rpartition("/")[2]] = medium.path.read_bytes()
        lines = "".join(json.dumps({"id": place, "uri": place}) + "\n" for place in places)
        clouds.objects["m.jsonl"] = lines.encode()
        mill = Mill(
            tmp_path,
            {
                "MEDIAMILL_BROKER_URL": "redis://127.0.0.1:1/0",
                "STORAGE_EMULATOR_HOST": clouds.url,
                "AZURE_STORAGE_CONNECTION_STRING": clouds.azure,
                "HF_ENDPOINT": clouds.url,
            },
        )
        look = mill.json("run", "gs://b/m.jsonl", "--task", "caption", "--out", "out", *QUICK)
    assert (look["rows"]["total"], look["rows"]["ok"]) == (3, 3)
    found = {r["row_id"]: r for r in pq.read_table(tmp_path / "out" / "data").to_pylist()}
    for place, medium in zip(places, media, strict=True):
        assert found[place]["media"][0]["sha256"] == medium.sha256
    refused = mill.run("run", "media", "--task", "caption", "--out", "gs://b/out", *QUICK)
    assert refused.returncode == 1
    assert "conditional" in " ".join(refused.stderr.split())
