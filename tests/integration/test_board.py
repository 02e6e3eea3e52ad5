"""The board on a real Redis that refuses: full, or a replica after a failover."""

from __future__ import annotations

import pytest
import redis

from orchestration.board import RedisBoard
from storage.errors import BrokerUnavailable


def test_a_redis_without_memory_is_unavailable_and_serves_again(redis_url: str) -> None:
    board = RedisBoard(redis_url)
    board.post("job", [1, 2])
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        with pytest.raises(BrokerUnavailable, match=r"refuses .*memory"):
            board.post("job", [3])
        client.config_set("maxmemory", 0)
    board.post("job", [3])
    assert board.queued("job") == {1, 2, 3}


def test_a_replica_is_unavailable_for_writes(redis_url: str) -> None:
    board = RedisBoard(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(BrokerUnavailable, match="refuses"):
            board.add_job("queue", "s3://bucket/out")
        client.replicaof("NO", "ONE")
    board.add_job("queue", "s3://bucket/out")
