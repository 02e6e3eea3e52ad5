"""The whole of `benchmarks.scale` at a small size, over a real Redis and an S3 server."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from redis import Redis

from benchmarks import scale
from benchmarks.scale_redis import redis_figures
from jobs.tempo import Tempo
from orchestration.app import make_app, make_publisher
from orchestration.board import RedisBoard
from orchestration.consumer import Consumer
from storage.objects import open_store
from tests.services import wait_for
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import plan_job
from workers.outcome import Outcome

if TYPE_CHECKING:
    from orchestration.runtime import Runtime

ROWS, SHARDS = 5_000, 80


class Holds:
    """A runtime whose deliveries tell when they begin, and end when they may."""

    def __init__(self) -> None:
        self.begun: queue.Queue[int] = queue.Queue()
        self.may_end = threading.Semaphore(0)

    def deliver(self, out: str, shard: int, tag: str) -> Outcome:
        self.begun.put(shard)
        self.may_end.acquire()
        return Outcome.COMMITTED


@pytest.mark.full
def test_every_figure_is_there_and_means_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "SLOTS", (4, 30))
    figures = scale.run(ROWS, SHARDS)
    local, s3 = figures["submit"]["local"], figures["submit"]["s3"]
    assert (local["rows"], s3["rows"], local["requests"]) == (ROWS, ROWS, {})
    # The plan's files, the spec, and what proves that the store decides conditions.
    assert s3["requests"]["put_object"] == s3["files"] + 1 + 5
    few, many = figures["redis"][4], figures["redis"][30]
    assert (few["waiting"], few["held"]) == (16, 4)
    assert (many["waiting"], many["held"]) == (30, 30)
    for found in (few, many):
        messages = found["waiting"] + found["held"]
        assert found["keys"] > messages * found["message"]
    assert figures["status"]["status"]["shards"]["live"] == SHARDS // 2
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0].split(",")[0] for line in printed] == [
        "submit",
        "submit",
        "redis",
        "redis",
        "status",
    ]


def test_a_job_with_500_open_slots_takes_less_than_a_megabyte_of_redis(redis_url: str) -> None:
    job = plan_job(MemoryStore(), [["image:a"]])
    figures = redis_figures(redis_url, job, 500)
    assert figures["message"] < 500, "what a worker reads, and no more"
    assert figures["keys"] < 1_000_000


def test_a_worker_has_more_in_hand_while_it_is_allowed_to(redis_url: str, tmp_path: Path) -> None:
    job = plan_job(open_store(str(tmp_path / "out")), [["image:a"]] * 12)
    app = make_app(redis_url, Tempo(0.05))
    holds = Holds()
    begun, may_end = holds.begun, holds.may_end
    app.runtime = cast("Runtime", holds)
    publish = make_publisher(app)
    for shard in range(12):
        publish(job, shard)
    waiting = RedisBoard(redis_url).length
    consumer = Consumer(app, [job.queue], 2, "mediamill@holds", most=6)
    thread = consumer.start()
    try:
        assert {begun.get(timeout=60) for _ in range(2)} == {0, 1}
        assert waiting(job.queue) == 10, "as many as it has threads for, in a queue of its own"
        consumer.allow(5)
        assert {begun.get(timeout=60) for _ in range(3)} == {2, 3, 4}
        assert waiting(job.queue) == 7
        consumer.allow(2)
        may_end.release(4)
        assert begun.get(timeout=60) == 5
        assert waiting(job.queue) == 6, "two in hand again"
    finally:
        may_end.release(12)
        consumer.stop()
        thread.join(60)


# Celery's advice to end what is under way; that is on record, and goes on.
@pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")
def test_a_worker_outlives_a_redis_that_takes_no_writes(redis_url: str, tmp_path: Path) -> None:
    job = plan_job(open_store(str(tmp_path / "out")), [["image:a"]] * 12)
    app = make_app(redis_url, Tempo(0.05))
    holds = Holds()
    begun, may_end = holds.begun, holds.may_end
    app.runtime = cast("Runtime", holds)
    publish = make_publisher(app)
    for shard in (0, 1):
        publish(job, shard)
    # With one slot: were it taken for ever by what could not be acknowledged, nothing would come.
    consumer = Consumer(app, [job.queue], 1, "mediamill@outlives")
    thread = consumer.start()
    client = Redis.from_url(redis_url)

    def refused() -> int:
        return int(client.info("errorstats").get("errorstat_OOM", {"count": 0})["count"])

    try:
        assert begun.get(timeout=60) == 0
        client.config_set("maxmemory", 1)
        before, connections = refused(), client.info("clients")["connected_clients"]
        # Its end cannot be told, and what comes next cannot be noted: that ends the connection,
        # and each one after it, of which nothing stays open.
        may_end.release()
        wait_for("refusals", lambda: refused() > before + 8)
        assert client.info("clients")["connected_clients"] <= connections + 3
        client.config_set("maxmemory", 0)
        publish(job, 2)
        while begun.get(timeout=60) != 2:  # the others may come again
            may_end.release()
        assert thread.is_alive()
    finally:
        may_end.release(12)
        consumer.stop()
        thread.join(60)
        client.close()


def test_a_worker_reads_what_is_published(redis_url: str, tmp_path: Path) -> None:
    # A place that messages may name.
    job = plan_job(open_store(str(tmp_path / "out")), [["image:a"]] * 3)
    app = make_app(redis_url, Tempo(0.05))
    came: queue.Queue[tuple[str, int]] = queue.Queue()

    class Reads:
        def deliver(self, out: str, shard: int, tag: str) -> Outcome:
            came.put((out, shard))
            return Outcome.COMMITTED

    app.runtime = cast("Runtime", Reads())
    publish = make_publisher(app)
    for shard in range(3):
        publish(job, shard)
    consumer = Consumer(app, [job.queue], 2, "mediamill@reads")
    thread = consumer.start()
    try:
        assert {came.get(timeout=60) for _ in range(3)} == {(job.spec.out, n) for n in range(3)}
    finally:
        consumer.stop()
        thread.join(60)
