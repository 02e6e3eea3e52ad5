"""COCO: datasets and results that pycocotools loads and evaluates."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jobs.exports.coco import Coco
from jobs.exports.reference import read_reference
from jobs.exports.writing import Exported, export
from jobs.tempo import Tempo
from storage.errors import InvalidJob
from storage.objects import Store, open_store
from storage.records import Record
from tests.unit.exporting import IMAGE, failed, job_of, record

VIDEO = {"kind": "video", "bytes": 1, "sha256": "", "width": 100, "height": 50, "duration_s": 3.0}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "job"))


def thing(label: str, box: tuple[float, ...], index: int = 0, time: float | None = None) -> Any:
    corners = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
    return {"label": label, "box": corners, "media_index": index, "time_s": time}


def picture(row_id: str, *things: Any, **fields: Any) -> Record:
    return record(row_id, "detect", objects=things, **{"media": [IMAGE], **fields})


DOG = thing("dog", (10, 20, 110.5, 80))
CAT = thing("Cat", (0, 0, 64, 48))


def exported(
    store: Store, shards: list[list[Record]], dest: Path, categories: object = None
) -> Exported:
    reference = None
    if categories is not None:
        reference = read_reference(json.dumps(categories).encode(), "ref.json")
    job = job_of(store, "detect", shards)
    return export(store, job, Coco(reference), str(dest), Tempo())


def loaded(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def evaluated(truth: COCO, results: Path) -> float:
    """Average precision, 0 to 1."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def test_without_categories_a_whole_dataset(store: Store, tmp_path: Path) -> None:
    dest = tmp_path / "boxes.json"
    shards = [[picture("7", DOG, CAT), failed("8", "detect")], [picture("9")]]
    done = exported(store, shards, dest)
    assert (done.files, done.tally.written, done.tally.left_out) == (1, 2, {"error": 1})
    assert done.tally.notes == []
    coco = loaded(dest)
    # What nothing was found on is an image all the same; a row that failed is none.
    assert [(i["id"], i["file_name"], i["width"]) for i in coco.dataset["images"]] == [
        (7, "/media/7", 640),
        (9, "/media/9", 640),
    ]
    assert coco.dataset["categories"] == [{"id": 1, "name": "Cat"}, {"id": 2, "name": "dog"}]
    dog, cat = coco.loadAnns(coco.getAnnIds(imgIds=[7]))
    assert (dog["bbox"], dog["category_id"], dog["area"]) == ([10, 20, 100.5, 60], 2, 6030)
    assert (cat["id"], cat["iscrowd"]) == (2, 0)


def test_its_own_dataset_is_what_results_are_evaluated_on(store: Store, tmp_path: Path) -> None:
    truth, results = tmp_path / "truth.json", tmp_path / "results.json"
    shards = [[picture("a", DOG, CAT), picture("b", DOG)]]
    exported(store, shards, truth)
    other = open_store(str(tmp_path / "other"))
    done = exported(other, shards, results, json.loads(truth.read_text()))
    assert (done.files, done.tally.written) == (1, 2)
    assert evaluated(loaded(truth), results) == pytest.approx(1.0)
    assert json.loads(results.read_text())[0] == {
        "image_id": 1, "category_id": 2, "bbox": [10, 20, 100.5, 60], "score": 1.0
    }  # fmt: skip


