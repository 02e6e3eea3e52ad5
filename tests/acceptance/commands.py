"""The real command in subprocesses, and sample media that carry their identity."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests import media
from tests.services import wait_for

MILL = Path(sys.executable).with_name("mediamill")


@dataclass
class Worker:
    """A `mediamill worker` under way."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def name(self) -> str:
        """The worker's name on records, once it is ready."""
        return self.log.read_text().split("worker=")[1].split()[0]

    def ready(self) -> bool:
        """Whether it says that it serves."""
        return "serving" in self.log.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


@dataclass
class Mill:
    """The command with an environment of its own."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            [MILL, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ok(self, *arguments: str | Path, timeout: float = 240) -> str:
        """Run the command, which must succeed; what it printed."""
        done = self.run(*arguments, timeout=timeout)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str | Path, timeout: float = 240) -> Any:
        """Run the command with --json; the document it printed."""
        return json.loads(self.ok(*arguments, "--json", timeout=timeout))

    def done(self, manifest: str | Path, *arguments: str | Path, out: str | Path) -> Any:
        """Submit a job to the workers that serve, and wait for it; its status."""
        self.ok("submit", manifest, *arguments, "--out", out)
        return self.json("wait", out)

    def start(self, log: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start the command in the background, its output in `log`."""
        with log.open("wb") as output:
            return subprocess.Popen(
                [MILL, *map(str, arguments)],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @contextlib.contextmanager
    def workers(self, count: int, *arguments: str) -> Iterator[list[Worker]]:
        """So many workers with these arguments, ready to work."""
        started = []
        try:
            for number in range(count):
                log = self.folder / f"worker-{number}.log"
                process = self.start(
                    log, "worker", "--log-level", "INFO", "--decoders", "1", *arguments
                )
                started.append(Worker(process, log))
            for worker in started:
                wait_for(f"worker (see {worker.log})", worker.ready, worker.process)
            yield started
        finally:
            for worker in started:
                worker.process.kill()
                worker.process.wait()


@dataclass(frozen=True)
class Medium:
    """A file of its own content; `kind` is what mediamill must find."""

    path: Path
    kind: str
    size: int
    sha256: str
    width: int | None


def make_media(folder: Path, images: int, videos: int, sounds: int) -> list[Medium]:
    """Files that differ in size and content, so that each can be told by its record."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    random = np.random.default_rng(7)
    for number in range(images):
        path = folder / f"image-{number}.{'png' if number % 2 else 'jpg'}"
        width = 48 + number % 37
        pixels = random.integers(0, 256, (48, width, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        made.append(_medium(path, "image", width))
    for number in range(videos):
        path = folder / f"video-{number}.mp4"
        width = 64 + 16 * (number % 5)
        media.write_video(
            path,
            media.evenly(25 + number, 25),
            lambda frame, n=number, w=width: media.grey(frame + n, w),
        )
        made.append(_medium(path, "video", width))
    for number in range(sounds):
        path = folder / f"sound-{number}.wav"
        media.write_sound(path, media.tone(0.3 + number / 100, 300 + number))
        made.append(_medium(path, "audio", None))
    return made


def _medium(path: Path, kind: str, width: int | None) -> Medium:
    data = path.read_bytes()
    return Medium(path, kind, len(data), hashlib.sha256(data).hexdigest(), width)


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSONL manifest."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
