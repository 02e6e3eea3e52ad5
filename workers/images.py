"""Images of any kind that Pillow reads, as upright RGB on white."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image, ImageCms, UnidentifiedImageError

from jobs.pieces import MediaInfo, Piece, Reading, Span
from storage.errors import RowError

# Pillow's plugins are global, and this is a process of its own.
pillow_heif.register_heif_opener()

_EXIF_ORIENTATION = 0x0112
#: EXIF orientation to the turn that sets the picture upright (EXIF 2.32, 4.6.5.A).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
#: Formats whose decoder can give an image at a part of its size.
_SCALED_FORMATS = frozenset({"JPEG", "MPO"})
#: uint8 [height, width, 3], upright; width and height of the original, upright; and warnings of
#: what was left out.
Picture = tuple[npt.NDArray[np.uint8], tuple[int, int], list[str]]
#: Rows of a deep image that are scaled at once.
_ROWS = 64
#: Formats whose further "frames" are not pictures of their own: previews and depth
#: maps of phones (MPO), layers (PSD; the first is the whole picture).
_ONE_PICTURE = frozenset({"MPO", "PSD"})


def decode_image(
    source: bytes | Path, reading: Reading, media_index: int
) -> Iterator[MediaInfo | Piece]:
    """One image: its MediaInfo, the piece (unless it is kept), and the MediaInfo again.

    Raises RowError: `too_large` over `reading.max_pixels`, `corrupt` if Pillow cannot
    read it to its end.
    """
    rgb, (width, height), notes = read_rgb(source, reading.max_pixels, reading.image_pixels)
    info = MediaInfo("image", width, height, None, tuple(notes))
    yield info
    if not any(span.media_index == media_index for span in reading.keep):
        yield Piece(Span(media_index, 0, 1, None, None, width, height), images=(rgb,))
    yield info


def read_rgb(source: bytes | Path, max_pixels: int, enough: int | None) -> Picture:
    """The picture, of `enough` pixels or more if it is a JPEG of far more."""
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow only warns between once and twice the limit; here it is a limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
                return _read(image, max_pixels, enough)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise RowError("too_large", f"{error}; the limit is {max_pixels} pixels") from error
    except UnidentifiedImageError as error:
        raise RowError("corrupt", "not an image that Pillow can identify") from error
    except (MemoryError, RowError):
        raise
    except Exception as error:
        # Damaged files make Pillow's plugins raise anything: OSError, SyntaxError,
        # ValueError, struct.error, IndexError, zlib.error, …
        said = str(error).strip() or type(error).__name__
        raise RowError("corrupt", f"the image cannot be decoded: {said}") from error
    finally:
        # Of all of this process, which may have pictures of its own.
        Image.MAX_IMAGE_PIXELS = usual


def _read(image: Image.Image, max_pixels: int, enough: int | None) -> Picture:
    if image.width * image.height > max_pixels:
        given = f"{image.width}x{image.height}"
        raise RowError("too_large", f"an image of {given} pixels; the limit is {max_pixels}")
    notes = []
    frames = 1 if image.format in _ONE_PICTURE else getattr(image, "n_frames", 1)
    if frames > 1:
        image.seek(0)
        notes.append(f"first_frame_of:{frames}")
    width, height = image.size
    scaled = None
    if enough is not None and image.format in _SCALED_FORMATS:
        share = (enough / (width * height)) ** 0.5
        # Of a half, a quarter or an eighth of each side, the least that holds so many.
        scaled = image.draft(None, (ceil(width * share), ceil(height * share)))
    image.load()
    orientation = _orientation(image, notes)
    turn = _UPRIGHT.get(orientation)
    rgb = to_rgb(image)
    if turn is not None:
        rgb = rgb.transpose(turn)
    if scaled is None:
        # Some plugins turn pictures themselves.
        width, height = rgb.size
    elif orientation in _SIDEWAYS:
        width, height = height, width
    return np.ascontiguousarray(np.asarray(rgb, np.uint8)), (width, height), notes


def _orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # as above: broken EXIF raises anything, and the picture is whole without it
        notes.append("exif_unreadable")
        return 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB: transparency on white, deep pixels scaled to 8 bits.

    16-bit greys are scaled from 0..65535. 32-bit ones have no agreed range: floats in
    [0, 1] are taken for fractions, values in [0, 255] for 8 bits, integers up to 65535
    for 16 bits, anything else is stretched between its extremes.
    """
    mode = image.mode
    if mode.startswith("I;16"):
        return Image.fromarray(_scaled(np.asarray(image), 0.0, 65535.0)).convert("RGB")
    if mode in ("I", "F"):
        values = np.asarray(image)
        return Image.fromarray(_scaled(values, *_range(values))).convert("RGB")
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    if image.has_transparency_data:
        layer = image if mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(layer, mask=layer.getchannel("A"))
        return paper
    return image if mode == "RGB" else image.convert("RGB")


def _range(values: npt.NDArray[Any]) -> tuple[float, float]:
    """What is black and what is white in numbers of no agreed range; see `to_rgb`."""
    if values.dtype.kind == "f":
        finite, usual = np.isfinite(values), (1.0, 255.0)
        low = float(values.min(initial=np.inf, where=finite))
        high = float(values.max(initial=-np.inf, where=finite))
    else:
        low, high, usual = float(values.min()), float(values.max()), (255.0, 65535.0)
    white = next((most for most in usual if high <= most), None)
    return (0.0, white) if white is not None and low >= 0 else (low, high)


def _scaled(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """`low` to 0 and `high` to 255; what is no number is black."""
    scaled = np.zeros(values.shape, np.uint8)
    factor = 255.0 / (high - low) if high > low else 0.0
    for row in range(0, len(values), _ROWS):  # by bands: doubles of all of it are 8 times the image
        band = values[row : row + _ROWS].astype(np.float64)
        band[~np.isfinite(band)] = low
        scaled[row : row + _ROWS] = np.rint((band - low) * factor)
    return scaled
