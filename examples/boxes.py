"""What was found in the drawings, drawn onto them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from examples.judging import Record, Thing, match, truth_boxes

#: Pixels of the longer side of a picture: small ones are enlarged, so that labels can be read.
SIDE = 640
_RIGHT, _WRONG, _MISSED = (0, 140, 70), (215, 20, 60), (235, 130, 0)
_FONT_SIZE = 15


def draw_boxes(records: Iterable[Record], base: Path, folder: Path) -> int:
    """Write `<row>.png` into `folder` for each image that was looked at; returns how many.

    Boxes are green if a thing of that label is there, red if not, and orange around what was
    missed. A record's `uri` is told from the folder `base`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = 0
    for record in records:
        if record["status"] != "ok" or record["media"][0]["kind"] != "image":
            continue
        found = record["objects"]
        missed, stray = match(found, truth_boxes(record))
        with Image.open(base / record["uri"]) as opened:
            picture = opened.convert("RGB")
        scale = SIDE / max(picture.size)
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        for thing in found:
            box = [thing["box"][name] for name in ("x0", "y0", "x1", "y1")]
            _mark(picture, thing, box, scale, _WRONG if any(thing is s for s in stray) else _RIGHT)
        for thing in missed:
            _mark(picture, thing, thing["box"], scale, _MISSED)
        picture.save(folder / f"{record['row_id']}.png")
        drawn += 1
    return drawn


def _mark(
    picture: Image.Image,
    thing: Thing,
    box: Sequence[float],
    scale: float,
    color: tuple[int, int, int],
) -> None:
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_SIZE)
    x0, y0, x1, y1 = (edge * scale for edge in box)
    # A pale rim sets the box off whatever it lies on.
    pen.rectangle((x0 - 2, y0 - 2, x1 + 2, y1 + 2), outline="white", width=7)
    pen.rectangle((x0, y0, x1, y1), outline=color, width=3)
    left, top, right, bottom = pen.textbbox((0, 0), thing["label"], font)
    wide, high = right - left + 8, bottom - top + 8
    # Above its box, or within where the picture ends; never past the right edge.
    x, y = max(0, min(x0, picture.width - wide)), y0 - high if y0 >= high else y0
    pen.rectangle((x, y, x + wide, y + high), fill=color)
    pen.text((x + 4 - left, y + 4 - top), thing["label"], "white", font)
