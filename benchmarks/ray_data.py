"""Ray Data LLM over the same files: read, decode, vLLM, Parquet. `requirements/ray.txt` has Ray.

    python -m benchmarks.ray_data SPEC.json

SPEC is that of `benchmarks.raw`. A map opens and decodes the files, then come the processor's own
stages (chat template, tokens, engine, text) and `write_parquet`, as Ray's documentation does it;
`OPEN` and `DECODERS` are larger than its defaults, which would starve a large GPU. A processor
starts its engine anew each time it runs, and that is not to count: the first rows go through before
the clock starts, and all others wait at the head of the pipeline for them. The clock stops at the
last file written. Rows to warm up are mirrored pictures and reversed sounds, which no cache meets
again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from benchmarks.peers import (
    WARM,
    figures,
    plain_arguments,
    processor_arguments,
    read_rows,
    sampling,
)
from benchmarks.watch import Watch, cpu_of_processes, cpu_seconds, wait_until

#: Rows of a batch (Ray's default), and batches that the engine holds at once: its log says
#: "increase max_concurrent_batches to at least 32" where an engine takes 1,024 sequences.
BATCH, OPEN = 32, 32
#: Processes that decode, as a share of the cores. Ray runs the map before a stage in the stage's
#: own processes, and its default is one.
DECODERS = 0.25
#: How long an engine may take to load and to answer the first rows, and to end, in seconds.
_LOAD_S, _END_S = 560, 120
#: Seconds between two looks at what the processes have used.
_LOOK_S = 1.0


class Gate:
    """Holds back all rows but those that warm up until `opened` exists.

    It costs no core, and stands before everything that is measured. Ray hands an actor its
    batches in any order, so that the first may come behind others that wait.
    """

    def __init__(self, opened: str) -> None:
        self._opened = Path(opened)

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """One batch of rows, unchanged."""
        while not all(batch["warm"]) and not self._opened.exists():
            await asyncio.sleep(0.01)
        yield batch


def warm_copy(path: str, folder: Path) -> str:
    """Another file with as much in it: a picture mirrored, a sound reversed, as WAV."""
    from benchmarks.engine import RATE, decode

    data = decode(Path(path))
    copy = folder / Path(path).name
    if "image" in data:
        from PIL import ImageOps

        ImageOps.mirror(data["image"][0]).save(copy, quality=90)
        return str(copy)
    import wave

    import numpy as np

    copy = copy.with_suffix(".wav")
    samples = (np.clip(data["audio"][0][0][::-1], -1, 1) * 32767).astype(np.int16)
    with wave.open(str(copy), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return str(copy)


def preprocess(row: dict[str, Any], text: str, image_tokens: int) -> dict[str, Any]:
    """What Ray's stages take for a row: the message, the decoded file, the sampling parameters."""
    from benchmarks.engine import decode

    data = decode(Path(row["path"]))
    asked = {"type": "text", "text": text}
    content = [{"type": "image"}, asked] if "image" in data else [asked, {"type": "audio"}]
    return {
        **row,
        "messages": [{"role": "user", "content": content}],
        "multimodal_data": data,
        "mm_processor_kwargs": processor_arguments(row["path"], image_tokens),
        "sampling_params": sampling(row),
    }


def postprocess(row: dict[str, Any], warmed: str) -> dict[str, Any]:
    """What is written of a row. One that warms up leaves a file of its name in `warmed`."""
    if row["warm"]:
        Path(warmed, row["id"]).touch()
    return {
        "id": row["id"],
        "uri": row["uri"],
        "warm": row["warm"],
        "text": row["generated_text"],
        "prompt_tokens": row["num_input_tokens"],
        "output_tokens": row["num_generated_tokens"],
        "finished_at": time.time(),
    }


