"""Sound files, and sound in films."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.int16]


def write_sound(path: Path, wave: Wave, rate: int, codec: str) -> None:
    """Write mono samples as a sound file; the container follows from the name."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000 if codec == "libopus" else rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        add_sound(container, stream, wave, rate)


def add_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, wave: Wave, rate: int
) -> None:
    """Encode mono samples into a stream of an open container, resampled to its rate."""
    frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(
        stream.codec_context.format, "mono", stream.rate, stream.codec_context.frame_size or None
    )
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
