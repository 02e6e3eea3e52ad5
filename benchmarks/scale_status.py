"""A job of many shards half way, and how long `status` takes over it. See `scale`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobs.ledger import Ledger
from jobs.marker import Marker, marker_name
from jobs.progress import JobView
from jobs.spec import SPEC_KEY, load_job
from jobs.tempo import Tempo
from storage.dataset import data_key
from storage.objects import open_store
from tests.services import free_port

#: The command, beside the Python that runs this.
_MILL = Path(sys.executable).with_name("mediamill")


def make_progress(out: Path, shards: int, live: int) -> None:
    """Let the job at `out` have `shards` shards, all done but the last `live`, which are worked.

    Data files and markers are made by name alone, since a sync of each would take minutes.
    """
    store = open_store(str(out))
    job = load_job(store)
    plan = job.plan.model_copy(update={"shards": shards, "rows": shards * 100})
    job = job.model_copy(update={"plan": plan})
    store.put(SPEC_KEY, job.model_dump_json().encode())
    done = out / "_job/done/0"
    for folder in (done, out / "data"):
        folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards - live):
        (done / marker_name(Marker(shard, 97, 2, 1, {"repetition": 3}))).touch()
        (out / data_key(shard)).touch()
    ledger = Ledger(store, Tempo())
    for shard in range(shards - live, shards):
        attempt = ledger.claim(shard, 0, 0, "worker")
        if attempt is not None:
            attempt.checkpoint([])


def status_figures(out: Path) -> dict[str, Any]:
    """What `status` says of the job at `out`, and seconds: of the command, of reading storage.

    `cpu_s` are those of the command's CPU, which tell a slow program from a busy machine.
    """
    # No Redis: `status` says so, and what storage tells.
    broker = {"MEDIAMILL_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"}
    start, used = time.perf_counter(), _children_cpu()
    done = subprocess.run(
        [_MILL, "status", str(out), "--json"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **broker},
    )
    command_s, cpu_s = time.perf_counter() - start, _children_cpu() - used
    store = open_store(str(out))
    start = time.perf_counter()
    view = JobView(store, load_job(store), Tempo())
    view.refresh()
    view.status()
    return {
        "status": json.loads(done.stdout),
        "command_s": command_s,
        "cpu_s": cpu_s,
        "storage_s": time.perf_counter() - start,
    }


def _children_cpu() -> float:
    used = os.times()
    return used.children_user + used.children_system
