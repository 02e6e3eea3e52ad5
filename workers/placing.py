"""Where a worker's engines go: how many there are, on which GPUs, with how much memory each.

A step of a small model costs its engine's process more CPU time than GPU time, so one
engine leaves a large GPU half idle; a few of them side by side fill it
(benchmarks/NOTES.md has the figures). Pure arithmetic, no CUDA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.catalog import Facts
from storage.errors import InvalidJob
from workers.engine import EngineOptions
from workers.fitting import SEQUENCES, UTILISATION, Fitted, Gpus, cache_per_token, fit

#: Engines that a GPU is shared by at most, by parameters that a token meets.
_MOST: tuple[tuple[float, int], ...] = ((3e9, 4), (6e9, 2))
#: Cores that one engine keeps busy: its steps, and preprocessing for it.
_CORES = 3
#: Tokens of cache for each request of a step, below which more engines would not run more.
_ROOM = 512


@dataclass(frozen=True, slots=True)
class Place:
    """GPUs of one engine, by their numbers among those at hand, and its share of their memory.

    It is `told` the lengths that fit there, and among several on a GPU the bytes of its cache:
    one that measured what is free would count its neighbours in. `note` says what was lowered.
    """

    devices: tuple[int, ...]
    share: float
    told: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Engine options that keep the engine to its place."""
        kept = {"gpu_memory_utilization": self.share, "tensor_parallel_size": len(self.devices)}
        return kept | dict(self.told)


def place(
    name: str,
    facts: Facts,
    gpus: Gpus,
    options: EngineOptions,
    *,
    engines: int | None,
    cores: int,
    a_gpu: int | None = None,
    lean: bool = False,
) -> list[Place]:
    """A place for each engine: those of one rank, one on each GPU or group of GPUs, come together.

    `engines` is how many there shall be on this host, None as many as do some good, and then no
    more than `a_gpu` to share one; `cores` those of this host. A `lean` engine leaves what it
    does not need of a GPU to others. Raises InvalidJob if the model, or so many of it, does
    not fit.
    """
    fitted = fit(name, facts, gpus, options)
    together = int(fitted.arguments["tensor_parallel_size"])
    groups = gpus.count // together
    if engines is None:
        most = min(max(1, cores // (groups * _CORES)), a_gpu or cores)
        each = _useful(name, facts, gpus, options, together, most)
        engines = each * groups
    each = -(-engines // groups)
    cache: dict[str, Any] = {}
    if each > 1:
        if together > 1:
            raise InvalidJob(
                f"{engines} engines of {name}: each needs {together} of {gpus}, "
                f"so there is room for {groups}"
            )
        shared = _shared(name, facts, gpus, options, each)
        if shared is None:
            fewer = range(each - 1, 1, -1)
            most = next((n for n in fewer if _shared(name, facts, gpus, options, n)), 1)
            raise InvalidJob(
                f"{engines} engines of {name} do not fit {gpus}: there is room for {most * groups}"
            )
        fitted = shared
        cache = {"kv_cache_memory_bytes": options.kv_cache_memory_bytes or fitted.cache}
    share = _utilisation(options) / each
    if lean and options.kv_cache_memory_bytes is None:
        least = min(fitted.cache, fitted.longest + _room(facts, options))
        cache = {"kv_cache_memory_bytes": least}
        if options.gpu_memory_utilization is None:
            # vLLM refuses to start where less than its share is free.
            share -= (fitted.cache - least) / gpus.memory
    told = _lengths(fitted, options) | cache
    return [
        Place(tuple(range(group * together, (group + 1) * together)), share, told, fitted.note)
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
    # What its requests shall have must be there beside what the model needs.
    room = _room(facts, options)
    for each in range(min(limit, most), 1, -1):
        fitted = _shared(name, facts, gpus, options, each, room)
        if fitted is not None and fitted.note is None:
            return each
    return 1


def _room(facts: Facts, options: EngineOptions) -> int:
    """Bytes of cache for all requests of a step, as long as most of them are."""
    return _ROOM * (options.max_num_seqs or SEQUENCES) * cache_per_token(facts, options)


def _shared(
    name: str, facts: Facts, gpus: Gpus, options: EngineOptions, each: int, room: int = 0
) -> Fitted | None:
    """How the model fits one of `each` equal parts of a GPU, with so many bytes to spare; None
    if it does not."""
    given = options.kv_cache_memory_bytes is not None
    spare = 0.0 if given else room / _utilisation(options)
    part = Gpus(1, int(gpus.memory / each - spare))
    try:
        fitted = fit(name, facts, part, options)
        if not given:
            # A length that was asked for is fitted where it may be too much, and its cache
            # is then told too small.
            fit(
                name,
                facts,
                part,
                options.model_copy(update={"kv_cache_memory_bytes": fitted.cache}),
            )
    except InvalidJob:
        return None
    return fitted


def _lengths(fitted: Fitted, options: EngineOptions) -> dict[str, Any]:
    return {
        "max_model_len": fitted.arguments["max_model_len"],
        "max_num_batched_tokens": fitted.arguments["max_num_batched_tokens"],
        "limit_mm_per_prompt": (options.limit_mm_per_prompt or {}) | {"image": fitted.images},
    }


def _utilisation(options: EngineOptions) -> float:
    return options.gpu_memory_utilization or UTILISATION
