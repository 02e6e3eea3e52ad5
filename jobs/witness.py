"""What the deaths of earlier attempts say of a shard's rows: which may kill, and which do.

A worker's process that dies leaves word of the rows it had in hand (`died.json`, written by
whoever outlived it). One whose machine is gone leaves none, but had named each row that it ran
alone (`suspect.json`). A row that was in hand at a death runs alone from then on, so that
it is condemned by its own deaths and never by a neighbour's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.ledger import Attempt, attempts_of
from storage.errors import NotFound
from storage.objects import Store

#: Deaths of a worker's process with this row in hand, and how many of them alone, after which it
#: is not run again. Processes are killed from outside, too: one such death says nothing.
DEATHS, LONE_DEATHS = 3, 2
#: Attempts that vanished with the row named, or died so, after which it is not run again.
LONE_LOSSES = 4
#: Attempts that vanished one after the other, after which whatever has no record is suspect.
VANISHED = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """`suspects` run alone and last, in this order; `condemned` not at all, and why."""

    suspects: tuple[int, ...] = ()
    condemned: Mapping[int, str] = field(default_factory=dict)


def write_death(
    store: Store,
    generation: int,
    shard: int,
    number: int,
    *,
    rows: Sequence[int],
    alone: bool,
    cause: str,
) -> None:
    """Say that the process of an attempt died with these rows in hand; the attempt is closed.

    `alone` if it was a single row, in all shards that the process had open.
    """
    value = {"at": store.now(), "rows": list(rows), "alone": alone, "cause": cause}
    key = f"{attempts_of(generation, shard)}{number:04d}.died.json"
    store.put_if_absent(key, json.dumps(value).encode())


def name_suspect(attempt: Attempt, place: int) -> None:
    """Say that this row runs alone now; it stands for as long as the row has no record."""
    key = f"{attempts_of(attempt.generation, attempt.shard)}{attempt.number:04d}.suspect.json"
    attempt.store.put(key, json.dumps({"at": attempt.store.now(), "row": place}).encode())


def judge(
    store: Store, generation: int, shard: int, before: int, unfinished: Collection[int]
) -> Verdict:
    """What the attempts `before` this one say of the rows that have no record yet.

    `unfinished` are places in the shard. One listing, and a look at each death.
    """
    if before == 0:
        return Verdict()
    prefix = attempts_of(generation, shard)
    ends: dict[int, set[str]] = {}
    for found in store.list(prefix):
        name, _, kind = found.key.removeprefix(prefix).partition(".")
        ends.setdefault(int(name), set()).add(kind)
    losses: Counter[int] = Counter()
    deaths: Counter[int] = Counter()
    lone_deaths: Counter[int] = Counter()
    lone_losses: Counter[int] = Counter()
    causes: dict[int, str] = {}
    in_a_row, all_suspect = 0, False
    for number in sorted(n for n in ends if n < before):
        end = ends[number]
        vanished = not end & {"end.json", "died.json"}
        in_a_row = in_a_row + 1 if vanished else 0
        all_suspect = all_suspect or in_a_row >= VANISHED
        if "died.json" in end:
            death = _read(store, f"{prefix}{number:04d}.died.json")
            losses.update(death.get("rows", ()))
            deaths.update(death.get("rows", ()))
            if death.get("alone"):
                [row] = death["rows"]
                lone_deaths[row] += 1
                lone_losses[row] += 1
                causes[row] = str(death["cause"])
        elif vanished and "suspect.json" in end:
            row = _read(store, f"{prefix}{number:04d}.suspect.json").get("row", -1)
            losses[row] += 1
            lone_losses[row] += 1
    condemned = {
        row: _why(lone_losses[row], causes.get(row))
        for row in unfinished
        if (deaths[row] >= DEATHS and lone_deaths[row] >= LONE_DEATHS)
        or lone_losses[row] >= LONE_LOSSES
    }
    suspects = {row for row in unfinished if all_suspect or losses[row]} - condemned.keys()
    return Verdict(tuple(sorted(suspects, key=lambda row: (losses[row], row))), condemned)


def _why(times: int, cause: str | None) -> str:
    last = f"the last time it {cause}" if cause else "each time with its machine"
    return (
        f"this row was alone in the worker {times} times when that ended, {last}: look at its "
        "medium, then `mediamill retry --quarantined`"
    )


def _read(store: Store, key: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(store.get(key))
    except NotFound:  # the place is being emptied
        return {}
    return value
