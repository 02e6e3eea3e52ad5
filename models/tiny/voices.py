# ruff: noqa: SIM905 -- lists of words read best as words
"""Utterances to be written down: synthetic voices, a human one, three other languages."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.tiny import sentences
from models.tiny.rows import Ids, Writer
from models.tiny.speech import RATE, Manner, Said, Samples, Speaker, draw_manner, resample

#: Seconds of the longest utterance; longer sound is made of several.
LONGEST_S = 8
#: What the CTC helper tells apart; 0 is its blank.
LETTERS = " abcdefghijklmnopqrstuvwxyz0123456789'."
LANGUAGES = {"German": "de", "Spanish": "es", "French": "fr"}
#: A few words of each, said in no order.
FOREIGN: dict[str, list[str]] = {
    "German": (
        "der die das und ist nicht ich du wir haus baum stadt wasser guten morgen abend danke bitte"
        " heute morgen katze hund schule arbeit kinder freund rot blau groß klein schnell langsam"
        " essen trinken gehen kommen sehen hören schreiben lesen buch tisch stuhl fenster straße"
    ).split(),
    "Spanish": (
        "el la los las y es no yo tú nosotros casa árbol ciudad agua buenos días noches gracias por"
        " favor hoy mañana gato perro escuela trabajo niños amigo rojo azul grande pequeño rápido"
        " comer beber ir venir ver oír escribir leer libro mesa silla ventana calle"
    ).split(),
    "French": (
        "le la les et est ne pas je tu nous maison arbre ville eau bonjour bonsoir merci s'il vous"
        " plaît aujourd'hui demain chat chien école travail enfants ami rouge bleu grand petit vite"
        " manger boire aller venir voir entendre écrire lire livre table chaise fenêtre rue"
    ).split(),
}
_NUMBERS = {
    word: str(number)
    for number, word in [
        *enumerate(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
            " fifteen sixteen seventeen eighteen nineteen".split()
        ),
        *zip(
            range(20, 100, 10),
            "twenty thirty forty fifty sixty seventy eighty ninety".split(),
            strict=True,
        ),
    ]
}


@dataclass(frozen=True, slots=True)
class Utterance:
    """Sound, what is said as token ids without an end, as letters, and in which language.

    `phones` are where its phonemes begin, as (sample, class); none where nobody knows.
    """

    samples: Samples
    answer: Ids
    letters: list[int]
    language: str
    human: bool = False
    phones: list[tuple[int, int]] = field(default_factory=list)


def plain(text: str) -> str:
    """Lower case, without punctuation, number words as digits: how speech is written down."""
    text = re.sub(r"[^\w\s'.-]", " ", text.lower()).replace("-", " ").replace("_", " ")
    words = (word.strip(".'") for word in re.sub(r"\.(?!\d)", " ", text).split())
    return " ".join(_NUMBERS.get(word, word) for word in words if word)


class Voices:
    """Draws utterances. `folder` is what `models.tiny.gather` made."""

    def __init__(self, folder: Path, writer: Writer, *, human: bool = True) -> None:
        self._speaker = Speaker(folder)
        self._writer = writer
        self._human: list[tuple[str, Samples]] = []
        self._texts: list[str] = []
        with np.load(folder / "asterisk.npz") as kept:
            for name, text in zip(kept["names"], kept["texts"], strict=True):
                said = plain(str(text))
                if said:
                    self._texts.append(said)
                    if human:
                        self._human.append((said, kept[str(name)]))

    def draw(self, rng: random.Random, *, held_out: bool = False) -> Utterance:
        """An utterance of at most 8 s; `held_out`: in voices that training never hears."""
        kind = rng.random()
        while True:
            if held_out:
                said = sentences.passage(rng)
                manner = draw_manner(rng, held_out=True)
                drawn = self._utter(self._speaker.say(said, manner), said, "English")
            elif kind < 0.15 and self._human:
                drawn = self._person(rng)
            elif kind < 0.2:
                drawn = self._foreigner(rng)
            else:
                drawn = self._synthetic(rng)
            if 0 < len(drawn.samples) <= LONGEST_S * RATE - 1600:
                return drawn

    def _synthetic(self, rng: random.Random) -> Utterance:
        if rng.random() < 0.15:
            words = rng.choice(self._texts).split()
            first = rng.randrange(max(1, len(words) - 4))
            text = " ".join(words[first : first + rng.randint(4, 18)])
        else:
            text = sentences.passage(rng)
        heard = self._speaker.say(text, draw_manner(rng, flite=self._speaker.has_flite))
        return self._utter(heard, text, "English")

    def _person(self, rng: random.Random) -> Utterance:
        text, samples = rng.choice(self._human)
        pace = rng.uniform(0.88, 1.12)
        heard = Said(resample(samples, round(8000 * pace)), [])
        return self._utter(heard, text, "English", human=True)

    def _foreigner(self, rng: random.Random) -> Utterance:
        language = rng.choice(list(LANGUAGES))
        text = " ".join(rng.choices(FOREIGN[language], k=rng.randint(3, 9)))
        manner = draw_manner(rng, flite=False)
        _, plus, variant = manner.voice.partition("+")
        voice = LANGUAGES[language] + plus + variant
        heard = self._speaker.say(
            text, Manner(voice, manner.words_per_minute, manner.pitch, manner.range)
        )
        return self._utter(heard, text, language)

    def _utter(self, heard: Said, text: str, language: str, *, human: bool = False) -> Utterance:
        letters = [LETTERS.index(c) + 1 for c in text if c in LETTERS]
        ids = self._writer.ids(text)
        return Utterance(heard.samples, ids, letters, language, human, heard.phones)
