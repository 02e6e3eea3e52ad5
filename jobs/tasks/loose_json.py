"""JSON as models write it: in fences or prose, with single quotes, stray commas, or cut off."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

#: Deeper nesting is noise (`[[[[…`), and would cost time and stack.
MAX_DEPTH = 16

_OPENING = re.compile(r"[\[{]")
_STRING = {quote: re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", re.S) for quote in "\"'"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.S)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z]+")
# Commas are passed over like blanks: missing, doubled or trailing ones change nothing.
_GAP = re.compile(r"[\s,]*")
_COLON = re.compile(r"\s*:\s*")
_LITERALS: dict[str, Any] = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
    "NaN": float("nan"),
    "nan": float("nan"),
    "Infinity": float("inf"),
    "inf": float("inf"),
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Loose:
    """Whole lists and objects found in a text, in order.

    `cut`: the text ended inside a list or object; its whole members are in `values`
    themselves, what was not whole is left out.
    """

    values: tuple[Any, ...]
    cut: bool


class _Fault(Exception):
    """What stands here is not JSON, however loosely read."""


class _End(Exception):
    """The text ended inside a value."""


def read_loose(text: str) -> Loose:
    """Every list and object in a text of any kind. Never raises.

    What cannot be read is passed over, and reading goes on within it, so that one
    bad member costs no good one.
    """
    values: list[Any] = []
    at = 0
    cut_in = ""
    while found := _OPENING.search(text, at):
        try:
            value, at = _value(text, found.start(), 0)
        except _Fault:
            at = found.end()
        except _End:
            at = found.end()
            cut_in = found[0]
        else:
            # Within a cut list the members are whole; within a cut object a whole
            # list is only a part of something that is not.
            if cut_in != "{":
                values.append(value)
    return Loose(tuple(values), bool(cut_in))


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends."""
    first = text[at : at + 1]
    if first in ("[", "{"):
        if depth >= MAX_DEPTH:
            raise _Fault
        return _list(text, at + 1, depth) if first == "[" else _object(text, at + 1, depth)
    if first in ("'", '"'):
        return _string(text, at)
    token = _NUMBER.match(text, at) or _WORD.match(text, at)
    if not first or (token and token.end() == len(text)):
        raise _End
    if token and token[0] in _LITERALS:
        return _LITERALS[token[0]], token.end()
    if token and token.re is _NUMBER:
        return _number(token[0]), token.end()
    raise _Fault


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    members: list[Any] = []
    while True:
        at = _skip(_GAP, text, at)
        if text[at] == "]":
            return members, at + 1
        member, at = _value(text, at, depth + 1)
        members.append(member)


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    members: dict[str, Any] = {}
    while True:
        at = _skip(_GAP, text, at)
        if text[at] == "}":
            return members, at + 1
        key, at = _string(text, at)
        if not (colon := _COLON.match(text, at)):
            raise _End if not text[at:].strip() else _Fault
        members[key], at = _value(text, colon.end(), depth + 1)


def _string(text: str, at: int) -> tuple[str, int]:
    if text[at] not in _STRING:
        raise _Fault
    whole = _STRING[text[at]].match(text, at)
    if whole is None:
        raise _End
    content = _ESCAPE.sub(_unescape, whole[1])
    # `\ud83d\ude00` is one character in JSON; half of a pair is none, and no UTF-8 either.
    return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), whole.end()


def _unescape(escape: re.Match[str]) -> str:
    body = escape[1]
    if len(body) > 1:
        return chr(int(body[1:], 16))
    return _CONTROLS.get(body, body)


def _number(token: str) -> int | float:
    # Python refuses to read integers of thousands of digits; as floats they are infinite.
    digits = token.lstrip("+-")
    return int(token) if digits.isdigit() and len(digits) < 19 else float(token)


def _skip(gap: re.Pattern[str], text: str, at: int) -> int:
    """Where the gap at `at` ends; raises _End if that is the end of the text."""
    found = gap.match(text, at)
    end = found.end() if found else at
    if end >= len(text):
        raise _End
    return end
