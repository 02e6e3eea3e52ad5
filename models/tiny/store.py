"""What workers have drawn, on the GPU: copied there as it comes."""

from __future__ import annotations

import random
from typing import Any

import torch

from models.tiny.pool import Chunk, Pool


class Store:
    """The stocks on the device, as far as they were drawn.

    Of each stock by name: `data`, its items; `facts`, what a worker said of each; `ready`,
    which items there are.
    """

    def __init__(self, pool: Pool, device: torch.device) -> None:
        self.device = device
        self.stocks = pool.stocks
        self.data: dict[str, torch.Tensor] = {}
        self.facts: dict[str, list[dict[str, Any]]] = {}
        self.ready: dict[str, list[int]] = {}
        self._pool = pool
        for name, stock in pool.stocks.items():
            kind = torch.int16 if stock.kind == "speech" else torch.uint8
            self.data[name] = torch.zeros((stock.items, *stock.shape), dtype=kind, device=device)
            self.facts[name] = [{} for _ in range(stock.items)]
            self.ready[name] = []
        self.chunks = 0
        self._leaving: list[tuple[torch.cuda.Event, Chunk]] = []
        if device.type == "cuda":
            # Page-locked, so that copies run in the GPU's own order and nobody waits.
            for array in pool.arrays.values():
                torch.cuda.cudart().cudaHostRegister(array.ctypes.data, array.nbytes, 0)

    def refill(self, timeout: float = 0.0, most: int = 8) -> None:
        """Copy up to `most` finished chunks to the device."""
        while self._leaving and self._leaving[0][0].query():
            self._pool.give_back(self._leaving.pop(0)[1])
        for _ in range(most):
            chunk = self._pool.take(timeout)
            if chunk is None:
                return
            self._put(chunk)

    def share(self, name: str) -> float:
        """How much of a stock was drawn at least once."""
        return len(self.ready[name]) / self.stocks[name].items

    def _put(self, chunk: Chunk) -> None:
        end = chunk.start + len(chunk.facts)
        source = torch.from_numpy(self._pool.arrays[chunk.name][chunk.start : end])
        self.data[chunk.name][chunk.start : end].copy_(source, non_blocking=True)
        if not self.facts[chunk.name][chunk.start]:
            self.ready[chunk.name] += range(chunk.start, end)
        self.facts[chunk.name][chunk.start : end] = chunk.facts
        self.chunks += 1
        if self.device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record()
            self._leaving.append((copied, chunk))
        else:
            self._pool.give_back(chunk)

    def choose(self, name: str, count: int, rng: random.Random) -> list[int]:
        """Items of a stock, none twice where there are enough."""
        ready = self.ready[name]
        return rng.sample(ready, count) if len(ready) >= count else rng.choices(ready, k=count)

    def send(self, array: Any) -> torch.Tensor:
        """A numpy array as a tensor on the device, without waiting for the copy."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)
