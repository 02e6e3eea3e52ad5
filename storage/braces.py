"""Brace patterns as shells expand them: `x-{000..099}.tar`, `{train,test}/{0..9}.tar`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from storage.errors import InvalidManifest

_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})", re.ASCII)


def expand(pattern: str, most: int) -> list[str]:
    """What the pattern stands for, in order; the pattern itself if it has no braces.

    `{a,b}` is each of its parts, which may have braces too, and `{08..11}` each whole number
    of a range, up or down, with as many digits as the longer end if one begins with a zero.
    As in a shell, other braces stand for themselves. Raises InvalidManifest if that is more
    than `most`.
    """
    found = list(itertools.islice(_expanded(pattern), most + 1))
    if len(found) > most:
        raise InvalidManifest(f"{pattern}: stands for more than {most:,} names; name fewer at once")
    return found


def _expanded(text: str) -> Iterator[str]:
    """One string after the other, so that what is too much is never made."""
    at = -1
    while (at := text.find("{", at + 1)) >= 0:
        end, commas = _closed(text, at)
        if end is None:
            continue
        inside = text[at + 1 : end]
        number = _RANGE.fullmatch(inside)
        parts: Iterable[str]
        if number:
            parts = _numbers(number[1], number[2])
        elif commas:
            cuts = [at, *commas, end]
            pieces = (text[a + 1 : b] for a, b in itertools.pairwise(cuts))
            parts = itertools.chain.from_iterable(map(_expanded, pieces))
        else:
            # No list: its braces are text, and what is in them may have others.
            continue
        for part in parts:
            for rest in _expanded(text[end + 1 :]):
                yield f"{text[:at]}{part}{rest}"
        return
    yield text


def _closed(text: str, at: int) -> tuple[int | None, list[int]]:
    """Where the brace at `at` is closed, and the commas that are its own."""
    depth = 0
    commas: list[int] = []
    for i in range(at, len(text)):
        if text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
            if not depth:
                return i, commas
        elif text[i] == "," and depth == 1:
            commas.append(i)
    return None, []


def _numbers(first: str, last: str) -> Iterator[str]:
    padded = any(re.match(r"-?0\d", end) for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    a, b = int(first), int(last)
    # As in bash, a sign is one of the characters that are counted.
    return (f"{n:0{width}d}" for n in (range(a, b + 1) if a <= b else range(a, b - 1, -1)))
