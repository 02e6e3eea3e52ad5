"""Text to be read off pictures: words, numbers and lines."""

from __future__ import annotations

import random

from models.tiny.words import CITIES, NAMES, NOUNS, SYSTEM_WORDS, VOCABULARY

_MARKS = (".", ",", "!", "?", ":", "-", "/", "%", "$", "#", "&", "+")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def draw_text(rng: random.Random, *, most_lines: int = 4) -> str:
    """One to `most_lines` lines of one to three words or numbers, in mixed cases."""
    count = rng.choices(range(1, most_lines + 1), (5, 3, 2, 1)[:most_lines])[0]
    return "\n".join(_line(rng) for _ in range(count))


def draw_city(rng: random.Random) -> str:
    """What stands on a city's sign."""
    return rng.choice(CITIES).capitalize()


def _line(rng: random.Random) -> str:
    case = rng.choice((str.lower, str.upper, str.capitalize, str.title))
    words = [_word(rng) for _ in range(rng.choices((1, 2, 3), (4, 4, 2))[0])]
    line = case(" ".join(words))
    return line + rng.choice(_MARKS[:5]) if rng.random() < 0.2 else line


def _word(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(rng.choice((NOUNS, NAMES, CITIES, SYSTEM_WORDS, VOCABULARY)))
    if kind < 0.72:
        return str(rng.randrange(0, 100))
    if kind < 0.82:
        return str(rng.randrange(100, 100000))
    if kind < 0.87:
        return f"{rng.randrange(0, 24)}:{rng.randrange(0, 60):02d}"
    if kind < 0.92:
        return f"{rng.choice(_MARKS[8:10])}{rng.randrange(1, 1000)}"
    # Letters in no order: reading, not guessing.
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 7)))
