"""What an engine's steps take, on a GPU and before it: `python -m benchmarks.steps`.

One engine with mediamill's arguments steps in this process. Told are the milliseconds of a step
that only goes on, by how many requests run, and what requests add to it that begin in it, by how
many do at once: on the clock, and of the GPU's own time (the sum of its kernels). From these
follow how many engines fill a GPU, and what a larger batch gives.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from workers.towers import without_padding

#: Tokens of a prompt that stands for a picture's where only the batch counts.
_PROMPT = 290
#: Steps of a measurement, how often it is repeated, and steps before it.
_STEPS, _TURNS, _BEFORE = 20, 4, 4
_LONGEST = 4096
#: How many kernels are told, of those that took most.
_KERNELS = 25


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds on the clock, and of the GPU's kernels; 0 of those where there is none."""

    wall_ms: float
    gpu_ms: float


class Steps:
    """An engine that is stepped by hand."""

    def __init__(self, arguments: dict[str, Any], *, cuda: bool) -> None:
        from vllm import LLM, SamplingParams

        self.llm = LLM(**arguments)
        self.engine = self.llm.llm_engine
        self.cuda = cuda
        self._params = SamplingParams(temperature=0, max_tokens=_LONGEST - 1024, ignore_eos=True)
        self._ids = count()
        self._names: list[str] = []
        #: What each of them took in what was seen last, by name.
        self.kernels = Counter[str]()

    def render(self, inputs: dict[str, Any]) -> Any:
        """One request as the engine takes it."""
        renderer = self.engine.renderer
        tokenize = renderer.default_cmpl_tok_params.with_kwargs(add_special_tokens=False)
        [prepared] = renderer.render_cmpl([inputs], tokenize)
        without_padding(prepared)
        return prepared

    def add(self, prepared: Any) -> None:
        """Let a request in; it runs until all are dropped."""
        name = str(next(self._ids))
        self._names.append(self.engine.add_request(name, prepared, self._params))

    def step(self, steps: int) -> None:
        """Make so many."""
        for _ in range(steps):
            self.engine.step()

    def fill(self, running: int) -> None:
        """Have so many requests of text run."""
        while len(self._names) < running:
            tokens = [100 + (31 * len(self._names) + n) % 199 for n in range(_PROMPT)]
            self.add(self.render({"prompt_token_ids": tokens}))
        scheduler = self.engine.engine_core.engine_core.scheduler
        while scheduler.waiting:
            self.step(1)
        self.step(_BEFORE)

    def keep(self, running: int) -> None:
        """Drop all but the first so many."""
        self.engine.abort_request(self._names[running:], internal=True)
        del self._names[running:]
        self.step(_BEFORE)

    def took(self, work: Callable[[], None]) -> Took:
        """What work took: once by the clock, once by the GPU's own, which slows the former.

        What it has begun is dropped.
        """
        running = len(self._names)
        wall = self._wall(work)
        self.keep(running)
        kernels = self._kernels(work)
        self.keep(running)
        return Took(wall, kernels)

    def _wall(self, work: Callable[[], None]) -> float:
        self._settle()
        start = time.perf_counter()
        work()
        self._settle()
        return 1e3 * (time.perf_counter() - start)

    def _settle(self) -> None:
        if self.cuda:
            import torch

            torch.cuda.synchronize()

    def _kernels(self, work: Callable[[], None]) -> float:
        self.kernels.clear()
        if not self.cuda:
            work()
            return 0.0
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            work()
            self._settle()
        for event in seen.key_averages():
            self.kernels[event.key] += event.self_device_time_total / 1e3
        return sum(self.kernels.values())


def going_on(steps: Steps, batches: list[int]) -> Iterator[dict[str, Any]]:
    """A step that begins nothing, by how many requests run."""
    for batch in batches:
        steps.fill(batch)
        took = steps.took(lambda: steps.step(_STEPS))
        yield {
            "running": batch,
            "step_ms": round(took.wall_ms / _STEPS, 2),
            "gpu_ms": round(took.gpu_ms / _STEPS, 2),
        }
    steps.keep(0)


def beginning(
    steps: Steps, requests: Iterator[Any], running: int, at_once: list[int]
) -> Iterator[dict[str, Any]]:
    """What so many requests add that begin at once, each, while others run."""
    steps.fill(running)
    alone = steps.took(lambda: steps.step(_BEFORE))
    for number in at_once:

        def work(number: int = number) -> None:
            for _ in range(number):
                steps.add(next(requests))
            steps.step(_BEFORE)

        took = [steps.took(work) for _ in range(_TURNS)]
        wall = min(t.wall_ms for t in took[1:]) - alone.wall_ms
        gpu = min(t.gpu_ms for t in took[1:]) - alone.gpu_ms
        yield {
            "running": running,
            "begun_at_once": number,
            "each_ms": round(wall / number, 2),
            "each_gpu_ms": round(gpu / number, 2),
        }
    for name, took_ms in steps.kernels.most_common(_KERNELS):
        yield {"kernel": name[:100], "each_gpu_ms": round(took_ms / at_once[-1], 3)}
    steps.keep(0)


def main() -> None:
    """The command."""
    from jobs.catalog import SIZES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="E2B", help="a size of Gemma 4, or a folder")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--image-tokens", type=int, default=280)
    parser.add_argument("--running", default="1,32,64,128,200,256,384,512,768,1024")
    parser.add_argument("--at-once", default="1,2,4,8,16,28")
    given = parser.parse_args()
    running = [int(n) for n in given.running.split(",")]
    at_once = [int(n) for n in given.at_once.split(",")]
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    # The profiler sees what this process starts.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    from benchmarks import corpus
    from benchmarks.dummies import shared_folder
    from benchmarks.engine import decode, request
    from benchmarks.gpu import needed
    from jobs.tasks.caption import IMAGE_PROMPT
    from workers.arguments import engine_arguments, keep_kernels
    from workers.engine import EngineOptions
    from workers.prompts import Prompts
    from workers.towers import quicken
    from workers.vllm_engine import find_gpus

    keep_kernels()
    quicken()
    folder = str(shared_folder(given.model)) if given.model in SIZES else given.model
    options = EngineOptions(
        max_num_seqs=max(running),
        max_model_len=_LONGEST,
        **needed(given.model, given.device),
    )
    arguments = engine_arguments(folder, Prompts(folder), options, given.device, gpus=find_gpus)
    steps = Steps(arguments, cuda=given.device == "cuda")
    with tempfile.TemporaryDirectory() as media:
        pictures = 2 * _TURNS * sum(at_once)
        manifest = corpus.manifest("image", Path(media), pictures)
        tokenizer = steps.llm.get_tokenizer()
        began = time.perf_counter()
        inputs = [
            request(tokenizer, decode(path), IMAGE_PROMPT, given.image_tokens)
            for path in sorted(manifest.parent.glob("*.jpg"))
        ]
        decoded = time.perf_counter()
        prepared = [steps.render(one) for one in inputs]
        rendered = time.perf_counter()
    print(
        json.dumps(
            {
                "decode_ms": round(1e3 * (decoded - began) / pictures, 1),
                "render_ms": round(1e3 * (rendered - decoded) / pictures, 1),
            }
        )
    )
    for line in going_on(steps, running):
        print(json.dumps(line), flush=True)
    left = iter(prepared)
    for line in beginning(steps, left, max(running) // 2, at_once):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
