"""Spoken sentences by espeak-ng, whose library and voices come in the package espeakng-loader."""

from __future__ import annotations

import ctypes
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from examples.packages import package_folder

Wave = npt.NDArray[np.int16]

_RETRIEVAL = 1  # samples come to a callback and are not played
_UTF8 = 1
_RATE_PARAMETER = 1

_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def speak(sentences: list[tuple[str, str, int]]) -> list[tuple[Wave, int]]:
    """Samples and their rate for each (text, voice, words a minute).

    In a process of its own: the library keeps global state and a C callback.
    """
    folder = package_folder("espeakng-loader") / "espeakng_loader"
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        return pool.submit(_speak, str(folder), sentences).result()


def _speak(folder: str, sentences: list[tuple[str, str, int]]) -> list[tuple[Wave, int]]:
    library = ctypes.CDLL(str(next(Path(folder).glob("libespeak-ng.*"))))
    rate = library.espeak_Initialize(_RETRIEVAL, 0, folder.encode(), 0)
    if rate <= 0:
        raise SystemExit(f"demo: espeak-ng does not start (error {rate}); its voices: {folder}")
    heard: list[Wave] = []

    def collect(samples: ctypes._Pointer[ctypes.c_short] | None, count: int, _: int | None) -> int:
        if samples and count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    # Kept in a variable for as long as the library may call it.
    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    waves = []
    for text, voice, words_a_minute in sentences:
        heard.clear()
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SystemExit(f"demo: espeak-ng has no voice {voice!r}")
        library.espeak_SetParameter(_RATE_PARAMETER, words_a_minute, 0)
        spoken = text.encode()
        library.espeak_Synth(spoken, len(spoken) + 1, 0, 1, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        waves.append((np.concatenate(heard), rate))
    return waves


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
