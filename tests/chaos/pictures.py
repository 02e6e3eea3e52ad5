"""Media of jobs under faults: small pictures, some of which end their worker, and a large one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.chaos.worker import POISON


def large(seed: int) -> bytes:
    """A picture of more bytes than are kept in memory while it is fetched."""
    pixels = np.random.default_rng(seed).integers(0, 256, (1700, 1800, 3), np.uint8)
    pixels[0, 0] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


def media(folder: Path, rows: int, poison: set[int], seed: int) -> tuple[Path, Path]:
    """Small pictures, each another; their manifest, and that of those which kill nobody."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    colours = list(POISON)
    lines = []
    for place in range(rows):
        pixels = draw.integers(0, 200, (24, 32, 3), np.uint8)
        if place in poison:
            pixels[0, 0] = colours[place % len(colours)]
        Image.fromarray(pixels).save(folder / f"{place:05}.png")
        lines.append(json.dumps({"id": f"r{place:05}", "uri": f"{place:05}.png"}))
    every, harmless = folder / "rows.jsonl", folder / "harmless.jsonl"
    every.write_text("\n".join(lines))
    harmless.write_text("\n".join(line for n, line in enumerate(lines) if n not in poison))
    return every, harmless
