"""What a worker runs with and where each setting comes from: shown at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestration.settings import Settings
from workers.profiles import BY_HAND, DEFAULT, PROFILE, PROFILES, Choice, Profile, sourced

#: Open shards at least: on GPUs and on a CPU.
_ON_GPU, _ON_CPU = 8, 4
#: Open shards at most, for each that is usual, while they do not fill the engines.
STRETCH = 8
#: Requests in one step of the engines for each open shard: half of a shard's rows or fewer.
_SEQUENCES_A_SLOT = 128
#: Media fetched at once at least, and requests in one step for each where that makes more of them.
_FETCHERS, _SEQUENCES_A_FETCHER = 16, 32


@dataclass(frozen=True, slots=True)
class Choices:
    """Settings as they are taken: by hand, else by the profile, else by the device."""

    settings: Settings

    @property
    def profile(self) -> Profile:
        """What the settings name."""
        return PROFILES[self.settings.profile]

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """`cuda` where NVIDIA's driver is loaded, unless the settings say otherwise."""
        if self.settings.device != "auto":
            return self.settings.device
        return "cuda" if Path("/proc/driver/nvidia").exists() else "cpu"

    @property
    def engines(self) -> int | None:
        """How many there shall be; None as many as suit the device and the profile."""
        return None if self.settings.engines == "auto" else self.settings.engines

    @property
    def decoders(self) -> int:
        """Decode processes."""
        return int(self._decoders.value)

    def fetchers(self, sequences: int = 0) -> int:
        """Media fetched at once; `sequences` as for `slots`."""
        return int(self._fetchers(sequences).value)

    def slots(self, sequences: int = 0) -> int:
        """Open shards of this worker: enough that one ends while others fill the engines.

        `sequences` are the requests in one step of them all; without, the fewest there will be.
        """
        if self.settings.slots is not None:
            return self.settings.slots
        if self.device == "cpu":
            return _ON_CPU
        return max(_ON_GPU, sequences // _SEQUENCES_A_SLOT)

    def most_slots(self, slots: int) -> int:
        """Open shards at most where `slots` are usual (orchestration.appetite).

        What was set by hand stands.
        """
        return slots if self.settings.slots is not None else STRETCH * slots

    def all(self, engines: int, arguments: Mapping[str, Any]) -> list[Choice]:
        """Every setting, now that it is known how many engines there will be, and with what."""
        fitted = self._fitted
        narrowed = self.profile.a_gpu is not None and self.device == "cuda"
        sequences = engines * int(arguments["max_num_seqs"])
        slots = self.slots(sequences)
        return [
            Choice("profile", self.settings.profile, self._source("profile", DEFAULT)),
            Choice("device", self.device, self._source("device", "found")),
            Choice("engines", engines, self._source("engines", PROFILE if narrowed else fitted)),
            Choice("slots", _span(slots, self.most_slots(slots)), self._source("slots", fitted)),
            self._decoders,
            self._fetchers(sequences),
            *sourced(arguments, self.settings.engine_options, self.profile, self.device),
        ]

    @property
    def _decoders(self) -> Choice:
        return self._host("decoders", self.settings.decoders, DEFAULT)

    def _fetchers(self, sequences: int) -> Choice:
        fetchers = max(_FETCHERS, sequences // _SEQUENCES_A_FETCHER)
        return self._host("fetchers", fetchers, self._fitted)

    @property
    def _fitted(self) -> str:
        """What a setting comes from that suits the device."""
        return "GPU" if self.device == "cuda" else "CPU"

    def _host(self, name: Literal["decoders", "fetchers"], otherwise: int, why: str) -> Choice:
        """What the worker does on its host, `otherwise` where neither hand nor profile says."""
        preset = getattr(self.profile, name)
        if self._source(name, why) == BY_HAND:
            return Choice(name, getattr(self.settings, name), BY_HAND)
        return Choice(name, *((otherwise, why) if preset is None else (preset, PROFILE)))

    def _source(self, name: str, otherwise: str) -> str:
        given = name in self.settings.model_fields_set and getattr(self.settings, name) != "auto"
        return BY_HAND if given else otherwise


def _span(usual: int, most: int) -> str:
    return f"{usual}" if most == usual else f"{usual}, up to {most} while engines lack rows"
