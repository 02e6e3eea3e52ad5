"""Recordings for `benchmarks.gpu --speech`: `python -m benchmarks.speak FOLDER`.

Synthetic voices that talk without a pause, so that mediamill asks about each piece that is cut
from them in one request, as everybody who is measured beside it does. The voices need
espeak-ng, which a GPU machine may lack: make the folder where it is, and take it there.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from models.tiny.evaluation.sound import write_sound
from models.tiny.speech import RATE, Samples, Speaker, draw_manner

#: Words that are said, in no order.
_WORDS = [
    *("morning", "water", "table", "window", "street", "under", "seven", "little", "garden"),
    *("people", "letter", "music", "never", "always", "paper", "river", "mountain", "quiet"),
    *("number", "second", "winter", "yellow", "animal", "machine"),
]
#: Words said in one breath.
_BREATH = 12


def talk(speaker: Speaker, seconds: float, seed: int) -> Samples:
    """One voice for so long, int16 at 16 kHz; ends of breaths follow each other within 0.1 s."""
    rng = random.Random(seed)  # noqa: S311 - a benchmark
    manner = draw_manner(rng, flite=False)
    parts: list[Samples] = []
    while sum(map(len, parts)) < seconds * RATE:
        parts.append(speaker.say(" ".join(rng.choices(_WORDS, k=_BREATH)), manner).samples)
    return np.concatenate(parts)[: int(seconds * RATE)]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    speaker = Speaker()
    for number in range(given.count):
        path = given.folder / f"{number:04}.flac"
        write_sound(path, talk(speaker, given.seconds, number), RATE, "flac")


if __name__ == "__main__":
    main()
