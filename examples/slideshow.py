"""A video of still pictures with a voice over them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from examples.speech import Wave, add_sound

WIDTH, HEIGHT, FPS = 640, 480, 10
#: Seconds of silence after each sentence.
PAUSE_S = 0.6


def write_slideshow(path: Path, slides: list[tuple[Path, Wave]], rate: int) -> None:
    """Show each picture for as long as its sentence takes; `rate` is of the samples."""
    pause = np.zeros(int(PAUSE_S * rate), np.int16)
    spoken = [np.concatenate([wave, pause]) for _, wave in slides]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=rate)
        assert isinstance(sound, av.AudioStream)
        sound.layout = "mono"
        number, end_s = 0, 0.0
        for (picture, _), wave in zip(slides, spoken, strict=True):
            end_s += len(wave) / rate
            still = av.VideoFrame.from_image(_fitted(picture))
            while number < end_s * FPS:
                still.pts, still.time_base = number, Fraction(1, FPS)
                container.mux(video.encode(still))
                number += 1
        container.mux(video.encode(None))
        add_sound(container, sound, np.concatenate(spoken), rate)


def _fitted(picture: Path) -> Image.Image:
    """The picture, whole, in the middle of a black frame."""
    frame = Image.new("RGB", (WIDTH, HEIGHT))
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    image.thumbnail((WIDTH, HEIGHT))
    frame.paste(image, ((WIDTH - image.width) // 2, (HEIGHT - image.height) // 2))
    return frame
