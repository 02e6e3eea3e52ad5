"""Images of every mode and fault come out upright, in RGB, on white, or as a RowError."""

from __future__ import annotations

import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from jobs.pieces import MediaInfo, Piece, Reading, Span
from storage.errors import RowError
from tests.media import quarters
from workers.images import decode_image

READING = Reading(frozenset({"image"}))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decoded(data: bytes | Path, reading: Reading = READING) -> tuple[Any, MediaInfo]:
    first, piece, last = decode_image(data, reading, 3)
    assert isinstance(first, MediaInfo)
    assert isinstance(piece, Piece)
    assert first == last
    (pixels,) = piece.images
    height, width, channels = pixels.shape
    assert (pixels.dtype, channels) == (np.uint8, 3)
    assert pixels.flags.c_contiguous
    assert piece.span == Span(3, 0, 1, None, None, width, height)
    assert first == MediaInfo("image", width, height, None, first.warnings)
    return pixels, first


def near(pixel: Any, colour: tuple[int, int, int], within: int = 12) -> bool:
    return bool(np.abs(np.asarray(pixel, int) - colour).max() <= within)


QUARTERS = Image.fromarray(quarters())
TURNS = {  # EXIF orientation: what the camera did to the upright picture
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_picture_stands_upright(form: str, orientation: int) -> None:
    turn = TURNS[orientation]
    stored = QUARTERS if turn is None else QUARTERS.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, info = decoded(encoded(stored, form, exif=exif.tobytes()))
    assert (info.width, info.height) == (64, 32)
    assert near(pixels[4, 4], (255, 0, 0))
    assert near(pixels[4, 60], (0, 255, 0))
    assert near(pixels[28, 4], (0, 0, 255))
    assert near(pixels[28, 60], (255, 255, 255))


def test_exif_that_cannot_be_read_is_a_warning() -> None:
    data = encoded(QUARTERS, "PNG", exif=b"Exif\0\0nonsense that is no TIFF")
    pixels, info = decoded(data)
    assert info.warnings == ("exif_unreadable",)
    assert near(pixels[4, 4], (255, 0, 0))


@pytest.mark.parametrize(
    "form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000"]
)
def test_formats(form: str) -> None:
    pixels, info = decoded(encoded(QUARTERS, form))
    assert (info.width, info.height, info.warnings) == (64, 32, ())
    assert near(pixels[4, 4], (255, 0, 0), 40)
    assert near(pixels[28, 60], (255, 255, 255), 40)


def test_a_progressive_jpeg_and_a_path(tmp_path: Path) -> None:
    path = tmp_path / "no-extension"
    path.write_bytes(encoded(QUARTERS, "JPEG", progressive=True))
    pixels, _ = decoded(path)
    assert near(pixels[4, 60], (0, 255, 0))


@pytest.mark.parametrize(
    ("mode", "value", "colour"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 128), (255, 127, 127)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 255), (0, 0, 0)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_transparency_is_white(mode: str, value: Any, colour: tuple[int, int, int]) -> None:
    pixels, _ = decoded(encoded(Image.new(mode, (5, 4), value), "PNG"))
    assert near(pixels[2, 2], colour, 1)


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (4, 2))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 0), 1)
    opaque, _ = decoded(encoded(image, "PNG"))
    assert opaque[0, 0].tolist() == [10, 20, 30]
    assert opaque[0, 1].tolist() == [200, 0, 0]
    clear, _ = decoded(encoded(image, "PNG", transparency=0))
    assert clear[0, 0].tolist() == [255, 255, 255]
    assert clear[0, 1].tolist() == [200, 0, 0]


def test_a_colour_declared_transparent_in_rgb() -> None:
    image = Image.new("RGB", (2, 1), (9, 9, 9))
    image.putpixel((1, 0), (1, 2, 3))
    pixels, _ = decoded(encoded(image, "PNG", transparency=(9, 9, 9)))
    assert pixels[0].tolist() == [[255, 255, 255], [1, 2, 3]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(form: str) -> None:
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    pixels, _ = decoded(encoded(Image.fromarray(deep), form))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([0.0, float("nan"), 1.0], [0, 0, 255]),
        ([float("nan")] * 3, [0, 0, 0]),
        ([7.0, 7.0, 7.0], [7, 7, 7]),
        ([-5.0, -5.0, -5.0], [0, 0, 0]),
        ([1e30, 0.0, -1e30], [255, 128, 0]),
    ],
)
def test_floats(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    pixels, _ = decoded(encoded(image, "TIFF"))
    assert pixels[0, :, 0].tolist() == expected


def test_32_bit_integers() -> None:
    image = Image.fromarray(np.array([[0, 32768, 65535]], np.int32))
    pixels, _ = decoded(encoded(image, "TIFF"))
    assert pixels[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk(form: str) -> None:
    # Pillow writes JPEG's CMYK inverted, as Adobe does; reading it plainly gives the negative.
    pixels, _ = decoded(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), form))
    assert near(pixels[8, 8], (255, 0, 0))
    pixels, _ = decoded(encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), form))
    assert near(pixels[8, 8], (255, 255, 255))


