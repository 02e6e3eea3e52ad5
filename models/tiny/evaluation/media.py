"""Media files as users have them: PNG and JPEG, WAV and FLAC, MP4 with and without sound."""

from __future__ import annotations

import random
import wave
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from models.tiny.evaluation.sound import add_sound

#: Frames a second of a film's file; each frame of the film stands for a second.
FILM_RATE = 4
Samples = npt.NDArray[np.int16]


def write_picture(image: Image.Image, stem: Path, rng: random.Random) -> Path:
    """The picture as PNG or, for one in three, as a good JPEG; returns the file."""
    if rng.random() < 1 / 3:
        path = stem.with_suffix(".jpg")
        image.save(path, "JPEG", quality=92)
    else:
        path = stem.with_suffix(".png")
        image.save(path)
    return path


def write_wav(samples: Samples, rate: int, stem: Path) -> Path:
    """Mono 16-bit samples as WAV; returns the file."""
    path = stem.with_suffix(".wav")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def write_flac(samples: Samples, rate: int, stem: Path) -> Path:
    """Mono 16-bit samples as FLAC; returns the file."""
    path = stem.with_suffix(".flac")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        add_sound(container, stream, samples, rate)
    return path


def write_film(
    frames: npt.NDArray[np.uint8], stem: Path, sound: Samples | None = None, rate: int = 16_000
) -> Path:
    """Frames [n, height, width, 3], one a second, as MP4 with `sound` over them if there is any."""
    path = stem.with_suffix(".mp4")
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FILM_RATE, options={"crf": "16"})
        assert isinstance(video, av.VideoStream)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        track = None
        if sound is not None:
            track = container.add_stream("aac", rate=rate)
            assert isinstance(track, av.AudioStream)
            track.layout = "mono"
        for frame in frames:
            for _ in range(FILM_RATE):
                container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
        if track is not None and sound is not None:
            add_sound(container, track, sound, rate)
    return path
