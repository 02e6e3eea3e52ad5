"""The whole way of a row against vLLM's own loop: `python -m benchmarks.whole`.

The same photographs, prompt and token limits on both sides, each in fresh processes, in
turn, so that a machine whose speed drifts does it to both. The clock of mediamill runs
from the planning of the manifest to the last committed shard; that of `LLM.generate`
from the first file opened to the last answer. Loading the model is left out of both, and
each has answered one request before. The figure is the median of the ratios of the pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import SIZES, texture

#: mediamill's rows a second, as a share of the plain loop's, that are asked for.
WANTED = 0.9
_IMAGE_TOKENS, _MAX_TOKENS = 70, 16


def make_photographs(folder: Path, count: int) -> Path:
    """Seeded JPEGs of a camera's texture in several sizes, and their manifest."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(count):
        image = texture(rng, *SIZES[number % 3])
        image.save(folder / f"{number}.jpg", quality=90)
        rows.append({"id": str(number), "uri": f"{number}.jpg"})
    manifest = folder / "photographs.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def measure(manifest: Path, out: Path) -> dict[str, float]:
    """Run mediamill over the manifest in this process, once it has loaded and warmed up."""
    from jobs.spec import make_spec
    from jobs.submit import submit
    from orchestration.embedded import Embedded
    from orchestration.settings import load_settings

    def put(name: str, limit: int | None) -> Any:
        spec = {
            "manifest": str(manifest),
            "task": "caption",
            "out": str(out / name),
            "limit": limit,
            "options": {
                "image_tokens": _IMAGE_TOKENS,
                "max_tokens": _MAX_TOKENS,
                "temperature": 0,
            },
        }
        return submit(make_spec(spec), slots=4, device="cpu").job

    first = put("warm", 1)
    with Embedded(load_settings(device="cpu"), first.model) as embedded:
        embedded.run(first)
        start = time.perf_counter()
        status = embedded.run(put("all", None))
        seconds = time.perf_counter() - start
    return {"rows": status.rows["total"], "seconds": seconds}


def _fresh(*command: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", *command], check=True, capture_output=True, text=True
    )
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def run(images: int, pairs: int) -> float:
    """Print the pairs' figures and their median ratio, and return that."""
    from jobs.models import local_path, resolve
    from jobs.tasks.caption import IMAGE_PROMPT

    model = local_path(resolve("tiny"))
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = make_photographs(folder, images)
        limits = (f"--max-tokens={_MAX_TOKENS}", f"--image-tokens={_IMAGE_TOKENS}")
        for pair in range(pairs):
            ours = _fresh("benchmarks.whole", "--measure", str(manifest), str(folder / f"o{pair}"))
            loop = _fresh(
                "benchmarks.engine",
                str(manifest),
                "--model",
                model,
                "--text",
                IMAGE_PROMPT,
                "--json",
                *limits,
            )
            rates = ours["rows"] / ours["seconds"], loop["rows"] / loop["seconds"]
            ratios.append(rates[0] / rates[1])
            print(
                f"  pair {pair + 1}: mediamill run {rates[0]:.2f} rows/s, "
                f"LLM.generate {rates[1]:.2f} rows/s, ratio {ratios[-1]:.2f}",
                flush=True,
            )
    ratio = statistics.median(ratios)
    print(f"mediamill run against LLM.generate, {images} photographs, median of {pairs} pairs:")
    print(f"  ratio {ratio:.2f} (asked for: at least {WANTED})")
    return float(ratio)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs=2, type=Path, metavar=("MANIFEST", "OUT"))
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(*given.measure)), flush=True)
    else:
        run(given.images, given.pairs)


if __name__ == "__main__":
    main()
