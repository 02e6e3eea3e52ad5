"""What Gemma 4 writes around its answer: thought channels, tool calls, ends of turns.

A whole output reads

    <|channel>thought
    …<channel|>ANSWER<|tool_call>call:NAME{key:<|"|>text<|"|>,n:42}<tool_call|><turn|>

and may end anywhere, when it stopped at the token limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

#: What ends the model's turn; nothing after it is part of the answer.
TURN_ENDS = ("<turn|>", "<eos>", "<|tool_response>", "<|turn>")

#: Deeper nesting of a call's arguments is noise, and would cost stack.
MAX_DEPTH = 16

_QUOTE = '<|"|>'
_END = re.compile("|".join(re.escape(end) for end in TURN_ENDS))
# `<|channel>…<channel|>`, open at the end of a truncated output.
_CHANNEL = re.compile(r"<\|channel>(.*?)(?:<channel\|>|\Z)", re.DOTALL)
# Where another begins, or the output ends, the one before was not closed.
_CALL = re.compile(r"<\|tool_call>(.*?)(?:(<tool_call\|>)|(?=<\|tool_call>)|\Z)", re.DOTALL)
# Some checkpoints leave out `call`.
_NAMED = re.compile(r"\s*(?:call)?:\s*([\w.\-]+)\s*\{")
_STRAY = re.compile(
    r"<\|?(?:channel|think|tool|tool_call|tool_response|turn|image|audio|video)\|?>"
    r"|<(?:pad|bos|eos|unk)>"
)
# The channel's label, which a cut output may end with.
_LABEL = re.compile(r"\Athought(?:\n|\Z)")
_GAP = re.compile(r"[\s,]*")
_BARE = re.compile(r"[^,{}\[\]]*")
# Longer ones are noise, and slow to read.
_INTEGER = re.compile(r"-?[0-9]{1,300}")
_FLOAT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model asks for; arguments are plain JSON values."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Output:
    """A model's output taken apart.

    `text` is the answer without thought, calls and special tokens; `thought` is None
    if there was none. `broken_calls` counts calls that were cut off or are no calls.
    """

    text: str
    thought: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    broken_calls: int = 0


def read_output(raw: str) -> Output:
    """Take an output apart. Never raises, whatever the text."""
    end = _END.search(raw)
    turn = raw[: end.start()] if end else raw
    head, closed, rest = turn.partition("<channel|>")
    if closed and "<|channel>" not in head:
        # The template itself may open the channel; then the output begins within it.
        turn = f"<|channel>thought\n{head}{closed}{rest}"
    thoughts = [_bare_thought(found[1]) for found in _CHANNEL.finditer(turn)]
    turn = _CHANNEL.sub("", turn)
    if not thoughts:
        # Small models write the channel's label alone at times, even with thinking off.
        turn = turn.lstrip().removeprefix("thought\n")
    calls = [_call(found[1], closed=bool(found[2])) for found in _CALL.finditer(turn)]
    text = _STRAY.sub("", _CALL.sub("", turn)).strip()
    return Output(
        text=text,
        thought="\n".join(filter(None, thoughts)) or None,
        tool_calls=tuple(call for call in calls if call is not None),
        broken_calls=calls.count(None),
    )


def _bare_thought(channel: str) -> str:
    return _STRAY.sub("", _LABEL.sub("", channel)).strip()


def _call(body: str, *, closed: bool) -> ToolCall | None:
    """The call, if its arguments are whole; one that is not `closed` must end with them."""
    named = _NAMED.match(body)
    if named is None:
        return None
    try:
        arguments, end = _object(body, named.end(), 0)
    except ValueError:
        return None
    if not closed and body[end:].strip():
        return None
    return ToolCall(named[1], arguments)


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    """Members up to the closing brace, beginning after the opening one."""
    members: dict[str, Any] = {}
    while True:
        at = _skip(text, at)
        if text.startswith("}", at):
            return members, at + 1
        if text.startswith(_QUOTE, at):
            key, at = _quoted(text, at)
            colon = text.find(":", at)
        else:
            colon = text.find(":", at)
            key = text[at:colon].strip()
        if colon < 0:
            raise ValueError("a key without a value")
        members[key], at = _value(text, colon + 1, depth + 1)


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    members: list[Any] = []
    while True:
        at = _skip(text, at)
        if text.startswith("]", at):
            return members, at + 1
        member, at = _value(text, at, depth + 1)
        members.append(member)


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    at = _skip(text, at)
    if text.startswith(_QUOTE, at):
        return _quoted(text, at)
    if text.startswith("{", at):
        return _object(text, at + 1, depth)
    if text.startswith("[", at):
        return _list(text, at + 1, depth)
    bare = _BARE.match(text, at)
    if bare is None or not bare[0].strip():
        raise ValueError("no value")
    word = bare[0].strip()
    if word in _WORDS:
        return _WORDS[word], bare.end()
    if _INTEGER.fullmatch(word):
        return int(word), bare.end()
    return (float(word) if _FLOAT.fullmatch(word) else word), bare.end()


def _quoted(text: str, at: int) -> tuple[str, int]:
    start = at + len(_QUOTE)
    end = text.find(_QUOTE, start)
    if end < 0:
        raise ValueError("an open string")
    return text[start:end], end + len(_QUOTE)


def _skip(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap else at
