"""One question of the evaluation: a medium's file, what is asked of it, and the right answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """`columns` are the row's options (prompt, labels, …); `reference` is plain JSON.

    `more` are further media that are asked about together with `file`.
    """

    file: Path
    reference: Any
    columns: dict[str, Any] = field(default_factory=dict)
    more: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """An item's reference and the record that the pipeline made of it."""

    reference: Any
    record: dict[str, Any]

    @property
    def text(self) -> str:
        """The answer's text, empty if the row failed."""
        return str(self.record["text"] or "")

    @property
    def raw(self) -> str:
        """The answer as the model gave it, also where it could not be read."""
        return str(self.record["raw"] or "")


@dataclass(frozen=True, slots=True)
class Score:
    """A figure over `items` answers, and what else is worth a look."""

    value: float
    items: int
    details: dict[str, float | int] = field(default_factory=dict)
