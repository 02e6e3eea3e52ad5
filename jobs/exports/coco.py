"""COCO: boxes as a whole dataset, or as results for the categories and images of another."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import orjson
import pyarrow as pa

from jobs.exports.base import File, Format, Tally
from jobs.exports.reference import Reference
from jobs.exports.seen import Box, Seen

#: Labels that a note names; the tally has them all.
_NAMED = 10


class Coco(Format):
    """Results if there is a reference, else a dataset. Records with an error have no image.

    Ids depend on all records, so what these tell is noted in a file of this machine first;
    memory holds the labels met, and a reference's categories and images.
    """

    name: ClassVar[str] = "coco"
    needs = ("objects", frozenset({"label", "box", "media_index", "time_s"}))

    def __init__(self, reference: Reference | None = None) -> None:
        self._reference = reference

    def files(
        self, tables: Iterator[pa.Table], kinds: Mapping[str, str], tally: Tally
    ) -> Iterator[File]:
        """One file and, if results have image ids that nobody knows, one that tells them."""
        with tempfile.TemporaryFile(prefix="mediamill-coco-") as spool:
            seen = Seen(spool)
            for table in tables:
                seen.note(table, tally)
            if seen.boxless:
                tally.notes.append(f"{seen.boxless:,} objects have no box or no label; left out")
            if self._reference is None:
                yield File(_dataset(seen, tally))
                return
            yield File(_results(seen, self._reference, tally))
            if seen.numbered and not self._reference.by_id:
                tally.notes.append(
                    "row ids are no image ids (an integer for one still image a row): images are "
                    "numbered, and a file beside tells their ids"
                )
                entries = (image.entry for row in seen.rows() for image in row.images)
                yield File(_array(entries), beside="images")


def _dataset(seen: Seen, tally: Tally) -> Iterator[bytes]:
    """Images, annotations and categories; a frame of a video is an image if it has boxes."""
    categories = {label: number for number, label in enumerate(sorted(seen.labels), 1)}
    yield b'{"info": {"description": "made by mediamill"}, "licenses": [],\n"images": '
    tally.written = sum(1 for _ in seen.rows())
    yield from _array(image.entry for row in seen.rows() for image in row.images)
    yield b',\n"annotations": '
    boxes = (
        (image.entry["id"], box)
        for row in seen.rows()
        for image in row.images
        for box in image.boxes
    )
    yield from _array(
        {
            "id": number,
            "image_id": image_id,
            "category_id": categories[box.label],
            "bbox": box.bbox,
            "area": round(box.bbox[2] * box.bbox[3], 4),
            "iscrowd": 0,
        }
        for number, (image_id, box) in enumerate(boxes, 1)
    )
    yield b',\n"categories": '
    yield from _array({"id": number, "name": label} for label, number in categories.items())
    yield b"}\n"


def _results(seen: Seen, reference: Reference, tally: Tally) -> Iterator[bytes]:
    """What detectors hand in: image, category, box and score."""
    boxes = _placed(seen, reference, tally) if reference.by_id else _numbered(seen, tally)
    yield from _array(_scored(boxes, reference, tally))
    yield b"\n"
    tally.notes.append("every score is 1.0: the model gives none, and a ranking by score is none")
    if tally.labels:
        named = ", ".join(f"{label} ({n:,})" for label, n in tally.labels.most_common(_NAMED))
        more = f" and {len(tally.labels) - _NAMED:,} more" if len(tally.labels) > _NAMED else ""
        tally.notes.append(
            f"{tally.labels.total():,} boxes are left out, since {reference.where} has no "
            f"category of their labels: {named}{more}"
        )


def _numbered(seen: Seen, tally: Tally) -> Iterator[tuple[int, Box]]:
    for row in seen.rows():
        tally.written += 1
        for image in row.images:
            for box in image.boxes:
                yield image.entry["id"], box


def _placed(seen: Seen, reference: Reference, tally: Tally) -> Iterator[tuple[int, Box]]:
    """Boxes on the reference's own images."""
    times: Counter[int] = Counter()
    for row in seen.rows():
        image_id = reference.image(row.row_id, row.uri)
        if image_id is None:
            tally.left_out["no_such_image"] += 1
        elif not row.still:
            # Frames, and the media after the first, have no names to be found by.
            tally.left_out["several_images"] += 1
        else:
            tally.written += 1
            times[image_id] += 1
            for box in row.images[0].boxes:
                yield image_id, box
    twice = [image_id for image_id, count in times.items() if count > 1]
    if twice:
        tally.notes.append(
            f"{len(twice):,} images of {reference.where} are those of several rows, such as image "
            f"{twice[0]}; it then has the boxes of all"
        )


def _scored(
    boxes: Iterable[tuple[int, Box]], reference: Reference, tally: Tally
) -> Iterator[dict[str, Any]]:
    for image_id, box in boxes:
        category = reference.category(box.label)
        if category is None:
            tally.labels[box.label] += 1
            continue
        yield {"image_id": image_id, "category_id": category, "bbox": box.bbox, "score": 1.0}


def _array(items: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """A JSON array, an item a line."""
    before = b"["
    for item in items:
        yield before + orjson.dumps(item)
        before = b",\n"
    yield b"[]" if before == b"[" else b"]"
