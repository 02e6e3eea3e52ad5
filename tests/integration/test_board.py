"""The board on a real Redis that refuses: full, or a replica after a failover."""

from __future__ import annotations

import pytest
import redis

from jobs.spec import StoredJob
from jobs.tempo import Tempo
from orchestration.board import RedisBoard, Standing
from orchestration.feeder import Feeder
from storage.errors import BrokerUnavailable
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import plan_job


def test_a_redis_without_memory_is_unavailable_and_serves_again(redis_url: str) -> None:
    board = RedisBoard(redis_url)
    board.post("job", [1, 2], "course")
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        with pytest.raises(BrokerUnavailable, match=r"refuses .*memory"):
            board.post("job", [3], "course")
        client.config_set("maxmemory", 0)
    board.post("job", [3], "course")
    assert board.queued("job") == {1, 2, 3}


def test_a_replica_is_unavailable_for_writes(redis_url: str) -> None:
    board = RedisBoard(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(BrokerUnavailable, match="refuses"):
            board.add_job("queue", "s3://bucket/out")
        client.replicaof("NO", "ONE")
    board.add_job("queue", "s3://bucket/out")


def test_how_far_feeding_came_only_grows(redis_url: str) -> None:
    board = RedisBoard(redis_url)
    assert board.standing("queue", "job", "plan:0") == Standing(0, 0, None)
    board.post("job", [4, 5, 9], "plan:0")
    board.post("job", [1], "plan:0")
    assert board.standing("queue", "job", "plan:0") == Standing(0, 4, 10)
    assert board.standing("queue", "job", "plan:1") == Standing(0, 4, None)
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("queue", "message")
    board.take("job", 5)
    assert board.standing("queue", "job", "plan:0") == Standing(1, 2, 10), "9, and 1 after it"


def test_rounds_are_one_process_while_it_makes_them(redis_url: str) -> None:
    one, other = RedisBoard(redis_url), RedisBoard(redis_url)
    assert one.turn("job", 60)
    assert one.turn("job", 60)
    assert not other.turn("job", 60)
    assert other.turn("another", 60)
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.pttl("mediamill:feeding:job") <= 60_000
        client.delete("mediamill:feeding:job")  # as when its time is over
    assert other.turn("job", 60)
    assert not one.turn("job", 60)


def test_what_was_posted_just_now_is_not_taken_for_lost(redis_url: str) -> None:
    """Workers that take messages as fast as they come leave the queue empty meanwhile."""
    board = RedisBoard(redis_url)
    published: list[int] = []
    store = MemoryStore()
    job = plan_job(store, [["image:a"]] * 200, sizes=[1] * 200)

    def publish(job: StoredJob, shard: int) -> None:
        published.append(shard)
        if shard == 100:
            # A worker that knows nothing yet makes its first round.
            other = Feeder(board, publish, lambda job: 200, Tempo())
            assert other.round(other.know(store, job))

    feeder = Feeder(board, publish, lambda job: 200, Tempo())
    assert feeder.round(feeder.know(store, job))
    assert sorted(published) == list(range(200)), "each once"
    board.clear(job.job_id)
    assert board.queued(job.job_id) == set()
