"""Held-out speech: voices that training never hears, a human one's odd recordings, long sound."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.tiny import questions
from models.tiny.evaluation.items import Item
from models.tiny.evaluation.media import Samples, write_flac, write_wav
from models.tiny.evaluation.sources import TELEPHONE_RATE, Sources
from models.tiny.sentences import passage
from models.tiny.speech import HELD_OUT, RATE, Manner, Speaker, draw_manner, resample
from models.tiny.voices import FOREIGN, LANGUAGES, LONGEST_S

#: Seconds that a long recording has at least.
LONG_S = 120


def speech(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """A clean utterance at one of several volumes and rates of sampling."""
    said, sound = _utter(rng, sources, draw_manner(rng, held_out=True))
    rate = rng.choice((RATE, RATE, 22_050, 48_000))
    return _item(_loud(rng, resample(sound, RATE, rate)), rate, stem, rng, said)


def noisy(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """An utterance in noise, 10 to 25 dB under it; every second one from a telephone."""
    said, sound = _utter(rng, sources, draw_manner(rng, held_out=True))
    rate = rng.choice((RATE, TELEPHONE_RATE))
    sound = resample(sound, RATE, rate)
    level = np.sqrt(np.mean(np.square(sound, dtype=np.float64)))
    white = np.random.default_rng(rng.getrandbits(32)).normal(0, level, len(sound))
    mixed = sound + white * 10 ** (-rng.uniform(10, 25) / 20)
    return _item(_loud(rng, _clipped(mixed)), rate, stem, rng, said)


def telephone(
    rng: random.Random, sources: Sources, stem: Path, *, header: int = TELEPHONE_RATE
) -> Item:
    """An utterance at 8 kHz as WAV whose header says `header` samples a second."""
    said, sound = _utter(rng, sources, draw_manner(rng, held_out=True))
    samples = _loud(rng, resample(sound, RATE, TELEPHONE_RATE))
    return Item(write_wav(samples, header, stem), {"text": said}, {"language": "English"})


def asterisk(sources: Sources, folder: Path, count: int) -> list[Item]:
    """The first `count` of the odd recordings in a fixed, mixed order, as they came."""
    order = list(sources.recordings)
    random.Random("asterisk").shuffle(order)  # noqa: S311
    return [
        Item(
            write_wav(recording.samples, TELEPHONE_RATE, folder / f"{number:04}"),
            {"text": recording.text, "name": recording.name, "known": recording.known},
        )
        for number, recording in enumerate(order[:count])
    ]


def long(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """Two minutes of one voice with pauses; the reference has each utterance's start and end."""
    manner = draw_manner(rng, held_out=True)
    parts: list[Samples] = []
    said: list[dict[str, object]] = []
    place = 0
    while place < LONG_S * RATE:
        pause = round(rng.choice((0.3, 0.5, 0.8, 1.2, 2.5)) * RATE)
        text, sound = _utter(rng, sources, manner)
        parts += [np.zeros(pause, np.int16), sound]
        start = place + pause
        place = start + len(sound)
        said.append({"start_s": start / RATE, "end_s": place / RATE, "text": text})
    path = write_flac(np.concatenate([*parts, np.zeros(RATE // 2, np.int16)]), RATE, stem)
    return Item(path, said, {"language": "English"})


def recording(rng: random.Random, speaker: Speaker, least_s: float) -> tuple[str, Samples]:
    """Words and their sound, of so many seconds at least, in a held-out voice; half a second of
    silence around each passage."""
    manner = draw_manner(rng, held_out=True)
    pause = np.zeros(RATE // 2, np.int16)
    said: list[str] = []
    parts: list[Samples] = [pause]
    while not said or sum(map(len, parts)) < least_s * RATE:
        said.append(passage(rng))
        parts += [speaker.say(said[-1], manner).samples, pause]
    return " ".join(said), np.concatenate(parts)


def language(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """A few words of one of four languages, in a held-out voice."""
    spoken = rng.choice(("English", *LANGUAGES))
    manner = draw_manner(rng, held_out=True)
    if spoken != "English":
        voice = f"{LANGUAGES[spoken]}+{rng.choice(HELD_OUT)}"
        manner = Manner(voice, manner.words_per_minute, manner.pitch, manner.range)
    while True:
        said = (
            passage(rng)
            if spoken == "English"
            else " ".join(rng.choices(FOREIGN[spoken], k=rng.randint(4, 9)))
        )
        sound = sources.speaker.say(said, manner).samples
        if RATE < len(sound) <= LONGEST_S * RATE:
            break
    prompt = rng.choice(questions.REWORDED["language"])
    return Item(write_wav(sound, RATE, stem), spoken, {"prompt": prompt})


def _utter(rng: random.Random, sources: Sources, manner: Manner) -> tuple[str, Samples]:
    while True:
        said = passage(rng)
        sound = sources.speaker.say(said, manner).samples
        if 0 < len(sound) <= LONGEST_S * RATE - 1600:
            return said, sound


def _loud(rng: random.Random, sound: Samples) -> Samples:
    """At a volume between a whisper's and the loudest that does not clip."""
    peak = max(1, int(np.abs(sound.astype(np.int32)).max()))
    return _clipped(sound * (32_000 / peak * 10 ** (-rng.uniform(0, 20) / 20)))


def _clipped(sound: npt.NDArray[np.floating]) -> Samples:
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16)


def _item(sound: Samples, rate: int, stem: Path, rng: random.Random, said: str) -> Item:
    write = rng.choice((write_wav, write_flac))
    # Every second one names its language, as a user who knows it does.
    named = {"language": rng.choice(("English", None))}
    return Item(write(sound, rate, stem), {"text": said}, named)