def test_images_are_found_by_file_name_or_id(store: Store, tmp_path: Path) -> None:
    reference = {
        "categories": [{"id": 18, "name": "Dog"}],
        "images": [
            {"id": 139, "file_name": "val/1.jpg"},
            {"id": 285, "file_name": "train/1.jpg"},
            {"id": 286, "file_name": "1.jpg"},
            {"id": 300, "file_name": "named.jpg"},
            {"id": 400, "file_name": "x.jpg"},
            {"id": 500},
        ],
    }
    rows = [
        # The name of the file says more than the row's id, which may be the row's number.
        picture("139", DOG, uri="s3://b/coco/train/1.jpg"),
        picture("named.jpg", DOG, uri="data:image/png;base64,AA"),
        picture("400", DOG, uri="https://h/other?a=/named.jpg"),
        picture("500", DOG, uri="https://h/a%20b.jpg"),
        picture("600", DOG, uri="2.jpg"),
        picture("y", DOG, uri="/d/x.jpg"),
        picture("z", DOG, media=[IMAGE, IMAGE], uri="/d/named.jpg"),
        picture("v", thing("dog", (0, 0, 5, 5), time=1.5), media=[VIDEO], uri="/d/x.jpg"),
    ]
    done = exported(store, [rows], tmp_path / "r.json", reference)
    results = json.loads((tmp_path / "r.json").read_text())
    assert [r["image_id"] for r in results] == [285, 300, 400, 500, 400]
    assert {r["category_id"] for r in results} == {18}
    assert done.tally.left_out == {"no_such_image": 1, "several_images": 2}
    assert done.tally.written == 5
    assert any("image 400" in note for note in done.tally.notes), "two rows are one image"
    assert any("score is 1.0" in note for note in done.tally.notes)


def test_row_ids_that_are_integers_are_image_ids(store: Store, tmp_path: Path) -> None:
    rows = [picture("12", DOG), picture("0", CAT)]
    done = exported(store, [rows], tmp_path / "r.json", [{"id": 1, "name": "dog"}])
    assert [r["image_id"] for r in json.loads((tmp_path / "r.json").read_text())] == [12]
    assert done.files == 1
    assert done.tally.labels == {"Cat": 1}
    assert any("1 boxes" in note and "Cat (1)" in note for note in done.tally.notes)


@pytest.mark.parametrize(
    "odd",
    [
        picture("007", DOG),
        picture("-1", DOG),
        picture("x", DOG),
        picture("5", DOG, media=[IMAGE, IMAGE]),
        picture("5", thing("dog", (0, 0, 5, 5), time=1.5), media=[VIDEO]),
    ],
)
def test_else_images_are_numbered_and_a_file_beside_says_how(
    store: Store, tmp_path: Path, odd: Record
) -> None:
    done = exported(
        store, [[picture("12", DOG)], [odd]], tmp_path / "r.json", [{"id": 1, "name": "dog"}]
    )
    assert [r["image_id"] for r in json.loads((tmp_path / "r.json").read_text())] == [1, 2]
    images = json.loads((tmp_path / "r.images.json").read_text())
    assert [(i["id"], i["row_id"]) for i in images[:2]] == [(1, "12"), (2, odd.row_id)]
    assert done.files == 2
    assert any("numbered" in note for note in done.tally.notes)


def test_frames_of_a_video_are_images_with_a_time(store: Store, tmp_path: Path) -> None:
    film = [thing("dog", (0, 0, 5, 5), time=t) for t in (0.0, 1.0, 1.0)]
    exported(store, [[picture("v", *film, media=[VIDEO])]], tmp_path / "d.json")
    data = json.loads((tmp_path / "d.json").read_text())
    assert [(i["time_s"], i["width"]) for i in data["images"]] == [(0.0, 100), (1.0, 100)]
    assert [a["image_id"] for a in data["annotations"]] == [1, 2, 2]


def test_nothing_found_is_a_file_all_the_same(store: Store, tmp_path: Path) -> None:
    boxless = {"label": "dog", "box": None, "media_index": 0, "time_s": None}
    done = exported(store, [[picture("1", boxless)]], tmp_path / "r.json", [])
    assert json.loads((tmp_path / "r.json").read_text()) == []
    assert any("1 objects have no box" in note for note in done.tally.notes)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"{", "no JSON"),
        (b'{"images": []}', "no categories"),
        (b'[{"id": "a", "name": "dog"}]', "0.id"),
        (b"3", "not as COCO has it"),
        (b'[{"id": 1, "name": "dog"}, {"id": 2, "name": "Dog "}]', "two categories"),
        (b'{"categories": [], "images": [{"file_name": "a"}]}', "0.id"),
    ],
)
def test_a_reference_of_no_sense_is_refused(document: bytes, said: str) -> None:
    with pytest.raises(InvalidJob, match=f"ref.json: .*{said}"):
        read_reference(document, "ref.json")
