"""Seeded media to measure with: photographs of mixed sizes, speech of mixed lengths, films.

Every file is another one, so that no cache of an engine meets it twice.
"""

from __future__ import annotations

import json
import random
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.engine import RATE, sound

#: Pixels of the photographs, in turn.
SIZES = ((1024, 768), (768, 1024), (1280, 720), (1920, 1080), (640, 480))
#: Tokens of the answers: drawn evenly between these.
SHORTEST, LONGEST = 32, 400


def lengths(count: int, seed: int = 7) -> list[int]:
    """How many tokens each answer takes, the same for everybody who is measured."""
    rng = random.Random(seed)  # noqa: S311 - a benchmark
    return [rng.randint(SHORTEST, LONGEST) for _ in range(count)]


def manifest(kind: str, folder: Path, count: int, speech: Path | None = None) -> Path:
    """Write `count` files of a kind ("image", "speech", "film") and their manifest.

    Rows have `max_tokens` beside `id` and `uri`. `speech` is a folder of recordings to cut from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = sorted(speech.iterdir()) if speech is not None else []
    with ProcessPoolExecutor() as pool:
        if kind == "image":
            names = list(pool.map(photograph, [folder] * count, range(count)))
        elif kind == "speech":
            names = list(pool.map(recording, [folder] * count, range(count), [base] * count))
        else:
            names = list(pool.map(film, [folder] * count, range(count)))
    rows = [
        {"id": f"{number:06}", "uri": name, "max_tokens": tokens}
        for number, (name, tokens) in enumerate(zip(names, lengths(count), strict=True))
    ]
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def photograph(folder: Path, number: int) -> str:
    """A JPEG with the texture of a camera's."""
    rng = np.random.default_rng([5, number])
    image = texture(rng, *SIZES[number % len(SIZES)])
    image.save(folder / f"{number:06}.jpg", quality=90)
    return f"{number:06}.jpg"


def texture(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A picture that is as smooth as a camera's, and shows nothing."""
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def recording(folder: Path, number: int, base: list[Path]) -> str:
    """A piece of a recording, 5 to 30 s long, as FLAC or MP3."""
    import av

    rng = np.random.default_rng([6, number])
    samples = sound(base[number % len(base)])
    length = min(len(samples), int(rng.uniform(5, 30) * RATE))
    start = int(rng.integers(0, len(samples) - length + 1))
    piece = samples[start : start + length] * rng.uniform(0.5, 1.0)
    kind = ("flac", "mp3")[number % 2]
    name = f"{number:06}.{kind}"
    with av.open(str(folder / name), "w") as out:
        stream = out.add_stream(kind, rate=RATE)
        stream.layout = "mono"
        whole = (np.clip(piece, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.rate = RATE
        frame.time_base = Fraction(1, RATE)
        resampler = av.AudioResampler(stream.format, stream.layout, RATE, stream.frame_size or 4096)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return name


def film(folder: Path, number: int) -> str:
    """Eight to twenty seconds of a moving texture, without sound."""
    import av

    rng = np.random.default_rng([7, number])
    seconds = int(rng.integers(8, 21))
    wide = np.asarray(texture(rng, 1280, 576))
    name = f"{number:06}.mp4"
    with av.open(str(folder / name), "w") as out:
        stream = out.add_stream("h264", rate=8, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 352, "yuv420p"
        for step in range(seconds * 8):
            view = np.ascontiguousarray(wide[step : step + 352, 2 * step : 2 * step + 640])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        out.mux(stream.encode(None))
    return name
