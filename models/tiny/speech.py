"""Sentences to sound: espeak-ng in many voices, flite's few, driven through ctypes.

One `Speaker` per process: both libraries keep their state in globals.
"""

from __future__ import annotations

import ctypes
import random
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
RATE = 16_000
ACCENTS = ("en-us", "en-us", "en-us", "en", "en", "en-gb-scotland", "en-gb-x-rp",
           "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")  # fmt: skip
#: Voices that are never trained on.
HELD_OUT = ("f4", "m5", "m8", "Annie", "Michael", "Alicia", "paul", "steph2", "iven3", "klatt4")
VOICES = (
    "", "", "f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m6", "m7", "Alex", "Andrea", "Andy",
    "Denis", "Diogo", "Gene", "Hugo", "Jacky", "Lee", "Marco", "Mario", "Mike", "Nguyen", "Reed",
    "Storm", "Tweaky", "adam", "anika", "announcer", "antonio", "aunty", "belinda", "benjamin",
    "boris", "caleb", "croak", "david", "ed", "edward", "grandma", "grandpa", "gustave",
    "iven", "john", "klatt", "klatt2", "klatt3", "klatt5", "linda", "marcelo", "max", "michel",
    "miguel", "norbert", "pablo", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph",
    "travis", "victor", "zac",
)  # fmt: skip
FLITE = ("slt", "rms", "awb", "kal16")
#: Samples come through the callback before a call returns: no thread of espeak's own, which
#: crashed now and then and would not outlive a fork.
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
#: Below espeak-ng's 100, at which its louder voices clip.
_LOUDNESS = 60
#: Events of phonemes come with the samples.
_WITH_PHONEMES = 1
_PHONEME = 7
#: Classes that phonemes fall in by their names; two rare ones may share one.
PHONES = 96


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h; `name` is the member of its union that phonemes have."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, slots=True)
class Said:
    """Sound at 16 kHz, and where its phonemes begin: (sample, class), in order.

    flite does not tell its phonemes: there are none.
    """

    samples: Samples
    phones: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Manner:
    """How something is said: `voice` as espeak names it (`en-us+f3`) or `flite:slt`."""

    voice: str
    words_per_minute: int
    pitch: int
    range: int


def draw_manner(rng: random.Random, *, held_out: bool = False, flite: bool = True) -> Manner:
    """A manner of speaking English, in voices of training or in those kept out of it."""
    pitch, wide = rng.randint(25, 75), rng.randint(25, 80)
    pace = round(rng.triangular(110, 220, 155))
    if held_out:
        voice = rng.choice(("en-us", "en")) + "+" + rng.choice(HELD_OUT)
        return Manner(voice, rng.randint(130, 180), rng.randint(40, 60), wide)
    if flite and rng.random() < 0.4:
        return Manner(f"flite:{rng.choice(FLITE)}", pace, pitch, wide)
    variant = rng.choice(VOICES)
    accent = rng.choice(ACCENTS)
    return Manner(f"{accent}+{variant}" if variant else accent, pace, pitch, wide)