def test_lab() -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(QUARTERS, to_lab)
    assert lab is not None
    pixels, _ = decoded(encoded(lab, "TIFF"))
    assert near(pixels[4, 4], (255, 0, 0))
    assert near(pixels[28, 60], (255, 255, 255))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_of_an_animation(form: str) -> None:
    later = [Image.new("RGB", (64, 32), (0, 0, shade)) for shade in (80, 160)]
    data = encoded(QUARTERS, form, save_all=True, append_images=later)
    pixels, info = decoded(data)
    assert info.warnings == ("first_frame_of:3",)
    assert near(pixels[4, 4], (255, 0, 0))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_thin_images(size: tuple[int, int]) -> None:
    pixels, info = decoded(encoded(Image.new("RGB", size, (1, 2, 3)), "PNG"))
    assert (info.width, info.height) == size
    assert pixels[-1, -1].tolist() == [1, 2, 3]


def _refusal(data: bytes, reading: Reading = READING) -> RowError:
    with pytest.raises(RowError) as caught:
        list(decode_image(data, reading, 0))
    return caught.value


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "BMP", "TIFF"])
def test_truncated_is_corrupt(form: str) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (96, 128, 3), np.uint8)
    data = encoded(Image.fromarray(noise), form)
    assert _refusal(data[: len(data) * 2 // 3]).kind == "corrupt"
    assert _refusal(data[:20]).kind == "corrupt"


def test_over_the_limit_is_too_large() -> None:
    usual = Image.MAX_IMAGE_PIXELS
    data = encoded(Image.new("RGB", (100, 50)), "PNG")
    decoded(data, Reading(frozenset({"image"}), max_pixels=5000))
    for limit in (4999, 3000, 100):
        assert _refusal(data, Reading(frozenset({"image"}), max_pixels=limit)).kind == "too_large"
    assert usual == Image.MAX_IMAGE_PIXELS, "the limit is of these images alone"


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + name + body + check

    size = (60_000).to_bytes(4, "big")
    head = chunk(b"IHDR", size + size + bytes([8, 2, 0, 0, 0]))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000)))
    error = _refusal(bomb)
    assert error.kind == "too_large"
    assert "200000000" in error.message


def test_a_kept_image_is_not_given_again() -> None:
    data = encoded(QUARTERS, "PNG")
    kept = Reading(frozenset({"image"}), keep=(Span(0, 0, 1, None, None, 64, 32),))
    assert [type(item) for item in decode_image(data, kept, 0)] == [MediaInfo, MediaInfo]
    assert len(list(decode_image(data, kept, 1))) == 3


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_never_anything_but_a_picture_or_a_row_error(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]))
    whole = bytearray(encoded(QUARTERS, form))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(4, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    reading = Reading(frozenset({"image"}), max_pixels=1_000_000)
    outcome: object
    try:
        outcome = len(list(decode_image(bytes(whole), reading, 0)))
    except RowError as error:
        outcome = error.kind
    assert outcome in (3, "corrupt", "too_large")


@pytest.mark.parametrize("turned", [1, 6])
def test_a_large_jpeg_is_decoded_at_half_its_size_and_told_at_its_own(turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    data = encoded(QUARTERS.resize((1200, 800)), "JPEG", quality=95, exif=exif)
    whole, _ = decoded(data)
    reading = replace(READING, image_pixels=600 * 400)
    info, piece, _ = decode_image(data, reading, 3)
    assert isinstance(info, MediaInfo)
    assert isinstance(piece, Piece)
    (pixels,) = piece.images
    assert (info.width, info.height) == ((1200, 800) if turned == 1 else (800, 1200))
    assert (piece.span.width, piece.span.height) == (info.width, info.height)
    assert (pixels.shape[1] * 2, pixels.shape[0] * 2) == (info.width, info.height)
    small = np.asarray(Image.fromarray(whole).reduce(2), int)
    assert np.abs(small - pixels).mean() < 2, "the same picture"


@pytest.mark.parametrize(("form", "pixels"), [("JPEG", 600 * 400 + 1), ("PNG", 1)])
def test_others_are_decoded_at_their_own_size(form: str, pixels: int) -> None:
    data = encoded(QUARTERS.resize((1200, 800)), form)
    reading = replace(READING, image_pixels=pixels)
    assert decoded(data, reading)[0].shape == (800, 1200, 3)
