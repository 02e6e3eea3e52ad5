"""Sentences to be spoken: drawn word by word or from patterns, numbers as digits."""

from __future__ import annotations

import random

from models.tiny.words import (
    ADJECTIVES,
    CITIES,
    DAYS,
    LETTERS,
    LITTLE_WORDS,
    MONTHS,
    NAMES,
    NOUNS,
    ORDINALS,
    SPELLING,
    SYSTEM_WORDS,
    VERBS,
    VOCABULARY,
)

#: `{x}` are filled from the lists in `_SLOTS`; the rest is said as it stands.
PATTERNS: tuple[str, ...] = (
    "the {a} {n} is on the {n}",
    "please {v} the {n} and the {n}",
    "i want to {v} a {a} {n}",
    "can you {v} the {n} for me",
    "{p} and {p} {v} the {a} {n}",
    "we will {v} in {c} on {d}",
    "there are {k} {n} in the {n}",
    "my {n} is {a} and {a}",
    "do not {v} the {a} {n}",
    "press {k} to {v} your {n}",
    "press {k} for {s} or press {k} for {s}",
    "to {v} the {s} press {k}",
    "the {s} {n} has been {s}",
    "your {s} is now {s}",
    "please enter your {s} {n} followed by the pound key",
    "you have {k} {a} messages",
    "thank you for calling {p}",
    "the number is {k} {k} {k} {k}",
    "call {p} at {k} {k} {k}",
    "it is {k} {m} in {c}",
    "on {d} {m} {k} we {v} to {c}",
    "{p} was born in {m} {k}",
    "at the tone please {v} your {n}",
    "if you want to {v} {l} {n} say yes",
    "the {n} from {c} was {l} {a}",
    "{l} {n} {v} {l} the {n}",
    "why did {p} {v} {l} {n}",
    "she said that the {n} is {a}",
    "he has {k} {n} and {k} {n}",
    "the train to {c} leaves at {k}",
    "what is the {a} {n} of the {n}",
    "{d} {d} and {d}",
    "{m} {k} and {m} {k}",
    "{k} {k} {k} {k} {k}",
    "{w} {w} {w}",
    "{w} {w} {w} {w} {w}",
    "{w} {w} {w} {w} {w} {w} {w} {w}",
    "{s} {s}",
    "{w} {w} {l} {w} {w} {l} {w}",
    "{i} {i} {i}",
    "{i} as in {t}",
    "{t} {t} {t}",
    "the {o} of {m}",
    "{o} {o}",
    "{o}",
    "{t}",
    "{i}",
    "{w}",
    "{k}",
)

_SLOTS: dict[str, list[str] | tuple[str, ...]] = {
    "a": ADJECTIVES,
    "c": CITIES,
    "d": DAYS,
    "i": LETTERS,
    "l": LITTLE_WORDS,
    "m": MONTHS,
    "n": NOUNS,
    "o": ORDINALS,
    "p": NAMES,
    "s": SYSTEM_WORDS,
    "t": SPELLING,
    "v": VERBS,
    "w": VOCABULARY,
}


def number(rng: random.Random) -> str:
    """A number as it is written: mostly small, up to 9999, now and then with a decimal."""
    kind = rng.random()
    if kind < 0.5:
        return str(rng.randrange(0, 21))
    if kind < 0.8:
        return str(rng.randrange(21, 100))
    if kind < 0.92:
        return str(rng.randrange(100, 1000))
    if kind < 0.96:
        return str(rng.randrange(1000, 10000))
    return f"{rng.randrange(0, 20)}.{rng.randrange(1, 10)}"


def passage(rng: random.Random, *, most_words: int = 16) -> str:
    """Sentences one after the other, up to `most_words` words."""
    words = sentence(rng).split()
    while rng.random() < 0.45:
        more = sentence(rng).split()
        if len(words) + len(more) > most_words:
            break
        words += more
    return " ".join(words[:most_words])


def sentence(rng: random.Random) -> str:
    """One sentence, lower case, without punctuation."""
    words: list[str] = []
    for part in rng.choice(PATTERNS).split():
        if part.startswith("{"):
            slot = part[1]
            words.append(number(rng) if slot == "k" else rng.choice(_SLOTS[slot]))
        else:
            words.append(part)
    return " ".join(words)
