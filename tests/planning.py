"""Plans of manifests as tests make them, and their rows read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.plan import Plan, PlanReader
from jobs.planner import make_plan
from jobs.tasks.base import Cost, Row
from storage.objects import Store
from tests.unit.fakes import MemoryStore


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
