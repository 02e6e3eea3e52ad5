"""What images and boxes records tell of, noted in a file of this machine to be gone over again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import orjson
import pyarrow as pa

from jobs.exports.base import Tally

_COLUMNS = ["row_id", "uri", "status", "media", "objects"]
#: An id that is the same as a number and as text, and that every reader of JSON keeps whole.
_INTEGER = re.compile(r"0|[1-9][0-9]{0,14}")
#: Decimals of a pixel: finer than the model's grid on every image.
_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled box: x, y, width and height in pixels."""

    label: str
    bbox: list[float]


@dataclass(frozen=True, slots=True)
class Image:
    """An image as COCO lists it, and its boxes. `boxes` may be empty: nothing was found."""

    entry: dict[str, Any]
    boxes: list[Box]


@dataclass(frozen=True, slots=True)
class Row:
    """A record's images: one, or those of several media and the frames of a video."""

    row_id: str
    uri: str
    images: list[Image]

    @property
    def still(self) -> bool:
        """Whether it is one still image, so that its id and URI are that image's."""
        return len(self.images) == 1 and "time_s" not in self.images[0].entry


@dataclass(slots=True)
class Seen:
    """The notes. `numbered`: images get numbers, since row ids are no ids of images.
    `boxless` counts objects that have no box or no label.
    """

    spool: IO[bytes]
    numbered: bool = False
    labels: set[str] = field(default_factory=set)
    boxless: int = 0

    def note(self, table: pa.Table, tally: Tally) -> None:
        """Take note of a shard's records."""
        for record in table.select(_COLUMNS).to_pylist():
            tally.records += 1
            if record["status"] != "ok":
                tally.left_out[record["status"]] += 1
                continue
            frames = self._frames(record)
            still = len(frames) == 1 and "time_s" not in frames[0][0]
            self.numbered |= not (still and _INTEGER.fullmatch(record["row_id"]))
            self.labels.update(label for _, boxes in frames for label, _ in boxes)
            self.spool.write(orjson.dumps([record["row_id"], record["uri"], frames]) + b"\n")

    def rows(self) -> Iterator[Row]:
        """All that was noted, in order; ids of images are the same each time."""
        self.spool.seek(0)
        count = 0
        for line in self.spool:
            row_id, uri, frames = orjson.loads(line)
            images = []
            for entry, boxes in frames:
                count += 1
                made = {
                    "id": count if self.numbered else int(row_id),
                    "file_name": uri,
                    **entry,
                    "row_id": row_id,
                }
                images.append(Image(made, [Box(*box) for box in boxes]))
            yield Row(row_id, uri, images)

    def _frames(self, record: dict[str, Any]) -> list[tuple[dict[str, Any], list[Any]]]:
        """Each still image, and each frame of a video with an object: what tells it, and boxes."""
        media = record["media"] or []
        frames: dict[tuple[int, float | None], tuple[dict[str, Any], list[Any]]] = {}

        def frame(index: int, time_s: float | None) -> list[Any]:
            if (index, time_s) not in frames:
                medium = media[index] if index < len(media) else {"width": None, "height": None}
                entry = {"width": medium["width"], "height": medium["height"]}
                if time_s is not None:
                    entry["time_s"] = time_s
                if len(media) > 1:
                    entry["media_index"] = index
                frames[index, time_s] = entry, []
            return frames[index, time_s][1]

        for index, medium in enumerate(media):
            if medium["kind"] == "image":
                frame(index, None)
        for found in record["objects"] or ():
            box, label = found["box"], found["label"]
            if box is None or label is None or None in box.values():
                self.boxless += 1
                continue
            x, y = box["x0"], box["y0"]
            bbox = [round(v, _DECIMALS) for v in (x, y, box["x1"] - x, box["y1"] - y)]
            frame(found["media_index"] or 0, found["time_s"]).append((label, bbox))
        return list(frames.values())