class Speaker:
    """Says texts. `folder` is what `models.tiny.gather` made, or None for the installed wheel."""

    def __init__(self, folder: Path | None = None) -> None:
        root = _installed() if folder is None else folder / "espeakng_loader"
        self._chunks: list[Samples] = []
        self._phones: list[tuple[int, int]] = []
        self._callback = _CALLBACK(self._take)
        self._espeak = ctypes.CDLL(str(root / "libespeak-ng.so"))
        self.rate = self._espeak.espeak_Initialize(
            _SYNCHRONOUS, 0, str(root).encode(), _WITH_PHONEMES
        )
        if self.rate <= 0:
            raise OSError(f"espeak-ng finds no data in {root}; run `python -m models.tiny.gather`")
        self._espeak.espeak_SetSynthCallback(self._callback)
        self._flite = _Flite(folder / "flite") if folder is not None else None
        self._voice = ""

    @property
    def has_flite(self) -> bool:
        """Whether flite's voices can be used."""
        return self._flite is not None

    def say(self, text: str, manner: Manner) -> Said:
        """What is heard, silence at the ends taken away."""
        kind, _, name = manner.voice.partition(":")
        if kind == "flite":
            if self._flite is None:
                raise ValueError(f"{manner.voice}: flite's voices were not gathered")
            heard = resample(*self._flite.say(text, name, manner))
            first, end = loud(heard)
            return Said(heard[first:end], [])
        heard = resample(self._say(text, manner), self.rate)
        first, end = loud(heard)
        scale = RATE / self.rate
        phones = [(round(at * scale) - first, phone) for at, phone in self._phones]
        return Said(heard[first:end], phones)

    def _say(self, text: str, manner: Manner) -> Samples:
        espeak = self._espeak
        if manner.voice != self._voice and espeak.espeak_SetVoiceByName(manner.voice.encode()):
            raise ValueError(f"espeak-ng has no voice {manner.voice!r}")
        self._voice = manner.voice
        for parameter, value in (
            (_RATE, manner.words_per_minute),
            (_VOLUME, _LOUDNESS),
            (_PITCH, manner.pitch),
            (_RANGE, manner.range),
        ):
            espeak.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        self._phones.clear()
        data = text.encode()
        espeak.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
        return np.concatenate([np.zeros(1, np.int16), *self._chunks])

    def _take(
        self,
        samples: ctypes._Pointer[ctypes.c_short],
        count: int,
        events: ctypes._Pointer[_Event],
    ) -> int:
        if samples and count:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.int16))
        number = 0
        while events and events[number].type:
            if events[number].type == _PHONEME:
                self._phones.append((events[number].sample, phone(events[number].name)))
            number += 1
        return 0


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _VoiceHead(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class _Flite:
    def __init__(self, folder: Path) -> None:
        # Each library needs those before it, found by their symbols and not by a path.
        for name in ("libasound.so.2", "libflite.so.1", "libflite_usenglish.so.1",
                     "libflite_cmulex.so.1"):  # fmt: skip
            ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)
        self._core = ctypes.CDLL(str(folder / "libflite.so.1"), ctypes.RTLD_GLOBAL)
        self._core.flite_init()
        self._core.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
        self._core.flite_text_to_wave.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
        self._core.delete_wave.argtypes = (ctypes.POINTER(_Wave),)
        self._core.flite_feat_set_float.argtypes = (
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float,
        )  # fmt: skip
        self._voices = {}
        for name in FLITE:
            library = ctypes.CDLL(str(folder / f"libflite_cmu_us_{name}.so.1"), ctypes.RTLD_GLOBAL)
            register = getattr(library, f"register_cmu_us_{name}")
            register.restype = ctypes.c_void_p
            self._voices[name] = register(None)

    def say(self, text: str, name: str, manner: Manner) -> tuple[Samples, int]:
        voice = self._voices[name]
        features = ctypes.cast(voice, ctypes.POINTER(_VoiceHead)).contents.features
        self._core.flite_feat_set_float(
            features, b"duration_stretch", 165 / manner.words_per_minute
        )
        wave = self._core.flite_text_to_wave(text.encode(), voice)
        heard = wave.contents
        samples = np.ctypeslib.as_array(heard.samples, (heard.num_samples,)).astype(np.int16)
        rate = heard.sample_rate
        self._core.delete_wave(wave)
        return samples, rate


def resample(samples: npt.NDArray[np.number], rate: int, to: int = RATE) -> Samples:
    """The same sound at another rate, through its spectrum."""
    if rate == to or len(samples) < 2:
        return samples.astype(np.int16)
    # A length of small factors keeps the transform quick.
    padded = -(-len(samples) // 441) * 441 if rate % 441 == 0 else len(samples)
    spectrum = np.fft.rfft(samples.astype(np.float64), padded)
    length = round(padded * to / rate)
    out = np.fft.irfft(spectrum[: length // 2 + 1], length) * (length / padded)
    out = out[: round(len(samples) * to / rate)]
    return np.clip(np.round(out), -32768, 32767).astype(np.int16)


def phone(name: bytes) -> int:
    """The class of a phoneme as espeak names it, however it is stressed; 0 is silence."""
    plain = name.strip(b"',%=|")
    return 0 if plain[:1] in (b"", b"_") else 1 + zlib.crc32(plain) % (PHONES - 1)


def loud(samples: Samples, quiet: int = 150, keep: int = 800) -> tuple[int, int]:
    """Where the sound begins and ends but for silence of up to `keep` samples; 0, 0 if nowhere."""
    heard = np.flatnonzero(np.abs(samples.astype(np.int32)) > quiet)
    if len(heard) == 0:
        return 0, 0
    return max(0, int(heard[0]) - keep), int(heard[-1]) + keep


def _installed() -> Path:
    import espeakng_loader

    return Path(espeakng_loader.get_data_path()).parent
