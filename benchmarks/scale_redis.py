"""What a job takes of Redis when all its slots are taken and its window is full. See `scale`."""

from __future__ import annotations

import tempfile
from typing import Any

import redis

from jobs.spec import StoredJob
from jobs.tempo import Tempo
from orchestration.app import make_app, make_publisher
from orchestration.board import RedisBoard
from orchestration.feeder import Feeder
from storage.objects import open_store

#: A place and a model with names as long as people's are: both stand in every message.
_OUT = "s3://company-annotations/nightly/2026-11-24/transcripts"
_MODEL, _REVISION = "google/gemma-4-E2B-it", "5de4a4d2c1b35de4a4d2c1b35de4a4d2c1b35de4"


def redis_figures(url: str, job: StoredJob, slots: int) -> dict[str, int]:
    """Bytes of Redis that a job takes with so many open slots, all taken and the window full.

    `url` is of a server for this alone: it is emptied.
    """
    spec = job.spec.model_copy(update={"out": _OUT})
    model = job.model.model_copy(update={"name": _MODEL, "revision": _REVISION})
    plan = job.plan.model_copy(update={"shards": 4 * slots + 64})
    job = job.model_copy(update={"spec": spec, "model": model, "plan": plan})
    board, app = RedisBoard(url), make_app(url, Tempo())
    with (
        tempfile.TemporaryDirectory() as empty,
        redis.Redis.from_url(url) as client,
        app.connection_for_read() as connection,
    ):
        feeder = Feeder(board, make_publisher(app), lambda _: slots, Tempo())
        channel: Any = connection.default_channel
        # What connections hold is no part of a job: all are used once before.
        make_publisher(app)(job, 0)
        channel.basic_get(job.queue)
        board.ping()
        client.flushall()
        before = client.info("memory")["used_memory"]
        fed = feeder.know(open_store(empty), job)
        feeder.round(fed)
        # As workers have them: delivered, and acknowledged only after the shard's end.
        for shard in range(min(slots, client.llen(job.queue))):
            channel.basic_get(job.queue)
            board.take(job.job_id, shard)
        feeder.round(fed)
        used = client.info("memory")["used_memory"] - before
        keys = sum(client.memory_usage(key, samples=0) for key in client.scan_iter())
        waiting, held = client.llen(job.queue), client.hlen("unacked")
        message = len(client.lindex(job.queue, 0))
        # The connection must not give them back as it closes, to a queue that is gone.
        client.flushall()
        channel.qos._delivered.clear()
    app.close()
    return {"bytes": used, "keys": keys, "waiting": waiting, "held": held, "message": message}
