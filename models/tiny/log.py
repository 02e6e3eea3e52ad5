"""Training's log: a line of JSON every ten seconds."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch


class Log:
    """Running means, told every ten seconds, to a file and the screen."""

    def __init__(self, path: Path, begun: float) -> None:
        self._path = path
        self._begun = begun
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0

    def add(self, losses: dict[str, dict[str, torch.Tensor]], norm: torch.Tensor) -> None:
        """Take one step's losses, without waiting for the GPU."""
        self._steps += 1
        values = {f"{n}_{k}": v for n, parts in losses.items() for k, v in parts.items()}
        for key, value in {**values, "norm": norm}.items():
            self._sums[key] = self._sums.get(key, torch.zeros_like(value)) + value.detach()
            self._counts[key] = self._counts.get(key, 0) + 1

    def tell(self, step: int, rate: float, chunks: int) -> None:
        """Write the means since the last time."""
        means = {k: round(v.item() / self._counts[k], 4) for k, v in self._sums.items()}
        self.write(step=step, rate=round(rate, 6), chunks=chunks, **means)
        self._sums, self._counts = {}, {}

    def write(self, **values: object) -> None:
        """Write one line."""
        line = json.dumps({"s": round(time.monotonic() - self._begun, 1), **values})
        with self._path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)
