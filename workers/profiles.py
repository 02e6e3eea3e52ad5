"""Profiles: how a worker runs where what suits batches of all kinds is not what is wanted.

None of them changes what can be asked or what is answered. What is set by hand goes before
a profile, and a profile before what suits the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.arguments import ANYWHERE, Device


@dataclass(frozen=True, slots=True)
class Profile:
    """Settings that a name stands for; what is None or left out is as without it.

    `on_gpu` and `on_cpu` are engine arguments by vLLM's names. `a_gpu` is how many engines
    share a GPU at most. A `lean` engine takes no more of a GPU's memory than its model, its
    steps and the cache of all their requests need.
    """

    summary: str
    on_gpu: Mapping[str, Any] = field(default_factory=dict)
    on_cpu: Mapping[str, Any] = field(default_factory=dict)
    a_gpu: int | None = None
    lean: bool = False
    decoders: int | None = None
    fetchers: int | None = None

    def options(self, device: Device) -> Mapping[str, Any]:
        """Engine arguments on this device."""
        return self.on_gpu if device == "cuda" else self.on_cpu


AUTO = Profile("fills the device with batches of any kind")
PROFILES: dict[str, Profile] = {
    "auto": AUTO,
    # Compiling and capturing graphs take most of a start, and pay only over many rows.
    "quick-start": Profile(
        "serves minutes earlier and works slower: for few rows, and to try things out",
        on_gpu={"enforce_eager": True},
        a_gpu=1,
    ),
    # A step must hold a whole film of 32 frames (2,560 tokens).
    "low-memory": Profile(
        "takes no more memory than it needs: for a GPU or a machine that others use too",
        on_gpu={"max_num_batched_tokens": 4096, "max_num_seqs": 64},
        on_cpu={"max_num_seqs": 16, "kv_cache_memory_bytes": 256 << 20},
        a_gpu=1,
        lean=True,
        decoders=1,
        fetchers=4,
    ),
    # Where no media come first, prompts begin alike as far as their fixed text goes.
    "text": Profile(
        "computes what prompts begin with once: for rows of text alone",
        on_gpu={"enable_prefix_caching": True},
        on_cpu={"enable_prefix_caching": True},
        decoders=1,
        fetchers=1,
    ),
}

#: Where a setting may come from, beside `GPU` and `CPU`: what it was fitted to.
BY_HAND, PROFILE, DEFAULT = "by hand", "profile", "default"


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting as a worker runs with it, and where it comes from."""

    name: str
    value: Any
    source: str


def sourced(
    arguments: Mapping[str, Any], hand: Mapping[str, Any], profile: Profile, device: Device
) -> Iterator[Choice]:
    """The engine's `arguments` with their sources; `hand` has those that were given."""
    chosen = dict(profile.options(device))
    if profile.lean and device == "cuda":
        chosen |= dict.fromkeys(("kv_cache_memory_bytes", "gpu_memory_utilization"))
    for name, value in {**ANYWHERE, **arguments}.items():
        fitted = DEFAULT if name in ANYWHERE else "GPU" if device == "cuda" else "CPU"
        yield Choice(
            name, value, BY_HAND if name in hand else PROFILE if name in chosen else fitted
        )


def table(choices: Iterable[Choice]) -> str:
    """A line for each, in columns."""
    rows = [(one.name, _shown(one.value), one.source) for one in choices]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"  {n:<{wide[0]}}  {v:<{wide[1]}}  {source}" for n, v, source in rows)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
