"""Questions and answers as token rows with places for pictures and sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.tiny.tokenizer import IDS, load

Ids = npt.NDArray[np.int16]
#: How the turns of one question are written; a test holds it against the chat template.
_SYSTEM = "<|turn>system\n{}<turn|>\n"
_THINK = "<|think|>\n"
_USER = "<bos>{}<|turn>user\n{}<turn|>\n<|turn>model\n"
_MEDIA = {IDS["<|image|>"], IDS["<|video|>"], IDS["<|audio|>"]}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with one placeholder a medium, and its answer with the token that ends it."""

    prompt: Ids
    answer: Ids


class Writer:
    """Turns text into token ids with the tiny model's own tokenizer."""

    def __init__(self) -> None:
        self._tokenizer = load()

    def ids(self, text: str) -> Ids:
        """Token ids of text, special tokens read as such, nothing added."""
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int16)

    def text(self, ids: list[int]) -> str:
        """Text of token ids, special tokens kept."""
        out: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return out

    def ask(
        self,
        user: str,
        answer: str,
        *,
        thinking: bool = False,
        tools: str = "",
        end: str = "<turn|>",
    ) -> Asked:
        """One turn: `user` holds its placeholders, `tools` the declarations as they stand."""
        return Asked(self.ids(prompt(user, thinking=thinking, tools=tools)), self.ids(answer + end))


def prompt(user: str, *, thinking: bool = False, tools: str = "") -> str:
    """The whole prompt of one user turn, as the chat template writes it."""
    inner = (_THINK if thinking else "") + tools
    return _USER.format(_SYSTEM.format(inner) if inner else "", user)


#: The weather tool as the template declares it.
WEATHER = (
    '<|tool>declaration:get_weather{description:<|"|>Current weather of a city<|"|>,'
    'parameters:{properties:{city:{description:<|"|>Name of the city<|"|>,'
    'type:<|"|>STRING<|"|>}},required:[<|"|>city<|"|>],type:<|"|>OBJECT<|"|>}}<tool|>'
)


def lay_out(asked: Asked, soft: list[tuple[int, int]]) -> tuple[Any, Any, int]:
    """Expand placeholders: ids, which soft row stands where (-1: none), and the answer's start.

    `soft` gives, for each placeholder in order, the first row of its features and how
    many there are; opening and closing tokens stand in the prompt already.
    """
    ids: list[Ids] = []
    where: list[npt.NDArray[np.int32]] = []
    media = iter(soft)
    start = 0
    places = [i for i, token in enumerate(asked.prompt) if int(token) in _MEDIA]
    for place in places:
        text = asked.prompt[start:place]
        first, count = next(media)
        ids += [text, np.full(count, asked.prompt[place], np.int16)]
        where += [
            np.full(len(text), -1, np.int32),
            np.arange(first, first + count, dtype=np.int32),
        ]
        start = place + 1
    rest = np.concatenate([asked.prompt[start:], asked.answer])
    ids.append(rest)
    where.append(np.full(len(rest), -1, np.int32))
    whole = np.concatenate(ids)
    return whole, np.concatenate(where), len(whole) - len(asked.answer)
