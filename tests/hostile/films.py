"""Videos of no frame, of one, and of no length that their file tells."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.hostile.case import OK, Case, expect
from tests.media import evenly, grey, tone, write_video

#: Container, codec and format of pixels of the films that FFmpeg writes here.
CODECS = (
    ("mp4", "libx264", "yuv420p"),
    ("mov", "libx264", "yuv420p"),
    ("mkv", "libx264", "yuv420p"),
    ("mkv", "mpeg4", "yuv420p"),
    ("webm", "libvpx-vp9", "yuv420p"),
    ("webm", "libvpx", "yuv420p"),
    ("avi", "mpeg4", "yuv420p"),
    ("avi", "mjpeg", "yuvj420p"),
    ("ts", "mpeg2video", "yuv420p"),
    ("mpg", "mpeg2video", "yuv420p"),
    ("flv", "flv", "yuv420p"),
    ("mkv", "ffv1", "yuv420p"),
    ("mp4", "mpeg4", "yuv420p"),
    ("mov", "mjpeg", "yuvj420p"),
)


def film(folder: Path, suffix: str, codec: str, pixels: str, count: int, **options: Any) -> bytes:
    """A film's bytes: so many flat frames at 25 a second."""
    path = folder / f"a.{suffix}"
    made = write_video(path, evenly(count, 25), grey, codec, 25, pixels, **options)
    return made.read_bytes()


def _empty(folder: Path, suffix: str, codec: str, pixels: str) -> bytes:
    """A file with a track of video, and nothing on it."""
    path = folder / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        container.start_encoding()
    return path.read_bytes()


def _tables(folder: Path) -> bytes:
    """A transport stream that announces a film: of its packets those of no frame."""
    data = film(folder, "ts", "mpeg2video", "yuv420p", 50)
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    return b"".join(p for p in packets if struct.unpack("!H", p[1:3])[0] & 0x1FFF != 0x100) * 4


def _heard(folder: Path, suffix: str) -> bytes:
    """A film with two seconds of sound, and of its frames none."""
    path = folder / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video" if suffix == "ts" else "mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        heard = container.add_stream("mp2" if suffix == "ts" else "libmp3lame", rate=16_000)
        heard.layout = "mono"
        for start in range(0, 32_000, 1600):
            samples = tone(2.0)[None, start : start + 1600]
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.rate, frame.pts = 16_000, start
            container.mux(heard.encode(frame))
        container.mux(heard.encode(None))
    return path.read_bytes()


def frames() -> list[Case]:
    """No frame, one frame, and a frame that cannot be decoded, in every container."""
    found = []
    for suffix, codec, pixels in CODECS:
        name = f"{codec}.{suffix}"

        def none(folder: Path, form: Sequence[str] = (suffix, codec, pixels)) -> bytes:
            return _empty(folder, *form) or b"\0"

        def one(folder: Path, form: Sequence[str] = (suffix, codec, pixels)) -> bytes:
            suffix, codec, pixels = form
            return film(folder, suffix, codec, pixels, 1)

        # What of a header alone tells its kind is no medium that can be decoded. Of MPEG's
        # streams nothing is written before a frame comes.
        if suffix not in ("ts", "mpg"):
            found.append(Case("no_frame", name, expect("corrupt", "wrong_kind"), none))
        found.append(Case("one_frame", name, expect(OK), one))
    found.append(Case("no_frame", "tables.ts", expect("corrupt", "wrong_kind"), _tables))
    for suffix in ("mkv", "avi", "ts"):

        def mute(folder: Path, suffix: str = suffix) -> bytes:
            return _heard(folder, suffix)

        # A track of pictures without any, and two seconds of sound beside it.
        found.append(Case("no_frame", f"heard.{suffix}", expect(OK, "corrupt"), mute))

    def heard(folder: Path) -> bytes:
        return film(folder, "mp4", "libx264", "yuv420p", 1, sound=tone(2.0))

    # A picture and two seconds of sound: an album's cover, and sound.
    found.append(Case("one_frame", "heard.mp4", expect(OK), heard))
    return found


