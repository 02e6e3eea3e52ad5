"""The job under way, one after the other, and what is looked at once it has ended."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.spec import StoredJob, make_spec
from orchestration.client import Client
from orchestration.look import open_place
from orchestration.settings import load_settings
from storage.errors import BrokerUnavailable
from tests.chaos.fleet import Fleet
from tests.chaos.seen import Wrong, records
from tests.services import create_bucket

#: Seconds between two looks at the job: each lists all that it holds.
_LOOK_S = 1.5
#: Seconds without a commit after which whoever runs the job would submit it again.
_STILL_S = 10.0


@dataclass
class Report:
    """What was made and seen. `missed` are faults that found nobody at their step, and `mixed`
    those begun while another was under way."""

    made: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    rows: int = 0
    quarantined: int = 0
    again: int = 0
    mixed: int = 0
    seconds: float = 0.0


def new_place(name: str) -> str:
    """A place in a new bucket of this name: the server under test lists one by all it holds."""
    return f"{create_bucket(name)}/out"


class Runs:
    """The job under way; when it has ended it is looked at, and another begun."""

    def __init__(self, made: Fleet, url: str, scale: float, report: Report, *, said: bool) -> None:
        self._fleet = made
        self._client = Client(load_settings(broker_url=url, time_scale=scale))
        self._report = report
        self._said = said
        self._expected: dict[str, dict[str, Any]] | None = None
        self._poison: set[str] = set()
        self._job: StoredJob | None = None
        self._committed = 0
        self._moved_at = 0.0
        self._look_at = 0.0
        self._done = False
        #: No other job is begun once this one has ended.
        self.over = False

    def begin(self, manifest: Path) -> StoredJob:
        """Submit the next job."""
        out = new_place(f"job-{self._report.jobs}")
        self._report.jobs += 1
        fields: dict[str, Any] = {"manifest": str(manifest), "model": "tiny", "task": "caption"}
        if not self._said:
            fields["options"] = {"image_tokens": 70, "max_tokens": 24}
        self._spec = make_spec({**fields, "out": out})
        self._submit(submitters=1 + self._report.jobs % 2)
        self._job = open_place(out)[1]
        self._committed, self._moved_at, self._done = 0, time.monotonic(), False
        return self._job

    def current(self) -> StoredJob:
        """The job under way."""
        if self._job is None:
            raise RuntimeError("nothing was begun")
        return self._job

    def expect(self, records: dict[str, dict[str, Any]], poison: set[str]) -> None:
        """From now on jobs are to give these records, and to quarantine these rows."""
        self._expected, self._poison = records, poison

    def ended(self) -> bool:
        """Whether the job under way is done."""
        return self._done

    def tend(self) -> None:
        """One look: workers that ended come back, an ended job is checked and another begun."""
        self._fleet.tend()
        time.sleep(0.05)
        if self._done or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_S
        job = self.current()
        look = self._client.look(job.spec.out)
        status = look.status
        self._done = status.state == "done"
        if self._done:
            if self._expected is not None:
                self.check()
                if not self.over:
                    self.begin(Path(job.spec.manifest))
            return
        if status.given_up:
            # An operator would: a refusal that came five times is over now.
            self._client.want(job.spec.out, "run")
        if status.shards["done"] != self._committed:
            self._committed, self._moved_at = status.shards["done"], time.monotonic()
        if time.monotonic() - self._moved_at > _STILL_S:
            self._report.again += 1
            self._moved_at = time.monotonic()
            self._submit(submitters=1)

    def check(self) -> None:
        """The job's records are those that it would have without faults."""
        if self._expected is None or not self._done:
            return
        found = self.records(self.current().spec.out)
        self._report.rows += len(found)
        told = self._client.look(self.current().spec.out).status.rows
        seen = Counter(record["status"] for record in found.values())
        if any(told[status] != seen[status] for status in ("ok", "error", "quarantined")):
            raise Wrong(f"status says {told}, there are {dict(seen)}")
        promised = self._expected.keys() | self._poison
        if found.keys() != promised:
            raise Wrong(f"rows: {sorted(found.keys() ^ promised)}")
        out = {row for row, record in found.items() if record["status"] == "quarantined"}
        self._report.quarantined += len(out)
        if out != self._poison:
            odd = {row: (found[row]["status"], found[row]["error"]) for row in out ^ self._poison}
            raise Wrong(f"quarantined, or poison, and not both: {odd}")
        other = [row for row in found if row not in out and found[row] != self._expected[row]]
        if other:
            row = other[0]
            raise Wrong(f"{len(other)} rows differ: {found[row]} for {self._expected[row]}")

    def records(self, out: str) -> dict[str, dict[str, Any]]:
        """What is compared of a job's records."""
        found = records(out)
        if not self._said:
            kept = ("row_id", "status", "error", "media")
            found = {row: {name: record[name] for name in kept} for row, record in found.items()}
        return found

    def _submit(self, submitters: int) -> None:
        faults: list[BaseException] = []

        def submit() -> None:
            try:
                self._client.submit(self._spec)
            except BrokerUnavailable:
                pass  # the job is there all the same
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=submit) for _ in range(submitters)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]