def main(spec: dict[str, Any]) -> None:
    """Run the pipeline for each repeat and print."""
    os.environ |= {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Its workers are to find this checkout.
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path[1:]]),
    }
    import ray

    # On a few cores the stages alone would not fit.
    cores = {} if spec["device"] == "cuda" else {"num_cpus": 8}
    ray.init(include_dashboard=False, log_to_driver=True, **cores)
    rows = [{**row, "warm": False} for row in read_rows(spec)]
    for _ in range(spec["repeats"]):
        with tempfile.TemporaryDirectory() as out:
            print(json.dumps(_measure(spec, rows, Path(out))), flush=True)
        # Ray lets go of it later, and who comes next needs the GPU's memory.
        wait_until(lambda: "engine" not in cpu_seconds(), "the engine's end", _END_S)
    ray.shutdown()


def _measure(spec: dict[str, Any], rows: list[dict[str, Any]], out: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import ray

    copies, data, warmed = out / "copies", out / "data", out / "warmed"
    copies.mkdir()
    warmed.mkdir()
    warm = [{**row, "warm": True, "path": warm_copy(row["path"], copies)} for row in rows[:WARM]]
    processor = _processor(spec, str(warmed))
    # A block each: no batch mixes those that warm up with others.
    blocks = [warm, *(rows[at : at + BATCH] for at in range(0, len(rows), BATCH))]
    dataset = ray.data.from_arrow([pa.Table.from_pylist(block) for block in blocks])
    opened = out / "opened"
    gated = dataset.map_batches(
        Gate,
        fn_constructor_args=(str(opened),),
        batch_size=BATCH,
        concurrency=1,
        num_cpus=0,
        max_concurrency=OPEN,
    )
    begun = time.time()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            processor(gated).write_parquet(str(data))
        except BaseException as error:
            failed.append(error)

    def warm_enough() -> bool:
        if failed:
            raise failed[0]
        return len(list(warmed.iterdir())) == len(warm)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    wait_until(warm_enough, "warming up", _LOAD_S)
    with Watch() as watch:
        before = cpu_of_processes()
        start = time.time()
        opened.touch()
        # Ray ends each stage's processes as soon as its last row left it, and what they used
        # would go with them: what each was last seen with is kept.
        used = dict(before)
        while writer.is_alive():
            writer.join(_LOOK_S)
            used |= cpu_of_processes()
    if failed:
        raise failed[0]
    found = [row for row in pq.read_table(data).to_pylist() if not row["warm"]]
    end = max(file.stat().st_mtime for file in data.iterdir())
    line = figures(rows, found, start=start, end=end, start_s=start - begun)
    cpu: Counter[str] = Counter()
    for process, (stage, seconds) in used.items():
        cpu[stage] += seconds - before.get(process, (stage, 0.0))[1]
    per_row = {stage: round(1000 * seconds / len(rows), 2) for stage, seconds in cpu.items()}
    return line | watch.figures(len(rows)) | {"cpu_ms_per_row": per_row}


def _processor(spec: dict[str, Any], warmed: str) -> Any:
    """Ray's processor with its defaults, for either name that it had."""
    from ray.data import llm

    decoders = max(1, int(DECODERS * len(os.sched_getaffinity(0))))
    arguments: dict[str, Any] = {}
    if spec["device"] != "cuda":
        arguments["placement_group_config"] = {"bundles": [{"CPU": 1}]}
    config = llm.vLLMEngineProcessorConfig(
        model_source=spec["model"],
        engine_kwargs=plain_arguments(spec),
        concurrency=1,
        batch_size=BATCH,
        max_concurrent_batches=OPEN,
        chat_template_stage={"concurrency": (decoders, decoders)},
        **arguments,
    )
    build = getattr(llm, "build_processor", None) or llm.build_llm_processor
    text, budget = spec["text"], spec["image_tokens"]
    return build(
        config,
        preprocess=lambda row: preprocess(row, text, budget),
        postprocess=lambda row: postprocess(row, warmed),
    )


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
