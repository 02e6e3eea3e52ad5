"""Small jobs beside the one under way, for commands that are killed half way."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from jobs.selection import Selection
from jobs.spec import make_spec
from orchestration.client import Client
from orchestration.settings import load_settings
from tests.chaos.seen import Wrong, records

#: Rows of such a job; the last has no medium.
_ROWS = 40
#: Seconds after which whoever waits for the job would submit it again.
_STILL_S = 20.0
#: Seconds after which a command is killed, at most.
_HALF_S = 2.5


class SideJob:
    """A `Side` (tests.chaos.faults)."""

    def __init__(self, folder: Path, out: str, url: str, scale: float, draw: random.Random) -> None:
        self.out = out
        self._draw = draw
        self._url = url
        self._client = Client(load_settings(broker_url=url, time_scale=scale))
        self._manifest = folder / "media" / f"{out.rpartition('/')[2]}.jsonl"
        harmless = (folder / "media" / "harmless.jsonl").read_text().splitlines()
        missing = json.dumps({"id": "none", "uri": "none.png"})
        self._manifest.write_text("\n".join([*harmless[: _ROWS - 1], missing]))
        self._submitted_at = 0.0

    def half(self, *command: str) -> None:
        """See Side."""
        arguments = [command[0], self.out]
        if command[0] == "submit":
            arguments = ["submit", str(self._manifest), "--task", "caption", "--out", self.out]
        program = "from orchestration.cli import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments, "--broker-url", self._url],
            env={**os.environ, "MEDIAMILL_MODEL": "tiny"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(self._draw.uniform(0.5, _HALF_S))
        process.kill()
        process.wait()

    def submit(self, **options: object) -> None:
        """See Side."""
        self._submitted_at = time.monotonic()
        fields = {"manifest": str(self._manifest), "model": "tiny", "task": "caption"}
        self._client.submit(make_spec({**fields, "out": self.out, "options": options}))

    def retry(self) -> None:
        """See Side."""
        self._client.retry(self.out, Selection(), {})

    def done(self) -> bool:
        """See Side."""
        done = self._client.look(self.out).status.state == "done"
        if not done and time.monotonic() - self._submitted_at > _STILL_S:
            # Redis may have been wiped before any worker knew of the job.
            self.submit()
        return done

    def check(self) -> None:
        """Every row has its record. Raises Wrong."""
        found = records(self.out)
        failed = [row for row, record in found.items() if record["status"] != "ok"]
        if len(found) != _ROWS or failed != ["none"]:
            raise Wrong(f"{self.out}: {len(found)} of {_ROWS} rows, failed: {failed}")
