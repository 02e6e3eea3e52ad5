"""The engine alone: vLLM's `LLM.generate`, all requests at once, everything decoded before.

    python -m benchmarks.raw SPEC.json

SPEC has `manifest`, `model`, `text`, `image_tokens`, `device`, `arguments` of the engine, `tuned`
(whether mediamill's own stand in for vLLM's defaults) and `repeats`; a JSON line for each
repeat is printed. The clock runs around `generate` alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.engine import decode, request
from benchmarks.peers import WARM, figures, plain_arguments, read_rows, sampling
from benchmarks.watch import Watch


def main(spec: dict[str, Any]) -> None:
    """Load, warm up, measure, print."""
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if spec["tuned"]:
        # As mediamill's engines have it: more of them wait for each other.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    from vllm import LLM

    from workers.arguments import engine_arguments
    from workers.engine import EngineOptions
    from workers.prompts import Prompts
    from workers.vllm_engine import find_gpus

    rows = read_rows(spec)
    arguments = {"model": spec["model"], **plain_arguments(spec)}
    if spec["tuned"]:
        options = EngineOptions(**spec["arguments"])
        prompts = Prompts(spec["model"])
        arguments = engine_arguments(
            spec["model"], prompts, options, spec["device"], gpus=find_gpus
        )
    begun = time.perf_counter()
    llm = LLM(**arguments)
    mend_sounds(llm)
    started = time.perf_counter() - begun
    for line in measure(llm, rows, spec, started):
        print(json.dumps(line), flush=True)


def measure(
    llm: Any, rows: list[dict[str, Any]], spec: dict[str, Any], started: float
) -> Iterator[dict[str, Any]]:
    """A line for each repeat on this engine, whose start took so many seconds."""
    from vllm import SamplingParams

    tokenizer = llm.get_tokenizer()
    requests = [
        request(tokenizer, decode(Path(row["path"])), spec["text"], spec["image_tokens"])
        for row in rows
    ]
    params = [SamplingParams(**sampling(row)) for row in rows]
    llm.generate(requests[:WARM], params[:WARM], use_tqdm=False)
    for _ in range(spec["repeats"]):
        # What was seen before is prefix-cached, and its pictures too.
        llm.reset_prefix_cache()
        llm.llm_engine.reset_mm_cache()
        with Watch() as watch:
            start = time.perf_counter()
            outputs = llm.generate(requests, params, use_tqdm=False)
            end = time.perf_counter()
        answers = [
            {
                "id": row["id"],
                "prompt_tokens": len(output.prompt_token_ids or ()),
                "output_tokens": len(output.outputs[0].token_ids),
            }
            for row, output in zip(rows, outputs, strict=True)
        ]
        line = figures(rows, answers, start=start, end=end, start_s=started)
        yield line | watch.figures(len(rows))


def mend_sounds(llm: Any) -> None:
    """See that an engine of a release that ends where sounds of unlike lengths meet does not."""
    from workers.vllm_engine import keep_sizes_apart, lengths_apart

    if not lengths_apart():
        return
    add = llm.llm_engine.add_request

    def added(request_id: str, prompt: Any, *rest: Any, **named: Any) -> Any:
        keep_sizes_apart(prompt, ["audio"])
        return add(request_id, prompt, *rest, **named)

    llm.llm_engine.add_request = added


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
