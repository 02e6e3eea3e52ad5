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
        return int(self._host("decoders").value)

    @property
    def fetchers(self) -> int:
        """Media fetched at once."""
        return int(self._host("fetchers").value)

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
        fitted = "GPU" if self.device == "cuda" else "CPU"
        narrowed = self.profile.a_gpu is not None and self.device == "cuda"
        slots = self.slots(engines * int(arguments["max_num_seqs"]))
        return [
            Choice("profile", self.settings.profile, self._source("profile", DEFAULT)),
            Choice("device", self.device, self._source("device", "found")),
            Choice("engines", engines, self._source("engines", PROFILE if narrowed else fitted)),
            Choice("slots", _span(slots, self.most_slots(slots)), self._source("slots", fitted)),
            self._host("decoders"),
            self._host("fetchers"),
            *sourced(arguments, self.settings.engine_options, self.profile, self.device),
        ]

    def _host(self, name: Literal["decoders", "fetchers"]) -> Choice:
        """What the worker does on its host."""
        preset = getattr(self.profile, name)
        source = self._source(name, DEFAULT if preset is None else PROFILE)
        value = preset if source == PROFILE else getattr(self.settings, name)
        return Choice(name, value, source)

    def _source(self, name: str, otherwise: str) -> str:
        given = name in self.settings.model_fields_set and getattr(self.settings, name) != "auto"
        return BY_HAND if given else otherwise


def _span(usual: int, most: int) -> str:
    return f"{usual}" if most == usual else f"{usual}, up to {most} while engines lack rows"
