"""Names of done markers: a shard's counts, so that counting a job is one listing.

`<shard>-<ok>-<error>-<quarantined>`, and `-<warning>.<rows>` for each warning of its rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from storage.dataset import shard_name

#: Rows whose warnings' names do not go into a marker's are counted under this one.
OTHER = "other"
#: What a name may be made of: nothing that a key, a file's name or this form minds.
_WORD = re.compile(r"\w{1,40}", re.ASCII)
#: Characters of all warnings: a file's name holds 255 bytes, the counts some 40.
_MOST = 160


class Marker(NamedTuple):
    """What a marker's name tells: a shard, its rows by outcome and by warning."""

    shard: int
    ok: int
    error: int
    quarantined: int
    warnings: Mapping[str, int]


def marker_name(marker: Marker) -> str:
    """The name of the marker; `warnings` must be as `told` gives them."""
    counts = (str(n) for n in (marker.ok, marker.error, marker.quarantined))
    warned = (f"{name}.{rows}" for name, rows in marker.warnings.items())
    return "-".join((shard_name(marker.shard), *counts, *warned))


def read_marker(name: str) -> Marker:
    """What a name of `marker_name` tells."""
    shard, ok, error, quarantined, *warned = name.split("-")
    pairs = (part.rpartition(".") for part in warned)
    warnings = {warning: int(rows) for warning, _, rows in pairs}
    return Marker(int(shard), int(ok), int(error), int(quarantined), warnings)


def told(warnings: Mapping[str, int]) -> dict[str, int]:
    """The warnings as a marker tells them: the most frequent by name, the rest as `other`."""
    kept: dict[str, int] = {}
    rest = 0
    room = _MOST
    for name, rows in sorted(warnings.items(), key=lambda item: (-item[1], item[0])):
        room -= len(f"-{name}.{rows}")
        if room >= 0 and name != OTHER and _WORD.fullmatch(name):
            kept[name] = rows
        else:
            rest += rows
    return kept | ({OTHER: rest} if rest else {})
