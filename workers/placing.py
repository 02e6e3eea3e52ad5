"""Where a worker's engines go: how many there are, on which GPUs, with how much memory each.

A step of a small model costs its engine's process more CPU time than GPU time, so one
engine leaves a large GPU half idle; a few of them side by side fill it
(benchmarks/NOTES.md has the figures). Pure arithmetic, no CUDA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.catalog import Facts
from storage.errors import InvalidJob
from workers.engine import EngineOptions
from workers.fitting import SEQUENCES, UTILISATION, Gpus, cache_per_token, fit

#: Engines that a GPU is shared by at most, by parameters that a token meets.
_MOST: tuple[tuple[float, int], ...] = ((3e9, 4), (6e9, 2))
#: Cores that one engine keeps busy: its steps, and preprocessing for it.
_CORES = 3
#: Tokens of cache for each request of a step, below which more engines would not run more.
_ROOM = 512


@dataclass(frozen=True, slots=True)
class Place:
    """GPUs of one engine, by their numbers among those at hand, and its share of their memory.

    Engines that share a GPU are told the bytes of their `cache`: one that measured what is
    free would count its neighbours in.
    """

    devices: tuple[int, ...]
    share: float
    cache: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Engine options that keep the engine to its place."""
        told = {"gpu_memory_utilization": self.share, "tensor_parallel_size": len(self.devices)}
        return told if self.cache is None else told | {"kv_cache_memory_bytes": self.cache}


def place(
    name: str, facts: Facts, gpus: Gpus, options: EngineOptions, *, engines: int | None, cores: int
) -> list[Place]:
    """A place for each engine: those of one rank, one on each GPU or group of GPUs, come together.

    `engines` is how many there shall be on this host, None as many as do some good; `cores`
    those of this host. Raises InvalidJob if the model, or so many of it, does not fit.
    """
    together = int(fit(name, facts, gpus, options).arguments["tensor_parallel_size"])
    groups = gpus.count // together
    if engines is None:
        each = _useful(name, facts, gpus, options, together, max(1, cores // (groups * _CORES)))
        engines = each * groups
    each = -(-engines // groups)
    if each > 1 and together > 1:
        raise InvalidJob(
            f"{engines} engines of {name}: each needs {together} of {gpus}, "
            f"so {groups} at most have room"
        )
    share, cache = _share(options, each), options.kv_cache_memory_bytes
    if each > 1 and cache is None:
        try:
            cache = fit(name, facts, Gpus(1, gpus.memory), _shared(options, share)).cache
        except InvalidJob as error:
            raise InvalidJob(f"{each} engines on one GPU: {error}") from None
    return [
        Place(tuple(range(group * together, (group + 1) * together)), share, cache)
        for _ in range(each)
        for group in range(groups)
    ][:engines]


def describe(name: str, places: Sequence[Place], gpus: Gpus) -> str:
    """The places in words."""
    devices = len({device for place in places for device in place.devices})
    many = "1 engine" if len(places) == 1 else f"{len(places)} engines"
    return (
        f"{many} of {name} on {devices} of {gpus}, each on {len(places[0].devices)} "
        f"with {places[0].share:.2f} of the memory"
    )


def _useful(
    name: str, facts: Facts, gpus: Gpus, options: EngineOptions, together: int, most: int
) -> int:
    """Engines that a GPU is well shared by: as many as leave each its settings and a cache for
    all requests of a step."""
    if together > 1:
        return 1
    limit = next((count for active, count in _MOST if facts.shape.active < active), 1)
    alone = fit(name, facts, Gpus(1, gpus.memory), options)
    # What its requests shall have must be there beside what the model needs.
    room = _ROOM * (options.max_num_seqs or SEQUENCES) * cache_per_token(facts, options)
    for each in range(min(limit, most), 1, -1):
        share = _share(options, each)
        try:
            left = Gpus(1, round(gpus.memory - room / share))
            shared = fit(name, facts, left, _shared(options, share))
        except InvalidJob:
            continue
        if shared.note == alone.note:
            return each
    return 1


def _share(options: EngineOptions, each: int) -> float:
    return round((options.gpu_memory_utilization or UTILISATION) / each, 3)


def _shared(options: EngineOptions, share: float) -> EngineOptions:
    return options.model_copy(update={"gpu_memory_utilization": share})
