"""Plans of manifests as tests make them, and their rows read back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.plan import Plan, PlanReader
from jobs.planner import make_plan
from jobs.tasks.base import Cost, Row
from storage.errors import InvalidManifest
from storage.objects import Store
from tests.unit.fakes import MemoryStore

#: Megabytes that reading a manifest of any length may take, over what imports take. Ten
#: gigabytes of Parquet took 503 alone, and 529 beside other work.
ROOM_MB = 600

# Plans a manifest in a process of its own, and tells what came of it and what it held at most.
_PLAN = """
import json, sys
from pathlib import Path
from storage.errors import InvalidManifest
from storage.objects import open_store
from tests.planning import staged
def most_kib():
    # Not getrusage's: that is at least what the process that started this one held.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = most_kib()
plan, said = None, None
try:
    plan = staged(open_store(sys.argv[2]), sys.argv[1], slots=1).rows
except InvalidManifest as error:
    said = str(error)
held = most_kib() - before
print(json.dumps({"rows": plan, "said": said, "held_mb": held >> 10}))
"""


def staged(store: Store, uri: str | Path, **options: Any) -> Plan:
    """The plan of a manifest, staged in `store`; `options` are those of `make_plan`."""
    usual: dict[str, Any] = {
        "token": "t",
        "costs": Cost(100, 280),
        "slots": 0,
        "seconds_per_token": 1e-4,
        "reserved": frozenset({"row_id", "uri"}),
        "limit": None,
        "sample": None,
        "seed": 0,
    }
    return make_plan(store, str(uri), **usual | options)[0]


def planned(uri: str | Path, store: Store | None = None, **options: Any) -> tuple[Plan, list[Row]]:
    """The plan of a manifest, and its rows as a worker reads them."""
    store = MemoryStore() if store is None else store
    plan = staged(store, uri, **options)
    # As a worker has it: from the job's spec.
    reader = PlanReader(store, Plan.model_validate_json(plan.model_dump_json()))
    return plan, [row for n in range(plan.shards) for row in reader.shard(n).rows]


def plan_apart(uri: Path, out: Path, timeout_s: float) -> dict[str, Any]:
    """The plan of a manifest, by a process whose memory and time are looked at from outside."""
    done = subprocess.run(
        [sys.executable, "-c", _PLAN, str(uri), str(out)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def refusal(uri: Path) -> str:
    """What is said of a manifest that is refused; nothing may be left of it."""
    store = MemoryStore()
    with pytest.raises(InvalidManifest) as caught:
        staged(store, uri)
    assert not list(store.list())
    return str(caught.value)
