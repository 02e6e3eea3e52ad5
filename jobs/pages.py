"""Which pages of a document are wanted, as people write it: `1-3,7,10-`."""

from __future__ import annotations

import re

_PART = re.compile(r"\s*([0-9]{1,9})\s*(?:(-)\s*([0-9]{1,9})?\s*)?")


def check_pages(wanted: str) -> str:
    """The same text. Raises ValueError, saying how pages are written, if it is none."""
    _parts(wanted)
    return wanted


def chosen_pages(wanted: str | None, count: int) -> list[int]:
    """Numbers from 1 of the wanted pages among `count`, each once and in their order.

    None takes all. What lies behind the last page is left out. Raises ValueError.
    """
    if wanted is None:
        return list(range(1, count + 1))
    found: set[int] = set()
    for first, last in _parts(wanted):
        found.update(range(first, min(count if last is None else last, count) + 1))
    return sorted(found)


def _parts(wanted: str) -> list[tuple[int, int | None]]:
    """First and last page of each part; None is the document's last."""
    parts = []
    for text in wanted.split(","):
        part = _PART.fullmatch(text)
        first = int(part[1]) if part else 0
        last = None if part is None or (part[2] and not part[3]) else int(part[3] or part[1])
        if part is None or first < 1 or (last is not None and last < first):
            raise ValueError(
                f"{text.strip()!r} are no pages: write numbers from 1 and ranges, "
                "as in 1-3,7 or 10- for all from page 10 on"
            )
        parts.append((first, last))
    return parts
