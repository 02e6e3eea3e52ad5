"""Kinds by first bytes: every container that PyAV and Pillow write, and what is no medium."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from storage.sniff import HEAD_BYTES, sniff


def picture(name: str) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (32, 16), "red").save(sink, name)
    return sink.getvalue()


def film(container: str, codec: str) -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format=container) as output:
        stream = output.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return sink.getvalue()


def sound(container: str, codec: str, rate: int = 48_000, bit_rate: int | None = None) -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        if bit_rate:
            stream.bit_rate = bit_rate
        noise = np.random.default_rng(0).integers(-9000, 9000, (1, rate), np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        stream.codec_context.open(strict=False)
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.frame_size or 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(part))
        output.mux(stream.encode())
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("AVIF", "image/avif"),
        ("TIFF", "image/tiff"),
        ("BMP", "image/bmp"),
        ("JPEG2000", "image/jp2"),
    ],
)
def test_images(name: str, mime: str) -> None:
    found = sniff(picture(name)[:HEAD_BYTES])
    assert (found.kind, found.mime) == ("image", mime)


@pytest.mark.parametrize(
    ("container", "codec", "mime"),
    [
        ("mp4", "mpeg4", "video/mp4"),
        ("mov", "mpeg4", "video/quicktime"),
        ("3gp", "mpeg4", "video/3gpp"),
        ("matroska", "mpeg4", "video/matroska"),
        ("webm", "libvpx", "video/webm"),
        ("avi", "mpeg4", "video/x-msvideo"),
        ("mpegts", "mpeg2video", "video/mp2t"),
        ("mpeg", "mpeg2video", "video/mpeg"),
        ("flv", "flv", "video/x-flv"),
        ("asf", "wmv2", "video/x-ms-asf"),
    ],
)
def test_videos(container: str, codec: str, mime: str) -> None:
    found = sniff(film(container, codec)[:HEAD_BYTES])
    assert (found.kind, found.mime) == ("video", mime)


@pytest.mark.parametrize(
    ("container", "codec", "mime"),
    [
        ("wav", "pcm_s16le", "audio/wav"),
        ("flac", "flac", "audio/flac"),
        ("mp3", "libmp3lame", "audio/mpeg"),
        ("ogg", "libopus", "audio/ogg"),
        ("adts", "aac", "audio/aac"),
        ("ipod", "aac", "audio/mp4"),
        ("aiff", "pcm_s16be", "audio/aiff"),
        ("ac3", "ac3", "audio/ac3"),
        ("au", "pcm_s16be", "audio/basic"),
        ("caf", "pcm_s16be", "audio/x-caf"),
    ],
)
def test_sounds(container: str, codec: str, mime: str) -> None:
    found = sniff(sound(container, codec)[:HEAD_BYTES])
    assert (found.kind, found.mime) == ("audio", mime)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("bit_rate", [32_000, 64_000])
def test_bare_mp3_frames(rate: int, bit_rate: int) -> None:
    content = sound("mp3", "libmp3lame", rate, bit_rate)
    size = 10 + sum((b & 0x7F) << s for b, s in zip(content[6:10], (21, 14, 7, 0), strict=True))
    bare = content[size:] if content.startswith(b"ID3") else content
    assert sniff(bare).mime == "audio/mpeg"


def box(brand: bytes, *others: bytes) -> bytes:
    content = b"ftyp" + brand + bytes(4) + b"".join(others)
    return (len(content) + 4).to_bytes(4, "big") + content + bytes(64)


@pytest.mark.parametrize(
    ("head", "kind", "mime"),
    [
        (box(b"heic", b"mif1"), "image", "image/heic"),
        (box(b"mif1", b"heic"), "image", "image/heic"),
        (box(b"mif1", b"avif"), "image", "image/avif"),
        (box(b"isom", b"mp42"), "video", "video/mp4"),
        (bytes(4) + b"moov" + bytes(64), "video", "video/quicktime"),
        (b"\xff\x4f\xff\x51" + bytes(64), "image", "image/j2c"),
        (b"#!AMR\n\x3c", "audio", "audio/amr"),
        (b"#!AMR-WB\n\x3c", "audio", "audio/amr-wb"),
        (b"ID3\4\0\0\0\0\0\x05hellofLaC", "audio", "audio/flac"),
        (b"%PDF-1.7\n", "document", "application/pdf"),
        (b"\n\n%PDF-1.7\n", "document", "application/pdf"),
        ((bytes(4) + b"\x47" + bytes(187)) * 4, "video", "video/mp2t"),
    ],
)
def test_heads(head: bytes, kind: str | None, mime: str) -> None:
    found = sniff(head)
    assert (found.kind, found.mime) == (kind, mime)


@pytest.mark.parametrize(
    ("head", "looks"),
    [
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\xef\xbb\xbf  <HTML>", "HTML"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "XML"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b'{"a": 1}', "JSON"),
        (b"hello", "text"),
        ("é".encode() * 40 + b"\xc3", "text"),
        ("grüße".encode("utf-16"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"PK\3\4....", "ZIP"),
        (b"RIFF\0\0\0\0sfbk", "RIFF"),
        (bytes(100), "zero bytes"),
        (b"\x01\x02\x03", "unknown data (01 02 03"),
        (b"\xff\xfb\x92\x64" + b"\x11" * 2000, "unknown data"),
    ],
)
def test_what_is_no_medium_says_what_it_looks_like(head: bytes, looks: str) -> None:
    found = sniff(head)
    assert found.kind is None
    assert looks in found.looks


@given(st.binary(min_size=1, max_size=600))
def test_any_bytes_give_an_answer(head: bytes) -> None:
    assert sniff(head).looks


@given(st.text(min_size=1, max_size=50))
def test_text_is_no_medium(text: str) -> None:
    # Some signatures are text: only those may be taken for a medium.
    found = sniff(text.encode())
    assert found.kind is None or text.startswith(("BM", "GIF8", "#!AMR", "fLaC", "ID3", "\x0bw"))
