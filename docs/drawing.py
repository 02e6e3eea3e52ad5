"""Pictures of the pages: an example's media with what was found in them drawn on top."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageDraw, ImageFont

from docs.sound import waveform

#: Bytes of one picture at most.
MOST_BYTES = 56_000
#: Pixels of the longer side of an image, one of several, a frame of a strip, and a thumbnail.
SIDE, BESIDE, FRAME, THUMBNAIL = 400, 240, 176, 128
_COLORS = 128
_MARKS = ((235, 20, 110), (0, 110, 235), (0, 140, 70), (225, 100, 0), (120, 40, 200))
_GAP = 6
_IMAGES, _FILMS = (".png", ".jpg"), (".mp4",)

Record = Mapping[str, Any]


def draw_row(files: Sequence[Path], record: Record) -> Image.Image:
    """The media of a row with its boxes, points or segments on them.

    Images stand beside each other; a film is a strip with a frame a second; of a sound
    the waveform is drawn.
    """
    if files[0].suffix in _IMAGES:
        side = SIDE if len(files) == 1 else BESIDE
        return _beside([_image(file, index, record, side) for index, file in enumerate(files)])
    [file] = files
    if file.suffix in _FILMS:
        return _strip(file, record)
    return waveform(file, record.get("segments") or [])


def thumbnail(picture: Image.Image) -> Image.Image:
    """The same on a small plate of one shape, so that tables are even; a long one's left part."""
    side = min(picture.width, 2 * picture.height)
    small = picture.crop((0, 0, side, picture.height))
    size = (THUMBNAIL, THUMBNAIL * 3 // 4)
    small.thumbnail(size, Image.Resampling.LANCZOS)
    plate = Image.new("RGB", size, "white")
    plate.paste(small, ((plate.width - small.width) // 2, (plate.height - small.height) // 2))
    return plate


def png(picture: Image.Image) -> bytes:
    """The picture as PNG of few colors; raises SystemExit if it is too large for a page.

    The palette is an octree's: a median cut would give small things the color of others.
    """
    data = io.BytesIO()
    few = picture.convert("RGB").quantize(_COLORS, Image.Quantize.FASTOCTREE)
    few.save(data, "PNG", optimize=True)
    if data.tell() > MOST_BYTES:
        raise SystemExit(f"docs: a picture of {picture.size} takes more than {MOST_BYTES} bytes")
    return data.getvalue()


def _image(file: Path, index: int, record: Record, side: int) -> Image.Image:
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    found = [thing for thing in _things(record) if thing["media_index"] == index]
    return _marked(image, found, side)


def _strip(file: Path, record: Record) -> Image.Image:
    frames: list[Image.Image] = []
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            at_s = float(frame.time or 0.0)
            if at_s >= len(frames):
                found = [t for t in _things(record) if abs(t["time_s"] - at_s) < 0.1]
                image = _marked(frame.to_image(), found, FRAME)
                ImageDraw.Draw(image).text(
                    (4, image.height - 4), f"{len(frames)} s", (90, 90, 90), _font(12), anchor="ls"
                )
                frames.append(image)
    return _beside(frames)


def _things(record: Record) -> list[dict[str, Any]]:
    return list(record.get("objects") or record.get("points") or [])


def _marked(image: Image.Image, found: list[dict[str, Any]], side: int) -> Image.Image:
    """The image at its page size with boxes, and with dots where points are."""
    scale = side / max(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.LANCZOS)
    pen, font = ImageDraw.Draw(image), _font(14)
    for number, thing in enumerate(found):
        color = _MARKS[number % len(_MARKS)]
        x0, y0, x1, y1 = (thing["box"][name] * scale for name in ("x0", "y0", "x1", "y1"))
        # A pale rim sets the box off whatever it lies on.
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline="white", width=5)
        pen.rectangle((x0, y0, x1, y1), outline=color, width=3)
        if "x" in thing:
            _dot(pen, thing["x"] * scale, thing["y"] * scale, color)
        left, _, right, _ = pen.textbbox((0, 0), thing["label"], font)
        wide = right - left + 8
        # Above its box, or below where the picture ends; never past the right edge.
        x = max(0, min(x0, image.width - wide))
        y = y0 - 19 if y0 >= 19 else min(y1, image.height - 19)
        pen.rectangle((x, y, x + wide, y + 19), fill=color)
        pen.text((x + 4, y + 2), thing["label"], "white", font)
    return image


def _dot(pen: ImageDraw.ImageDraw, x: float, y: float, color: tuple[int, int, int]) -> None:
    for radius, ink in ((9, "white"), (6, color)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), ink)


def _beside(images: Sequence[Image.Image]) -> Image.Image:
    if len(images) == 1:
        return images[0]
    wide = sum(image.width + _GAP for image in images) - _GAP
    row = Image.new("RGB", (wide, max(image.height for image in images)), "white")
    x = 0
    for image in images:
        row.paste(image, (x, 0))
        x += image.width + _GAP
    return row


def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)
