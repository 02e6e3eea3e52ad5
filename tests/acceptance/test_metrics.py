"""The command `metrics` on a real Redis, scraped over HTTP as Prometheus does it."""

from __future__ import annotations

import contextlib
import json
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from jobs.progress import write_marker
from jobs.spec import StoredJob
from orchestration.board import RedisBoard
from storage.objects import Store, open_store
from tests import services
from tests.acceptance.commands import Mill
from tests.services import free_port, wait_for
from tests.unit.fakes import footer
from tests.unit.test_metrics import SHARDS, TOKENS, WORKER, put_job


def totals(page: str) -> dict[str, float]:
    """A page read by Prometheus' own parser: the sum of each metric."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


@contextlib.contextmanager
def serving(mill: Mill, port: int) -> Iterator[Callable[[], dict[str, float]]]:
    """The command while it serves; gives how to scrape it. Asked to leave in the end, it leaves."""
    log = mill.folder / "metrics.log"
    process = mill.start(log, "metrics", "--port", str(port))

    def scrape() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            return totals(answer.read().decode())

    try:
        wait_for(f"metrics (see {log})", lambda: services.listens(port), process)
        yield scrape
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def enlist(url: str, store: Store, job: StoredJob) -> None:
    """What a feeder and a worker say on the board."""
    board = RedisBoard(url)
    board.add_job(job.queue, store.uri)
    board.beat(str(WORKER["worker"]), WORKER, ttl_s=600)


def test_a_job_is_followed_and_a_redis_that_is_away_is_told(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    job = put_job(store)
    redis_port = free_port()
    url = f"redis://127.0.0.1:{redis_port}/0"
    mill = Mill(tmp_path, {"MEDIAMILL_BROKER_URL": url, "MEDIAMILL_TIME_SCALE": "0.1"})
    with contextlib.ExitStack() as first:
        first.enter_context(services.redis(tmp_path, port=redis_port))
        enlist(url, store, job)
        with serving(mill, free_port()) as scrape:
            # The first page there is, is whole.
            page = scrape()
            assert page["mediamill_up"] == 1
            assert page["mediamill_waiting_tokens"] == TOKENS
            assert page["mediamill_worker_rows_total"] == WORKER["rows"]
            write_marker(store, footer(0, ok=2))
            left = TOKENS * (SHARDS - 1) / SHARDS
            wait_for("the commit", lambda: scrape()["mediamill_waiting_tokens"] == left)
            first.close()
            wait_for("the loss of Redis", lambda: scrape() == {"mediamill_up": 0})
            with services.redis(tmp_path, port=redis_port):
                wait_for("Redis, empty", lambda: scrape()["mediamill_up"] == 1)
                enlist(url, store, job)
                wait_for("the job", lambda: scrape().get("mediamill_waiting_tokens") == left)
                once = mill.ok("metrics", "--once")
                assert totals(once) == scrape()
                listed = json.loads(mill.ok("metrics", "--json"))
                assert {sample["name"] for sample in listed} == set(totals(once))


def test_queues_are_found_beside_other_keys(redis_url: str) -> None:
    board = RedisBoard(redis_url)
    assert board.queues() == set()
    board.add_job("mediamill.tiny@abc.1-normal", "s3://bucket/one")
    board.add_job("mediamill.tiny@abc.0-high", "s3://bucket/two")
    board.beat("w", WORKER, ttl_s=60)
    assert board.length("mediamill.tiny@abc.1-normal") == 0
    assert board.queues() == {"mediamill.tiny@abc.1-normal", "mediamill.tiny@abc.0-high"}


def test_a_port_that_is_taken_is_an_error(tmp_path: Path, redis_url: str) -> None:
    port = redis_url.rpartition(":")[2].partition("/")[0]
    mill = Mill(tmp_path, {"MEDIAMILL_BROKER_URL": redis_url})
    done = mill.run("metrics", "--host", "127.0.0.1", "--port", port, timeout=60)
    assert done.returncode == 1
    assert "choose another --host or --port" in done.stderr
