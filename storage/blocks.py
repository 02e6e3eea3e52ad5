"""What readers of manifests give to the planner: blocks of rows, columns, and faults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.columns import TEXTS
from storage.errors import InvalidManifest

#: Columns of a manifest that say what a row will cost.
HINTS = ("duration_s", "bytes", "width", "height")
#: Columns that say which row it is and where its media lie. Of them `uris` alone is
#: carried, behind all others: a record's own `uri` is but the first of them.
KEYS = ("id", "uri", "uris")
#: Rows of one fault that a message names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Block:
    """Some good rows of a manifest, in order.

    `numbers` are row numbers from 0; `ids` has no nulls; `uris` is the first URI of each
    row, null where it has none, and `media` how many it has; `hints` are those of `HINTS`
    that the rows have, NaN where a row has none; `body` is what the plan keeps of the rows,
    id first.
    """

    numbers: npt.NDArray[np.int64]
    ids: pa.StringArray
    uris: pa.Array
    media: npt.NDArray[np.int64]
    hints: Mapping[str, npt.NDArray[np.float64]]
    body: pa.Table

    def only(self, rows: npt.NDArray[np.bool_]) -> Block:
        """The rows that the mask picks."""
        mask = pa.array(rows)
        return Block(
            self.numbers[rows],
            self.ids.filter(mask),
            self.uris.filter(mask),
            self.media[rows],
            {name: values[rows] for name, values in self.hints.items()},
            self.body.filter(mask),
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A column to carry: its name in the manifest, its type as text, a note for the user."""

    source: str
    type: str
    note: str | None = None


URIS = Column("uris", TEXTS)


class Source(Protocol):
    """A manifest that is ready to be read, as often as asked."""

    format: Literal["parquet", "json"]

    def blocks(
        self, faults: Faults, *, limit: int | None = None, keep: npt.NDArray[np.int64] | None = None
    ) -> Iterator[Block]:
        """The rows: the first `limit`, or those whose numbers are in `keep` (sorted).

        Faulty rows are noted in `faults` and left out. Raises InvalidManifest for what
        stops the reading.
        """
        ...

    def columns(self) -> list[Column]:
        """The columns to carry, in order, known once the blocks were read."""
        ...


@dataclass
class Faults:
    """Rows that cannot be planned, gathered by fault so that a message can name the first.

    With `text_alone` a row without media is none of them.
    """

    manifest: str
    text_alone: bool = False
    _rows: dict[str, list[str]] = field(default_factory=dict)
    _totals: dict[str, int] = field(default_factory=dict)
    _advice: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._totals)

    def add(self, what: str, rows: Sequence[int], advice: str, *, unit: str = "row") -> None:
        """Note that these rows (or lines, by `unit`) have the fault `what`, in order."""
        if len(rows):
            self.add_named(what, len(rows), (f"{n}" for n in rows[:_NAMED]), advice, unit=unit)

    def add_named(
        self, what: str, total: int, named: Iterable[str], advice: str, *, unit: str = "row"
    ) -> None:
        """Note `total` more rows with the fault; `named` tells which the first are."""
        key = f"{unit} {what}"
        known = self._rows.setdefault(key, [])
        known += list(named)[: _NAMED - len(known)]
        self._totals[key] = self._totals.get(key, 0) + total
        self._advice.setdefault(key, advice)

    def check(self) -> None:
        """Raise InvalidManifest if there was any fault."""
        if not self:
            return
        parts = [self._part(key) for key in self._totals]
        lead, join = (": ", "") if len(parts) == 1 else (":\n  ", "\n  ")
        raise InvalidManifest(
            f"{self.manifest}{lead}{join.join(parts)} (rows count from 0, lines from 1)"
        )

    def _part(self, key: str) -> str:
        unit, _, what = key.partition(" ")
        total = self._totals[key]
        known = self._rows[key]
        named = ", ".join(known) + (", …" if total > len(known) else "")
        where = f"{unit} {named}" if total == 1 else f"{unit}s {named} ({total:,} in all)"
        return f"{where}: {what}; {self._advice[key]}"


NO_URI = ("no 'uri'", "every row needs 'uri' (text) or 'uris' (a list of texts)")
BOTH = ("both 'uri' and 'uris'", "keep one of them")
BAD_ID = ("an 'id' of another kind", "an id is text or a whole number")


def row_numbers(numbers: npt.NDArray[np.int64]) -> pa.StringArray:
    """Row numbers as text: the ids of rows that have none."""
    return pa.array(numbers).cast(pa.string())


def selected(numbers: npt.NDArray[np.int64], keep: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of consecutive row numbers are in `keep`; both sorted."""
    mask = np.zeros(len(numbers), dtype=np.bool_)
    if len(numbers):
        low, high = np.searchsorted(keep, [numbers[0], numbers[-1] + 1])
        mask[keep[low:high] - numbers[0]] = True
    return mask
