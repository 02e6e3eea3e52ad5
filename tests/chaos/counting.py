"""A job on workers whose engines count: what is asked, answered, enqueued and lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import redis
from PIL import Image

from jobs.spec import make_spec
from jobs.submit import Submitted
from orchestration.client import Client
from orchestration.settings import load_settings
from storage.dataset import read_shard
from storage.objects import open_store
from tests.chaos.counted import Told, set_pace, told

#: First pixel of a picture that is answered at the engine's own pace.
PLAIN = (1, 0, 0)
#: Seconds that anything may take that is waited for and does come.
_PATIENCE_S = 600.0


def until(what: str, ready: Callable[[], bool]) -> None:
    """Return once `ready()` holds."""
    deadline = time.monotonic() + _PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {_PATIENCE_S:.0f} s"
        time.sleep(0.05)


@dataclass
class Shop:
    """Workers of one Redis, at a scale of the protocol's times, and the jobs for them."""

    folder: Path
    broker_url: str
    scale: float
    environment: dict[str, str] = field(default_factory=dict)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = Client(load_settings(broker_url=self.broker_url, time_scale=self.scale))
        self.pace(0.0)

    def pace(self, seconds: float) -> None:
        """See `set_pace`."""
        set_pace(self.folder, seconds)

    def start(self, slots: int) -> subprocess.Popen[bytes]:
        """A worker that serves."""
        log = self.folder / f"worker-{len(self._started)}.log"
        command = [sys.executable, "-m", "tests.chaos.counted", str(self.folder)]
        command += ["worker", "--model", "tiny", "--decoders", "1", "--slots", str(slots)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env={
                    **os.environ,
                    **self.environment,
                    "MEDIAMILL_BROKER_URL": self.broker_url,
                    "MEDIAMILL_LOCAL_ROOTS": str(self.folder),
                    "MEDIAMILL_TIME_SCALE": str(self.scale),
                    "MEDIAMILL_LOG_LEVEL": "INFO",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._started.append(process)
        until("a worker", lambda: process.poll() is not None or "serving" in _text(log))
        assert "serving" in _text(log), f"a worker ended with {process.returncode}, see {log}"
        return process

    def take_away(self, process: subprocess.Popen[bytes]) -> float:
        """SIGKILL for every process of the worker, as if its machine had gone; when."""
        parent = psutil.Process(process.pid)
        # Stopped first, so that none of them sees another die.
        family = [parent, *parent.children(recursive=True)]
        for each in family:
            each.send_signal(signal.SIGSTOP)
        at = time.monotonic()
        for each in family:
            each.send_signal(signal.SIGKILL)
        process.wait()
        return at

    def close(self) -> None:
        """End all workers."""
        for process in self._started:
            if process.poll() is None:
                self.take_away(process)

    def submit(self, manifest: Path, task: str, out: str) -> Submitted:
        """Submit a job."""
        fields = {"manifest": str(manifest), "model": "tiny", "task": task, "out": out}
        return self.client.submit(make_spec(fields))

    def done(self, out: str) -> bool:
        """Whether the job is."""
        return self.client.look(out).status.state == "done"

    def told(self) -> list[Told]:
        """What all engines told."""
        return list(told(self.folder))

    def waiting(self, queue: str) -> list[tuple[str, int]]:
        """Shards, by place, whose messages wait in a queue."""
        with self.redis() as client:
            return sorted(_shard_in(message) for message in client.lrange(queue, 0, -1))

    @contextlib.contextmanager
    def enqueued(self) -> Iterator[list[tuple[str, int]]]:
        """Every shard for which a message is sent while the block runs; whole after it."""
        found: list[tuple[str, int]] = []
        listening, over = threading.Event(), secrets.token_hex(8)

        def listen() -> None:
            with self.redis() as client, client.monitor() as monitor:
                listening.set()
                for said in monitor.listen():
                    if over in said["command"]:
                        return
                    name, _, rest = said["command"].partition(" ")
                    if name.upper() == "LPUSH":
                        found.append(_shard_in(rest))

        thread = threading.Thread(target=listen)
        thread.start()
        listening.wait(_PATIENCE_S)
        yield found
        with self.redis() as client:
            client.echo(over)
        thread.join(_PATIENCE_S)

    @contextlib.contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        """Redis itself."""
        client = redis.Redis.from_url(self.broker_url, decode_responses=True)
        try:
            yield client
        finally:
            client.close()


#: Opens a shop at a scale of the protocol's times.
AtScale = Callable[[float], Shop]


def _shard_in(message: str) -> tuple[str, int]:
    # JSON in JSON, and MONITOR has its own mind about what is quoted, and how often.
    found = re.search(r'\[\[[\\"]*([^"\\]+)[\\"]*, *(\d+)\]', message)
    assert found is not None, message
    return found[1], int(found[2])


def committed(out: str) -> set[int]:
    """Shards of the job that have their file."""
    return {int(Path(found.key).stem) for found in open_store(out).list("data/")}


def ids_of(out: str, shard: int) -> list[str]:
    """Ids of a committed shard's rows, in their order."""
    ids: list[str] = read_shard(open_store(out), shard)[0].column("row_id").to_pylist()
    return ids


def deaths(out: str) -> Counter[tuple[int, int]]:
    """How many deaths were told of each row (shard and place) that was in hand."""
    store = open_store(out)
    return Counter(
        (int(found.key.split("/")[3]), place)
        for found in store.list("_job/attempts/")
        if found.key.endswith(".died.json")
        for place in json.loads(store.get(found.key))["rows"]
    )


def pictures(folder: Path, pixels: list[tuple[int, int, int]]) -> Path:
    """The manifest of so many small pictures, each another, with these first pixels."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(5)
    lines = []
    for place, pixel in enumerate(pixels):
        picture = draw.integers(0, 200, (24, 32, 3), np.uint8)
        picture[0, 0] = pixel
        Image.fromarray(picture).save(folder / f"{place:04}.png")
        lines.append(json.dumps({"id": f"r{place:04}", "uri": f"{place:04}.png"}))
    manifest = folder / "rows.jsonl"
    manifest.write_text("\n".join(lines))
    return manifest


def _text(path: Path) -> str:
    return path.read_text(errors="replace")
