"""Where there is speech: Silero's VAD 6.2 on ONNX Runtime, a block at a time.

The network is the file of Silero's own package that takes many chunks in one call. Only
the file is used: the package itself imports torch, which a decoder has no room for.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobs.pieces import SAMPLE_RATE

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

#: Samples of one decision: 32 ms.
CHUNK = 512
#: Samples before each chunk that the network also looks at.
_CONTEXT = 64
#: Chunks worked out at once: 16 s, which bounds the memory to some megabytes.
_BATCH = 16 * SAMPLE_RATE // CHUNK
_FILE = Path("data", "silero_vad_16k_sequence.onnx")

Floats = npt.NDArray[np.float32]


class VoiceActivity:
    """Speech probabilities of one sound, fed from its start in blocks of any length."""

    def __init__(self) -> None:
        self._network = _network()
        self._rest = np.zeros(_CONTEXT, np.float32)  # context, then samples short of a chunk
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)

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
        windows = np.lib.stride_tricks.sliding_window_view(sound, _CONTEXT + CHUNK)[::CHUNK]
        heard, self._hidden, self._cell = self._network.run(
            ("speech_probs", "hn", "cn"), {"input": windows, "h": self._hidden, "c": self._cell}
        )
        return np.asarray(heard, np.float32)


@cache
def _network() -> InferenceSession:
    # Here and not above: most decoders only ever see images.
    import onnxruntime

    package = find_spec("silero_vad")
    assert package is not None
    assert package.origin is not None
    options = onnxruntime.SessionOptions()
    # Many decoders work side by side.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        Path(package.origin).parent / _FILE, options, ["CPUExecutionProvider"]
    )
