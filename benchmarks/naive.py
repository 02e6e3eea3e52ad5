"""Celery and vLLM as people write it in an afternoon: a task a shard, everything inside it.

    python -m benchmarks.naive SPEC.json

SPEC is that of `benchmarks.raw`. One worker process on a real Redis; a task gets 32 rows, opens and
decodes their files, calls `LLM.generate` with vLLM's default arguments, waits, and writes a
Parquet file. The clock runs from the first task sent until the last one's result is there. The
worker is Celery's solo pool: children of prefork may not start the engine's processes.

Where SPEC has `raw`, the same engine is first measured as `benchmarks.raw` does it, which saves
another start of it; these lines have `side`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from celery import Celery, exceptions, group

from benchmarks import raw
from benchmarks.engine import decode, request
from benchmarks.peers import WARM, figures, plain_arguments, read_rows, sampling
from benchmarks.watch import Watch
from tests.services import ending, redis

#: Rows of a task.
SHARD = 32
#: How long a worker may take to load its model, and a job to end, in seconds.
_LOAD_S, _JOB_S = 560.0, 3600.0
#: Seconds between two looks at whether the worker lives while its result is awaited.
_LOOK_S = 60.0


class Annotator:
    """The model of a worker process, loaded when the first task asks for it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._llm: Any = None

    @property
    def llm(self) -> Any:
        """vLLM's `LLM`."""
        if self._llm is None:
            from vllm import LLM

            self._llm = LLM(model=self._spec["model"], **plain_arguments(self._spec))
            raw.mend_sounds(self._llm)
        return self._llm

    def alone(self, started: float) -> list[dict[str, Any]]:
        """What the engine does without Celery, everything decoded before: a line a repeat."""
        return list(raw.measure(self.llm, read_rows(self._spec), self._spec, started))

    def forget(self) -> None:
        """Empty the engine's caches, so that no repeat meets what an earlier one left."""
        self.llm.reset_prefix_cache()
        self.llm.llm_engine.reset_mm_cache()

    def annotate(self, rows: list[dict[str, Any]], out: str) -> int:
        """Answer these rows and write them to a Parquet file; returns how many there are."""
        from vllm import SamplingParams

        tokenizer = self.llm.get_tokenizer()
        text, budget = self._spec["text"], self._spec["image_tokens"]
        asked = [request(tokenizer, decode(Path(row["path"])), text, budget) for row in rows]
        params = [SamplingParams(**sampling(row)) for row in rows]
        outputs = self.llm.generate(asked, params, use_tqdm=False)
        answers = [
            {
                "id": row["id"],
                "uri": row["uri"],
                "text": output.outputs[0].text,
                "prompt_tokens": len(output.prompt_token_ids),
                "output_tokens": len(output.outputs[0].token_ids),
                "finished_at": time.time(),
            }
            for row, output in zip(rows, outputs, strict=True)
        ]
        pq.write_table(pa.Table.from_pylist(answers), out)
        return len(answers)


def make_app(url: str, annotator: Annotator) -> Celery:
    """The Celery app with its tasks, on the Redis at `url`."""
    app = Celery("naive", broker=url, backend=url)
    app.conf.broker_connection_retry_on_startup = True
    # What an engine prints to is to be a file.
    app.conf.worker_redirect_stdouts = False

    @app.task(name="forget")
    def forget() -> None:
        annotator.forget()

    @app.task(name="alone")
    def alone(started: float) -> list[dict[str, Any]]:
        return annotator.alone(started)

    @app.task(name="annotate")
    def annotate(rows: list[dict[str, Any]], out: str) -> int:
        return annotator.annotate(rows, out)

    return app


@contextlib.contextmanager
def worker(path: str, url: str) -> Iterator[Callable[[Any, float], Any]]:
    """A worker process for the spec at `path`; yields what waits for a task's result in it."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.naive", path, url])

    def result(asked: Any, within_s: float) -> Any:
        until = time.monotonic() + within_s
        while True:
            try:
                return asked.get(timeout=_LOOK_S)
            except exceptions.TimeoutError:
                if process.poll() is not None or time.monotonic() > until:
                    raise

    with ending(process, 60):
        yield result


def main(path: str) -> None:
    """Start, warm up, measure, print."""
    spec = json.loads(Path(path).read_text())
    rows = read_rows(spec)
    with tempfile.TemporaryDirectory() as out, redis(Path(out)) as url:
        app = make_app(url, Annotator(spec))
        forget, annotate = app.tasks["forget"], app.tasks["annotate"]
        begun = time.perf_counter()
        with worker(path, url) as result:
            result(forget.delay(), _LOAD_S)
            started = time.perf_counter() - begun
            if spec.get("raw"):
                for line in result(app.tasks["alone"].delay(started), _JOB_S):
                    print(json.dumps(line | {"side": "raw"}), flush=True)
            result(annotate.delay(rows[:WARM], f"{out}/warm.parquet"), _JOB_S)
            for number in range(spec["repeats"]):
                result(forget.delay(), _JOB_S)
                place = Path(out, f"r{number}")
                place.mkdir()
                tasks = group(
                    annotate.s(rows[first : first + SHARD], str(place / f"{first:08}.parquet"))
                    for first in range(0, len(rows), SHARD)
                )
                with Watch() as watch:
                    start = time.time()
                    result(tasks.apply_async(), _JOB_S)
                    end = time.time()
                line = figures(
                    rows, pq.read_table(place).to_pylist(), start=start, end=end, start_s=started
                )
                line |= watch.figures(len(rows)) | {"side": "naive"}
                print(json.dumps(line), flush=True)


def serve(path: str, url: str) -> None:
    """Be the worker process."""
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    app = make_app(url, Annotator(json.loads(Path(path).read_text())))
    app.worker_main(["worker", "--pool", "solo", "--loglevel", "WARNING"])


if __name__ == "__main__":
    main(sys.argv[1]) if len(sys.argv) == 2 else serve(sys.argv[1], sys.argv[2])
