"""Where text may be broken, and lines of it as subtitlers lay them out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: Characters of a line, and lines of a cue, that viewers can read.
MAX_LINE = 42
MAX_LINES = 2

#: Longer words (and text that puts no spaces between them) are cut into such pieces.
_CHUNK = 14

#: What sentences and clauses end with, wide forms (as in Chinese) made narrow.
_SENTENCE = ".!?。؟।"
_CLAUSE = ",;:、،"
#: A full stop after these, or after one letter, ends no sentence.
_ABBREVIATION = re.compile(r"(?:^|\W)(?:\w|Mrs?|Ms|Dr|St|Prof|vs|Jr|Sr|e\.g|i\.e)\.$", re.I)
Ends = Literal["sentence", "clause", "word"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is not broken, of at most a line; `ends` is what ends with it.

    `start` and `end` are its place in the text, whose pieces follow each other with a space
    or, inside a word that was cut, without one.
    """

    text: str
    start: int
    end: int
    ends: Ends


def cut_into_pieces(text: str) -> list[Piece]:
    """The words of a text, without control characters; none if there are none."""
    pieces: list[Piece] = []
    at = 0
    words = [w for w in (_printable(word) for word in text.split()) if w]
    for number, word in enumerate(words):
        following = words[number + 1] if number + 1 < len(words) else ""
        chunks = [word] if len(word) <= MAX_LINE else _chunks(word)
        for index, chunk in enumerate(chunks):
            inside = index + 1 < len(chunks)
            # A full stop within a word is one of a number, or of an address.
            ends = "word" if inside and chunk[-1].isascii() else _ends(chunk, following)
            pieces.append(Piece(chunk, at, at + len(chunk), ends))
            at += len(chunk)
        at += 1
    return pieces


def joined(pieces: Sequence[Piece]) -> str:
    """The pieces as one line."""
    text = ""
    for number, piece in enumerate(pieces):
        apart = number > 0 and piece.start > pieces[number - 1].end
        text += f" {piece.text}" if apart else piece.text
    return text


def fits(pieces: Sequence[Piece], first: int, until: int) -> bool:
    """Whether `lay_out` has lines for the pieces from `first` until (not with) `until`."""
    edge = pieces[first].start + MAX_LINE
    end = pieces[until - 1].end
    if end <= edge:
        return True
    cut = first
    while pieces[cut].end <= edge:
        cut += 1
    return end - pieces[cut].start <= MAX_LINE


def lay_out(pieces: Sequence[Piece]) -> tuple[str, ...] | None:
    """One line or two, broken after a clause if that is about even; None if they are too long."""
    if pieces[-1].end - pieces[0].start <= MAX_LINE:
        return (joined(pieces),)
    best: tuple[int, int] | None = None
    for cut in range(1, len(pieces)):
        upper = pieces[cut - 1].end - pieces[0].start
        lower = pieces[-1].end - pieces[cut].start
        if upper > MAX_LINE:
            break
        if lower <= MAX_LINE:
            uneven = abs(upper - lower) + (20 if pieces[cut - 1].ends == "word" else 0)
            if best is None or uneven < best[0]:
                best = uneven, cut
    if best is None:
        return None
    return joined(pieces[: best[1]]), joined(pieces[best[1] :])


def _printable(word: str) -> str:
    return "".join(c for c in word if unicodedata.category(c) != "Cc")


def _ends(text: str, following: str) -> Ends:
    body = text
    while len(body) > 1 and (body[-1] in "\"'" or unicodedata.category(body[-1]) in ("Pe", "Pf")):
        body = body[:-1]
    # Three dots of one character become three characters too.
    last = unicodedata.normalize("NFKC", body)[-1:]
    if last and last in _SENTENCE:
        goes_on = following[:1].islower() or _ABBREVIATION.search(body)
        return "word" if goes_on else "sentence"
    is_clause = last in _CLAUSE or unicodedata.category(body[-1]) == "Pd"
    return "clause" if is_clause else "word"


def _chunks(word: str) -> list[str]:
    """A long word in parts: after its punctuation, else anywhere but inside a character."""
    chunks = [""]
    for before, character in zip(" " + word, word, strict=False):
        held = chunks[-1]
        full = len(held) >= _CHUNK and not _joins(before, character)
        stops = bool(held) and _is_stop(before) and not _is_stop(character)
        if full or stops or len(held) == MAX_LINE:
            chunks.append("")
        chunks[-1] += character
    return chunks


def _is_stop(character: str) -> bool:
    return unicodedata.category(character) in ("Po", "Pd", "Pe", "Pf")


def _joins(before: str, after: str) -> bool:
    """Whether two characters are shown as one."""
    joiner = "\u200d"
    return before == joiner or after == joiner or unicodedata.category(after).startswith("M")
