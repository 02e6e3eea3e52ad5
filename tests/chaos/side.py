"""Small jobs beside the one under way: for commands that are killed half way, and full disks."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from jobs.selection import Selection
from jobs.spec import JobSpec, make_spec
from orchestration.client import Client
from orchestration.settings import load_settings
from storage.errors import BrokerUnavailable, JobConflict, NoSuchJob
from storage.objects import open_store
from tests.chaos.seen import Wrong, records

#: Rows of such a job; the last has no medium.
_ROWS = 40
#: Seconds after which whoever waits for the job would submit it again.
_STILL_S = 20.0
#: Seconds after which a command is killed, at most.
_HALF_S = 2.5
#: Seconds that a command may take which is to be refused.
_REFUSAL_S = 60.0


class SideJob:
    """A `Side` (tests.chaos.faults). `large` is the URI of a medium that it shall have, too."""

    def __init__(
        self,
        folder: Path,
        name: str,
        out: str,
        url: str,
        scale: float,
        draw: random.Random,
        large: str | None,
    ) -> None:
        self.out = out
        self._draw = draw
        self._url = url
        self._client = Client(load_settings(broker_url=url, time_scale=scale))
        self.key = f"{name}/*"
        self._manifest = folder / "media" / f"{name}.jsonl"
        rows = (folder / "media" / "harmless.jsonl").read_text().splitlines()[: _ROWS - 1]
        if large is not None:
            rows[-1] = json.dumps({"id": "large", "uri": large})
        rows.append(json.dumps({"id": "none", "uri": "none.png"}))
        self._manifest.write_text("\n".join(rows))
        self._submitted_at = 0.0
        self._options: dict[str, object] = {}

    def half(self, *command: str) -> None:
        """See Side."""
        process = self._command(*command)
        time.sleep(self._draw.uniform(0.5, _HALF_S))
        process.kill()
        process.wait()

    def refused(self, endpoint: str) -> bool:
        """See Side."""
        process = self._command("submit", AWS_ENDPOINT_URL=endpoint)
        return process.wait(_REFUSAL_S) == 1 and not list(open_store(self.out).list(""))

    def submit(self, **options: object) -> None:
        """See Side."""
        self._submitted_at = time.monotonic()
        try:
            self._client.submit(self._spec(options or self._options))
        except BrokerUnavailable:  # the job is there all the same, or will be: see `done`
            return

    def compete(self) -> None:
        """See Side."""
        refused: list[JobConflict] = []
        faults: list[BaseException] = []

        def submit(spec: JobSpec) -> None:
            try:
                Client(self._client.settings).submit(spec)
            except JobConflict as error:
                refused.append(error)
            except BrokerUnavailable:
                pass
            except BaseException as error:
                faults.append(error)

        specs = [self._spec({}), self._spec({}), self._spec({"prompt": "What else?"})]
        self._draw.shuffle(specs)
        threads = [threading.Thread(target=submit, args=(spec,)) for spec in specs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._submitted_at = time.monotonic()
        if faults:
            raise faults[0]
        try:
            self.submit()
        except JobConflict:
            self._options = {"prompt": "What else?"}
            self.submit()
        # Without Redis a submitter gives up before it comes to the place.
        if len(refused) > 2:
            raise Wrong(f"{self.out}: all of its submitters were refused")

    def retry(self) -> None:
        """See Side."""
        try:
            self._client.retry(self.out, Selection(), {})
        except BrokerUnavailable:  # what is wanted is written all the same
            return

    def done(self) -> bool:
        """See Side."""
        try:
            done = self._client.look(self.out).status.state == "done"
        except NoSuchJob:  # Redis was away when it was submitted
            done = False
        if not done and time.monotonic() - self._submitted_at > _STILL_S:
            # Redis may have been wiped before any worker knew of the job.
            self.submit()
        return done

    def check(self) -> None:
        """Every row has its record. Raises Wrong."""
        found = records(self.out)
        failed = {row: record["error"] for row, record in found.items() if record["error"]}
        # Its medium is asked for past the faults of its store, which may be away or refuse it.
        refused = failed.get("large", {}).get("kind") in ("unavailable", "forbidden")
        if len(found) != _ROWS or failed.keys() != {"none", *(["large"] if refused else [])}:
            raise Wrong(f"{self.out}: {len(found)} of {_ROWS} rows, failed: {failed}")

    def _spec(self, options: dict[str, object]) -> JobSpec:
        fields = {"manifest": str(self._manifest), "model": "tiny", "task": "caption"}
        return make_spec({**fields, "out": self.out, "options": options})

    def _command(self, name: str, **environment: str) -> subprocess.Popen[bytes]:
        arguments = [name, self.out]
        if name == "submit":
            arguments = [name, str(self._manifest), "--task", "caption", "--out", self.out]
        program = "from orchestration.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments, "--broker-url", self._url],
            env={**os.environ, "MEDIAMILL_MODEL": "tiny", **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
