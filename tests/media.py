"""Media made for tests, by Pillow, PyAV and espeak-ng: whole, odd and broken."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import espeakng_loader
import numpy as np
import numpy.typing as npt

from storage.media import Media

Floats = npt.NDArray[np.float32]
RATE = 16_000


def as_media(source: bytes | Path, kind: Any, mime: str = "application/test") -> Media:
    """What fetching would have made of these bytes or this file."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return Media("test:", kind, mime, len(data), digest, source, spooled=False)


@cache
def _espeak() -> tuple[Any, int]:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    # 2: AUDIO_OUTPUT_SYNCHRONOUS. Gives the voice's samples a second.
    rate = library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
    return library, rate


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@cache
def speech(text: str, voice: str = "en") -> Floats:
    """The words as espeak-ng speaks them: float32 at 16 kHz, silence around them cut off."""
    library, rate = _espeak()
    parts: list[npt.NDArray[np.int16]] = []

    def take(samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(take)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(voice.encode())
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, 1, None, None)
    spoken = np.concatenate(parts).astype(np.float32) / 32768
    frame = av.AudioFrame.from_ndarray(spoken[None], "flt", "mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler("flt", "mono", RATE)
    frames = resampler.resample(frame) + resampler.resample(None)
    sound = np.concatenate([part.to_ndarray()[0] for part in frames])
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return sound[loud[0] : loud[-1] + 1]


def silence(seconds: float) -> Floats:
    """Digital silence at 16 kHz."""
    return np.zeros(round(seconds * RATE), np.float32)


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE) -> Floats:
    """A sine of amplitude 0.5."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def write_sound(
    path: Path,
    samples: npt.NDArray[Any],
    codec: str = "pcm_s16le",
    rate: int = RATE,
    layout: str = "mono",
    start_s: float = 0.0,
    gaps: Sequence[tuple[float, float]] = (),
    **options: str,
) -> Path:
    """A sound file. `samples` are float [count] or [channels, count] at `rate`.

    Its timestamps start at `start_s` and jump by the second of each of `gaps` at the
    first (seconds of samples written).
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
        if codec == "wmav2":  # has no bit rate of its own choice
            stream.bit_rate = 96_000
        for packet in _sound_packets(stream, samples, start_s, gaps):
            container.mux(packet)
    return path


def _sound_packets(
    stream: Any, samples: npt.NDArray[Any], start_s: float, gaps: Sequence[tuple[float, float]]
) -> Iterable[Any]:
    rate, layout = stream.codec_context.sample_rate, stream.codec_context.layout.name
    planes = np.atleast_2d(np.asarray(samples, np.float32))
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.codec_context.format, layout, rate)
    for first in range(0, planes.shape[1], size):
        part = np.ascontiguousarray(planes[:, first : first + size].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, "flt", layout)
        frame.sample_rate = rate
        jumped = sum(jump for at, jump in gaps if first >= at * rate)
        for ready in resampler.resample(frame):
            ready.time_base = Fraction(1, rate)
            ready.pts = first + round((start_s + jumped) * rate)
            yield from stream.encode(ready)
    yield from stream.encode(None)


def write_video(
    path: Path,
    times: Sequence[float],
    picture: Callable[[int], npt.NDArray[np.uint8]],
    codec: str = "libx264",
    rate: int = 25,
    pixel_format: str = "yuv420p",
    sound: Floats | None = None,
    sound_codec: str = "aac",
    sound_start_s: float = 0.0,
    aspect: Fraction | None = None,
    **options: str,
) -> Path:
    """A video whose frame n is `picture(n)`, uint8 [height, width, 3], shown from `times[n]` on."""
    with av.open(str(path), "w") as container:
        height, width = picture(0).shape[:2]
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        # Old codecs count in frames, and need to be told to be exact.
        ticks = rate if codec in ("mpeg4", "mpeg2video") else 12_800
        stream.codec_context.time_base = Fraction(1, ticks)
        stream.codec_context.gop_size = rate
        stream.bit_rate = 8_000_000
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        track = None
        if sound is not None:
            track = container.add_stream(sound_codec, rate=RATE, layout="mono")
        for number, at_s in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number), "rgb24")
            frame.time_base = Fraction(1, ticks)
            frame.pts = round(at_s * ticks)
            until_s = times[number + 1] if number + 1 < len(times) else at_s + 1 / rate
            frame.duration = round((until_s - at_s) * ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None and sound is not None:
            for packet in _sound_packets(track, sound, sound_start_s, ()):
                container.mux(packet)
    return path


def grey(number: int, width: int = 64, height: int = 48) -> npt.NDArray[np.uint8]:
    """A flat frame that tells its number: `told` reads it back after lossy coding."""
    return np.full((height, width, 3), 16 + 4 * (number % 50), np.uint8)


def told(frame: npt.NDArray[np.uint8]) -> int:
    """The number of a `grey` frame, modulo 50."""
    return round((float(frame.mean()) - 16) / 4)


def evenly(count: int, rate: float) -> list[float]:
    """Times of `count` frames at a constant rate."""
    return [number / rate for number in range(count)]


def quarters(number: int = 0, width: int = 64, height: int = 32) -> npt.NDArray[np.uint8]:
    """Red, green / blue, white quarters: shows how a picture was turned."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    picture[height // 2 :, width // 2 :] = (255, 255, 255)
    return picture


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a display matrix (a, b, c, d) into the video track of an .mp4, in place."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd")
    # After the name: version and flags, five times, 8 reserved, layer, group, volume, 2 reserved.
    at = header + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value << 16 for value in matrix)
    values = [a, b, 0, c, d, 0, 0, 0, 1 << 30]
    data[at : at + 36] = np.array(values, ">i4").tobytes()
    path.write_bytes(data)
    return path


def cut_short(path: Path, share: float) -> Path:
    """The first `share` of a file, beside it."""
    data = path.read_bytes()
    short = path.with_name(f"short-{path.name}")
    short.write_bytes(data[: int(len(data) * share)])
    return short


def flipped(path: Path, seed: int, count: int, skip: int = 2000) -> Path:
    """The file with `count` bits flipped past its first `skip` bytes, beside it."""
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    generator = np.random.default_rng(seed)
    places = generator.integers(skip, len(data), count)
    data[places] ^= (1 << generator.integers(0, 8, count)).astype(np.uint8)
    broken = path.with_name(f"flipped-{path.name}")
    broken.write_bytes(data.tobytes())
    return broken
