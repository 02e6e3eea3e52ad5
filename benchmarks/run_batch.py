"""vLLM's own batch command over the same files: `python -m vllm.entrypoints.openai.run_batch`.

    python -m benchmarks.run_batch SPEC.json

SPEC is that of `benchmarks.raw`. The batch file names the media by `file://` URLs. The command
loads the model itself and says "Reading batch from" once it can serve: there the clock starts,
and it ends when the results are written, so that neither loading nor leaving counts. Nothing can
be asked of it before, so there is no warm-up; each repeat is a process of its own.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers import figures, plain_arguments, read_rows, sampling
from benchmarks.watch import Watch

#: What vLLM logs when its engine is ready and the batch file is opened.
READY = "Reading batch from"


def batch_line(row: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """One line of the batch file: a chat completion about the row's file."""
    image = Path(row["path"]).suffix == ".jpg"
    kind = "image_url" if image else "audio_url"
    text = {"type": "text", "text": spec["text"]}
    medium = {"type": kind, kind: {"url": f"file://{row['path']}"}}
    body = {
        "model": spec["model"],
        "messages": [{"role": "user", "content": [medium, text] if image else [text, medium]}],
    }
    return {
        "custom_id": row["id"],
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body | sampling(row),
    }


def flags(arguments: dict[str, Any]) -> list[str]:
    """Engine arguments as vLLM's command takes them."""
    found = []
    for key, value in arguments.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{name}" if value else f"--no-{name}")
        else:
            found.append(f"--{name}={value if isinstance(value, str) else json.dumps(value)}")
    return found


def answers(output: str) -> Iterator[dict[str, Any]]:
    """What came of each row, from the lines written. Raises SystemExit on a request that failed."""
    for line in output.splitlines():
        found = json.loads(line)
        if found["error"] is not None or found["response"]["status_code"] != 200:
            raise SystemExit(f"row {found['custom_id']} failed: {found['error']}")
        usage = found["response"]["body"]["usage"]
        yield {
            "id": found["custom_id"],
            "prompt_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
        }


def main(spec: dict[str, Any]) -> None:
    """Write the batch file, run the command over it, print."""
    rows = read_rows(spec)
    with tempfile.TemporaryDirectory() as out:
        batch = Path(out, "batch.jsonl")
        batch.write_text("".join(json.dumps(batch_line(row, spec)) + "\n" for row in rows))
        for number in range(spec["repeats"]):
            line = _run(spec, rows, batch, Path(out, f"r{number}.jsonl"))
            print(json.dumps(line), flush=True)


def _run(
    spec: dict[str, Any], rows: list[dict[str, Any]], batch: Path, output: Path
) -> dict[str, Any]:
    media = str(Path(rows[0]["path"]).parent)
    # For all requests: vLLM 0.32 takes none from a single one unless it is told to trust it.
    budget = {"mm_processor_kwargs": {"images_kwargs": {"max_soft_tokens": spec["image_tokens"]}}}
    arguments = plain_arguments(spec) | (budget if spec["task"] == "caption" else {})
    # A pipe of one page: who writes to it waits until it is read, and so the processes whose CPU
    # seconds are counted are still there when the first result comes. All come at once.
    os.mkfifo(output)
    results = os.open(output, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(results, fcntl.F_SETPIPE_SZ, mmap.PAGESIZE)
    begun = time.time()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "vllm.entrypoints.openai.run_batch", "-i", str(batch),
            "-o", str(output), "--model", spec["model"],
            "--allowed-local-media-path", media,
            # Left to look at the template itself, it takes it for one of plain strings.
            "--chat-template-content-format", "openai", *flags(arguments),
        ],
        env=os.environ
        | {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "INFO"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        if not any(READY in line for line in process.stdout):
            raise SystemExit(f"run-batch ended with {process.wait()} before it could serve")
        start = time.time()
        # Nobody may wait for a reader of the log.
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        with Watch() as watch:
            while not select.select([results], [], [], 0.5)[0]:
                if process.poll() is not None:
                    raise SystemExit(f"run-batch ended with {process.returncode}, without results")
            end = time.time()
        os.set_blocking(results, True)
        with os.fdopen(results) as file:
            found = file.read()
        if process.wait() != 0:
            raise SystemExit(f"run-batch ended with {process.returncode}")
    finally:
        process.kill()
    line = figures(rows, answers(found), start=start, end=end, start_s=start - begun)
    return line | watch.figures(len(rows))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