def _piped(folder: Path, suffix: str, codec: str, pixels: str, **options: str) -> bytes:
    """As written to a pipe: nobody came back to write the length into the header."""

    class Pipe:
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def write(self, data: bytes) -> int:
            self.parts.append(bytes(data))
            return len(data)

    sink = Pipe()
    form = {"mkv": "matroska", "ts": "mpegts", "mpg": "mpeg"}.get(suffix, suffix)
    with av.open(sink, "w", format=form, container_options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(grey(number), "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return b"".join(sink.parts)


_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def no_lengths() -> list[Case]:
    """Containers that do not say how long they are, and some that lie about it."""
    found = []
    for suffix, codec, pixels, options in (
        ("mkv", "libx264", "yuv420p", {}),
        ("mkv", "mpeg4", "yuv420p", {}),
        ("webm", "libvpx", "yuv420p", {}),
        ("webm", "libvpx-vp9", "yuv420p", {}),
        ("mkv", "mjpeg", "yuvj420p", {"live": "1"}),
        ("ts", "mpeg2video", "yuv420p", {}),
        ("ts", "libx264", "yuv420p", {}),
        ("mp4", "libx264", "yuv420p", _FRAGMENTS),
        ("mov", "mpeg4", "yuv420p", _FRAGMENTS),
        ("flv", "flv", "yuv420p", {}),
        ("mkv", "ffv1", "yuv420p", {}),
        ("mkv", "mpeg2video", "yuv420p", {}),
        ("mkv", "libvpx", "yuv420p", {}),
        ("mkv", "libvpx-vp9", "yuv420p", {"live": "1"}),
        ("mkv", "mjpeg", "yuvj420p", {}),
        ("mkv", "mpeg1video", "yuv420p", {}),
    ):

        def make(
            folder: Path, form: Sequence[str] = (suffix, codec, pixels),
            options: dict[str, str] = options,
        ) -> bytes:  # fmt: skip
            return _piped(folder, form[0], form[1], form[2], **options)

        live = "-live" if "live" in options else ""
        found.append(Case("no_length", f"{codec}-piped{live}.{suffix}", expect(OK), make))
    for name, suffix, codec in (("bare.h264", "h264", "libx264"), ("bare.m2v", "m2v", "mpeg2video"),
                                ("bare.mjpeg", "mjpeg", "mjpeg")):  # fmt: skip

        def bare(folder: Path, suffix: str = suffix, codec: str = codec) -> bytes:
            pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            return film(folder, suffix, codec, pixels, 25)

        # A stream of JPEGs is a JPEG to whom looks at its start; bare H.264 is nothing known.
        said = {"h264": expect("wrong_kind"), "m2v": expect(OK), "mjpeg": expect(OK)}[suffix]
        found.append(Case("no_length", name, said, bare))
    return found


def _with_length(data: bytes, box: bytes, at: int, value: int) -> bytes:
    """The file with another number in the header `box` of an MP4."""
    changed = bytearray(data)
    start = changed.index(box) + 4 + at
    changed[start : start + 4] = struct.pack("!I", value)
    return bytes(changed)


def lies() -> list[Case]:
    """Films whose header lies about lengths, sizes and times."""
    lied = {
        "long.mp4": (b"mvhd", 16, 1_000_000_000),
        "longer-track.mp4": (b"mdhd", 16, 2_000_000_000),
        "no-scale.mp4": (b"mdhd", 12, 0),
        "most-scale.mp4": (b"mdhd", 12, 2**32 - 1),
        "no-movie-scale.mp4": (b"mvhd", 12, 0),
        "entries.mp4": (b"stsz", 8, 2**32 - 1),
        "chunks.mp4": (b"stco", 4, 2**31),
        "times.mp4": (b"stts", 4, 2**32 - 1),
        "step.mp4": (b"stts", 12, 2**32 - 1),
        "still.mp4": (b"stts", 12, 0),
        "moov.mp4": (b"moov", -8, 2**31 - 1),
        "samples.mp4": (b"stsz", 4, 2**31 - 1),
    }
    said = {
        # A lie that does not matter, and one after which nothing can be read.
        "long.mp4": expect(OK),
        "no-movie-scale.mp4": expect(OK),
    }
    found = []
    for name, change in lied.items():

        def make(folder: Path, change: tuple[bytes, int, int] = change) -> bytes:
            whole = film(folder, "mp4", "libx264", "yuv420p", 50)
            return _with_length(whole, *change)

        outcome = said.get(name, expect(OK, "corrupt", "too_large"))
        found.append(Case("lies", name, outcome, make))
    return found


def large() -> list[Case]:
    """Frames over the limit of pixels, and as thin as a codec takes them."""

    def wide(folder: Path) -> bytes:
        return _picture(folder, np.zeros((16, 16_384, 3), np.uint8))

    def tall(folder: Path) -> bytes:
        return _picture(folder, np.zeros((16_384, 16, 3), np.uint8))

    return [Case("lies", "wide.mkv", expect(OK), wide), Case("lies", "tall.mkv", expect(OK), tall)]


def _picture(folder: Path, frame: Any) -> bytes:
    path = folder / "a.mkv"
    return write_video(path, [0.0, 0.04], lambda _: frame, "ffv1").read_bytes()


def cases() -> list[Case]:
    """All of this room."""
    return [*frames(), *no_lengths(), *lies(), *large()]
