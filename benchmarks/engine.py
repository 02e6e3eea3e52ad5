"""The yardstick: vLLM's own `LLM.generate`, fed by a plain loop over the files of a manifest.

    python -m benchmarks.engine MANIFEST.jsonl --model FOLDER --text PROMPT [--json]

Every file is decoded in the loop (PIL, PyAV), all go in as one batch, and the clock runs
from the first file opened to the last answer; loading the model is left out. It is what
somebody would write in an afternoon, with the engine arguments that mediamill would choose
and in one process, which on a CPU is vLLM at its fastest.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: What one request holds: seconds of sound, and frames of video at one a second.
SOUND_S = 30
FRAMES = 32
RATE = 16_000


@dataclass(frozen=True, slots=True)
class Result:
    """What the loop took. `seconds` counts decoding and generating, not loading the model."""

    rows: int
    seconds: float
    decode_seconds: float
    prompt_tokens: int
    output_tokens: int

    @property
    def rows_per_s(self) -> float:
        """Rows a second, decoding counted."""
        return self.rows / self.seconds


def decode(path: Path) -> dict[str, Any]:
    """One file as vLLM's `multi_modal_data`: an image, a sound or a video with its sound."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return {"image": [image.convert("RGB")]}
    except UnidentifiedImageError:
        return _decode_streams(path)


def _decode_streams(path: Path) -> dict[str, Any]:
    import av

    data: dict[str, Any] = {}
    with av.open(str(path)) as container:
        if container.streams.video:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 24)
            frames: list[Any] = []
            indices: list[int] = []
            for number, frame in enumerate(container.decode(stream)):
                if number >= len(indices) * rate:
                    frames.append(frame.to_ndarray(format="rgb24"))
                    indices.append(number)
                if len(frames) == FRAMES:
                    break
            metadata = {
                "fps": rate,
                "frames_indices": indices,
                "total_num_frames": indices[-1] + 1,
                "do_sample_frames": False,
            }
            data["video"] = [(np.stack(frames), metadata)]
        heard = bool(container.streams.audio)
    if heard and len(samples := sound(path, SOUND_S)):
        data["audio"] = [(samples[: SOUND_S * RATE], RATE)]
    return data


def sound(path: Path, enough_s: float = inf) -> npt.NDArray[np.float32]:
    """Samples of a file's sound, mono at `RATE`: all, or what is decoded until there is enough."""
    import av

    parts, length = [np.zeros(0, np.float32)], 0
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                parts.append(part.to_ndarray()[0])
                length += len(parts[-1])
            if length >= enough_s * RATE:
                break
    return np.concatenate(parts)


def request(tokenizer: Any, data: dict[str, Any], text: str, image_tokens: int) -> dict[str, Any]:
    """What `LLM.generate` takes for one file: rendered prompt and media."""
    content: list[dict[str, str]] = [{"type": kind} for kind in ("image", "video") if kind in data]
    content.append({"type": "text", "text": text})
    if "audio" in data:
        content.append({"type": "audio"})
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    inputs = {"prompt": prompt, "multi_modal_data": data}
    if "image" in data:
        inputs["mm_processor_kwargs"] = {"images_kwargs": {"max_soft_tokens": image_tokens}}
    return inputs


def measure(
    files: list[Path], model: Path, text: str, *, max_tokens: int, image_tokens: int
) -> Result:
    """Run the loop over the files once, after one request of each kind to warm up."""
    from workers.arguments import engine_arguments
    from workers.engine import EngineOptions
    from workers.prompts import Prompts
    from workers.vllm_engine import find_gpus

    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM, SamplingParams

    options = EngineOptions.model_validate({})
    arguments = engine_arguments(str(model), Prompts(str(model)), options, "cpu", gpus=find_gpus)
    llm = LLM(**arguments)
    tokenizer = llm.get_tokenizer()
    params = SamplingParams(temperature=0, max_tokens=max_tokens, skip_special_tokens=False)
    llm.generate([request(tokenizer, decode(files[0]), text, 70)], params, use_tqdm=False)

    start = time.perf_counter()
    requests = [request(tokenizer, decode(file), text, image_tokens) for file in files]
    decoded = time.perf_counter()
    outputs = llm.generate(requests, params, use_tqdm=False)
    return Result(
        rows=len(outputs),
        seconds=time.perf_counter() - start,
        decode_seconds=decoded - start,
        prompt_tokens=sum(len(output.prompt_token_ids or ()) for output in outputs),
        output_tokens=sum(len(output.outputs[0].token_ids) for output in outputs),
    )


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.engine")
    parser.add_argument("manifest", type=Path, help="JSONL whose rows have a local path as uri")
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--text", required=True, help="the prompt of every row")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--image-tokens", type=int, default=280)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    given = parser.parse_args(arguments)
    base = given.manifest.parent
    rows = [json.loads(line) for line in given.manifest.read_text().splitlines() if line]
    result = measure(
        [base / row["uri"] for row in rows],
        given.model,
        given.text,
        max_tokens=given.max_tokens,
        image_tokens=given.image_tokens,
    )
    if given.json:
        print(json.dumps({**asdict(result), "rows_per_s": result.rows_per_s}))
    else:
        print(
            f"LLM.generate: {result.rows} rows in {result.seconds:.1f} s "
            f"({result.decode_seconds:.1f} s of it decoding): {result.rows_per_s:.2f} rows/s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
