"""The demo's media, and how answers are held against them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image
from rich.console import Console

from examples.boxes import draw_boxes
from examples.judging import align, judge, overlap
from examples.picture import write_svg
from examples.samples import gather
from examples.table import make_table, summary
from models.tiny.evaluation.items import Answered
from models.tiny.evaluation.scoring import word_errors

SQUARE = {"label": "red square", "box": [10.0, 10.0, 30.0, 30.0], "time_s": None}


def found(label: str, *corners: float, time_s: float | None = None) -> dict[str, Any]:
    """An object of a record."""
    box = dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True))
    return {"label": label, "box": box, "time_s": time_s}


def record(task: str, **columns: Any) -> dict[str, Any]:
    """A record of the demo, ok unless told otherwise."""
    empty = dict.fromkeys(
        ("text", "error", "objects", "segments", "truth_caption", "truth_words", "truth_boxes")
    )
    return {"row_id": "a", "task": task, "status": "ok", **empty, **columns}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The manifest's rows by id; `path` is where the medium lies."""
    folder = tmp_path_factory.mktemp("demo")
    lines = gather(folder).read_text().splitlines()
    return {row["id"]: row | {"path": folder / row["uri"]} for row in map(json.loads, lines)}


def test_drawings_are_what_their_truth_says(rows: dict[str, dict[str, Any]]) -> None:
    formats = set()
    for number in range(1, 7):
        row = rows[f"drawing-{number}"]
        things = json.loads(row["truth_boxes"])
        assert "photograph" not in row["truth_caption"]
        assert 1 <= len(things) <= 5
        with Image.open(row["path"]) as image:
            formats.add(image.format)
            ground = image.convert("RGB").getpixel((2, 2))
            for thing in things:
                x0, y0, x1, y1 = thing["box"]
                assert 0 <= x0 < x1 <= image.width
                assert 0 <= y0 < y1 <= image.height
                centre = image.convert("RGB").getpixel(((x0 + x1) // 2, (y0 + y1) // 2))
                assert thing["label"].endswith("ring") or centre != ground
    assert formats == {"PNG", "JPEG", "WEBP"}


def test_recordings_and_films_play(rows: dict[str, dict[str, Any]]) -> None:
    seconds = {}
    for name in ("speech-1", "speech-2", "speech-3"):
        with av.open(str(rows[name]["path"])) as file:
            seconds[name] = (file.duration or 0) / av.time_base
        assert rows[name]["truth_words"]
    assert seconds["speech-3"] > 30, "several segments"
    for name, sounds in (("film-1", 0), ("film-2", 1)):
        with av.open(str(rows[name]["path"])) as file:
            assert len(file.streams.audio) == sounds
            boxes = json.loads(rows[name]["truth_boxes"])
            stream = file.streams.video[0]
            assert stream.frames == 4 * (1 + max(box["time_s"] for box in boxes))
    words = rows["film-2"]["truth_words"]
    assert rows["film-2"]["truth_caption"].endswith(f". A voice says: {words}")


def test_a_films_boxes_follow_what_moves(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["film-1"]
    with av.open(str(row["path"])) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    for box in json.loads(row["truth_boxes"]):
        frame = frames[4 * box["time_s"]].astype(int)
        differs = abs(frame - frame[0, 0]).sum(2) > 90
        columns, lines = differs.any(0).nonzero()[0], differs.any(1).nonzero()[0]
        seen = (columns[0], lines[0], columns[-1] + 1, lines[-1] + 1)
        assert overlap(seen, box["box"]) > 0.9


def test_a_caption_is_right_word_for_word() -> None:
    truth = "A large red square on a white background."
    assert judge(record("caption", text=truth, truth_caption=truth)).really == ""
    wrong = judge(record("caption", text="A small red square.", truth_caption=truth))
    assert (wrong.wrong, wrong.really) == (1, truth)


def test_boxes_are_matched_by_label_place_and_time() -> None:
    truth = json.dumps([SQUARE, {**SQUARE, "box": [50.0, 50.0, 70.0, 70.0]}])
    near, off = found("red square", 11, 11, 31, 31), found("red square", 40, 40, 60, 60)
    other = found("red ring", 50, 50, 70, 70)
    verdict = judge(record("detect", objects=[near, off, other], truth_boxes=truth))
    assert (verdict.asked, verdict.wrong) == (2, 1)
    assert verdict.really == "missed: red square; not there: red square, red ring"
    twice = judge(record("detect", objects=[near, near], truth_boxes=json.dumps([SQUARE])))
    assert (twice.wrong, twice.really) == (0, "not there: red square")
    film = json.dumps([{**SQUARE, "time_s": second} for second in (0, 1)])
    late = [found("red square", 10, 10, 30, 30, time_s=t) for t in (0.0, 2.0)]
    verdict = judge(record("detect", objects=late, truth_boxes=film))
    assert verdict.really == "missed: red square at 1 s; not there: red square at 2.0 s"


def test_an_error_answers_nothing() -> None:
    broken = {"status": "error", "error": {"kind": "unparsable", "message": "no boxes"}}
    boxes = record("detect", truth_boxes=json.dumps([SQUARE]), **broken)
    words = record("transcribe", truth_words="one two", **broken)
    caption = record("caption", truth_caption="A ring.", **broken)
    assert [judge(r).wrong for r in (boxes, words, caption)] == [1, 2, 1]
    tasks = {r["task"]: {"a": r} for r in (boxes, words, caption)}
    assert summary(tasks) == (
        "0 of 1 captions word for word; 100% of 2 words misheard; 0 of 1 things found (IoU of 0.5)"
    )
    shown = _printed(tasks)
    assert shown.count("✗") == 3
    assert "unparsable: no boxes" in shown


@pytest.mark.parametrize(
    ("said", "heard", "wrong"),
    [
        ("the bird is red", "the bird is red", 0),
        ("the bird is red", "the bird is", 1),
        ("the bird is red", "a the word is red", 2),
        ("press 4 for the station", "press four for a the stations", 2),
        ("one", "", 1),
        ("", "one two", 2),
    ],
)
def test_words_are_counted_as_jiwer_counts_them(said: str, heard: str, wrong: int) -> None:
    verdict = judge(record("transcribe", text=heard, truth_words=said))
    assert verdict.wrong == wrong
    assert bool(verdict.really) == bool(wrong)
    pairs = align(said.split(), heard.split())
    assert [a for a, _ in pairs if a] == said.split()
    assert [b for _, b in pairs if b] == heard.split()
    if said:
        answer = Answered(record={"text": heard}, reference={"text": said})
        assert word_errors([answer]).value == pytest.approx(wrong / len(said.split()))


def test_the_table_shows_what_it_should_have_been(tmp_path: Path) -> None:
    unfit = {"status": "error", "error": {"kind": "wrong_kind", "message": "an image"}}
    tasks = {
        "caption": {"a": record("caption", text="A ring.", truth_caption="A ring.")},
        "transcribe": {"a": record("transcribe", **unfit)},
        "detect": {
            "a": record("detect", objects=[], truth_boxes=json.dumps([SQUARE])),
        },
    }
    shown = _printed(tasks)
    assert (shown.count("✓"), shown.count("✗")) == (1, 1)
    assert "really: missed: red square" in shown
    assert "transcribe" not in shown
    file = tmp_path / "demo.svg"
    write_svg(file, tasks)
    svg = file.read_text()
    assert svg.count("http") == 1, "the name space alone"
    assert "<!--" not in svg
    assert "A&#160;ring." in svg


def test_boxes_are_drawn_onto_the_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (80, 40), "white").save(tmp_path / "a.png")
    media = [{"kind": "image"}]
    truth = json.dumps([SQUARE])
    looked = record(
        "detect", uri="a.png", media=media, truth_boxes=truth,
        objects=[found("red square", 10, 10, 30, 30), found("red ring", 50, 10, 70, 30)],
    )  # fmt: skip
    film = record("detect", media=[{"kind": "video"}])
    assert draw_boxes([looked, film], tmp_path, tmp_path / "boxes") == 1
    with Image.open(tmp_path / "boxes" / "a.png") as picture:
        assert picture.width == 640
        # The left edges of the two boxes: green is right, red is not.
        right, wrong = picture.getpixel((80, 200)), picture.getpixel((400, 200))
    assert isinstance(right, tuple)
    assert isinstance(wrong, tuple)
    assert right[1] > right[0]
    assert wrong[0] > wrong[1]


def _printed(tasks: dict[str, dict[str, Any]]) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(make_table(tasks))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
