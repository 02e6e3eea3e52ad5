"""What is put into a worker's queue by others: taken off, counted, never read as more than JSON."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.models import resolve
from jobs.spec import make_spec, queue_name
from jobs.tempo import Tempo
from orchestration.board import RedisBoard
from orchestration.client import Client
from orchestration.settings import load_settings
from orchestration.wire import fault
from storage.dataset import read_shard
from storage.objects import open_store
from tests.acceptance.commands import Mill, make_media, write_manifest
from tests.chaos.fleet import Fleet
from tests.services import wait_for

SECRET = "KANARIE-of-a-body"


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def ours(out: str, shard: Any = 0, **changes: Any) -> dict[str, Any]:
    """A message as `make_publisher` puts it there; `changes` replace parts of its envelope."""
    return {
        "body": json.dumps([[out, shard], {}, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "mediamill.run_shard", "id": "an-id"},
        "properties": {
            "delivery_tag": "a-tag",
            "delivery_info": {"exchange": "", "routing_key": "a-queue"},
            "delivery_mode": 2,
            "priority": 0,
            "body_encoding": None,
        },
        **changes,
    }


def foreign(target: Path, out: str) -> list[bytes]:
    """Items that no publisher of ours puts into a queue."""
    bomb = pickle.dumps(Bomb(target))
    text = base64.b64encode(bomb).decode()
    task = {"task": "mediamill.run_shard", "id": SECRET}
    call = {"task": "mediamill.run_shard", "args": [out, 0], "kwargs": {}, "options": {}}
    yaml = f"!!python/object/apply:os.mkdir ['{target}']"
    properties = ours(out)["properties"]
    packed = {"body_encoding": "base64"}
    envelopes: list[Any] = [
        ours(out, body=text, properties={**properties, **packed}, **{"content-type": kind})
        for kind in (
            "application/x-python-serialize",
            "application/x-yaml",
            "application/x-msgpack",
            "application/data",
            "application/json",
            "text/plain",
            "application/x-nonsense",
        )
    ]
    envelopes += [
        ours(out, body=yaml, **{"content-type": "application/x-yaml"}),
        ours(out, body=text, headers={**task, "compression": "application/x-gzip"}),
        ours(out, headers={**task, "task": "celery.backend_cleanup"}),
        ours(out, headers={**task, "task": "os.system"}),
        ours(out, headers={**task, "eta": "2999-01-01T00:00:00"}),
        ours(out, headers={}),
        ours(out, headers=None),
        ours(out, headers=[SECRET]),
        ours(out, properties={}),
        ours(out, properties={**properties, "reply_to": "elsewhere"}),
        ours(out, properties={**properties, "delivery_tag": 7}),
        ours(out, body=json.dumps([[out, 0], {}, {"callbacks": [call]}])),
        ours(out, body=json.dumps([[out, 0], {}, {"chain": [call]}])),
        ours(out, body=json.dumps([[out], {}, {}])),
        ours(out, body=json.dumps([[out, 0, 1], {}, {}])),
        ours(out, body=json.dumps([[out, 0], {"out": out}, {}])),
        ours(out, body=json.dumps({"args": [out, 0]})),
        ours(out, body=json.dumps([[{"__type__": "bytes", "__value__": 7}, 0], {}, {}])),
        ours(out, body="[" * 30_000),
        ours(out, body=""),
        ours(out, body=None),
        ours(out, body=" " * 40_000),
        ours(out, "0"),
        ours(out, 0.5),
        ours(out, True),
        ours(out, None),
        ours(out, -1),
        ours(out, 10**30),
        ours("relative/place"),
        ours("../outside"),
        ours("http://169.254.169.254/latest"),
        ours("file:///etc"),
        {**ours(out), SECRET: SECRET},
        {},
        [],
        SECRET,
        7,
        None,
        {"__type__": "bytes", "__value__": 7},
        {"__type__": "nonsense", "__value__": SECRET},
    ]
    raw = [bomb, text.encode(), yaml.encode(), b"", b"\xff\xfe", b"{", b"NaN", b"[" * 100_000]
    raw.append(b"\x93\x92\xa7/place/\x00\x80\x80")  # [["/place/", 0], {}, {}] in msgpack
    return [*raw, *(json.dumps(envelope).encode() for envelope in envelopes)]


@contextmanager
def worker(folder: Path, url: str, **more: str) -> Iterator[Fleet]:
    """A real worker on the scripted engine, ready to serve."""
    environment = {
        "MEDIAMILL_BROKER_URL": url,
        "MEDIAMILL_LOCAL_ROOTS": str(folder),
        "MEDIAMILL_TIME_SCALE": "0.05",
        "MEDIAMILL_LOG_LEVEL": "INFO",
        **more,
    }
    fleet = Fleet(folder, environment, 1, "scripted")
    fleet.tend()
    try:
        wait_for("the worker", lambda: "serving" in log(folder), fleet.processes[0])
        yield fleet
    finally:
        fleet.close()


def log(folder: Path) -> str:
    """What the worker has said."""
    return (folder / "worker-0.log").read_text(errors="replace")


def refused(board: RedisBoard) -> int:
    """What the living worker says that it has refused."""
    return sum(int(facts["refused"]) for facts in board.workers())


@pytest.mark.timeout(240)
def test_a_worker_takes_its_own_messages_alone_and_goes_on(redis_url: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    media = make_media(tmp_path / "media", 12, 0, 0)
    manifest = write_manifest(tmp_path / "in.jsonl", [{"uri": str(m.path)} for m in media])
    target = tmp_path / "unpickled"
    queue = queue_name(resolve("tiny", base=True), "normal")
    items = foreign(target, out)
    board = RedisBoard(redis_url)
    with redis.Redis.from_url(redis_url) as client, worker(tmp_path, redis_url) as fleet:
        first = fleet.processes[0]
        client.lpush(queue, *items)
        wait_for("the refusals", lambda: refused(board) == len(items))
        assert client.llen(queue) == 0
        assert client.hlen("unacked") == 0
        # Well-formed, but there is no such job, and no such shard: acknowledged, not refused.
        client.lpush(queue, json.dumps(ours(str(tmp_path / "nowhere"))))
        settings = load_settings(broker_url=redis_url, time_scale=0.05)
        spec = make_spec(
            {"manifest": str(manifest), "task": "caption", "out": out, "model": "tiny"}
        )
        client_of_ours = Client(settings)
        client_of_ours.submit(spec)
        client.lpush(queue, json.dumps(ours(out, 999_999)))
        look = client_of_ours.wait(out, timeout_s=120)
        assert look.status.state == "done"
        wait_for("an empty queue", lambda: not client.llen(queue) and not client.hlen("unacked"))
        assert refused(board) == len(items)
        assert first is not None
        assert first.poll() is None
        page = Mill(tmp_path, {"MEDIAMILL_BROKER_URL": redis_url}).ok("metrics", "--once")
    said = log(tmp_path)
    assert "mediamill_worker_refused_messages_total{" in page
    assert f"}} {float(len(items))}" in page
    assert said.count("taken off the queue") == len(items)
    assert said.count("serving") == 1, "one process all along"
    assert not target.exists()
    assert SECRET not in said
    assert "Traceback" not in said
    assert "no shard 999999 in a plan of 1" in said
    assert not list((tmp_path / "out").rglob("*999999*"))
    assert read_shard(open_store(out), 0)[0].num_rows > 0


def test_messages_of_ours_pass_the_gate_also_when_they_come_back(redis_url: str) -> None:
    from orchestration.app import make_app

    app = make_app(redis_url, Tempo())
    app.send_task("mediamill.run_shard", args=("s3://b/o", 3), queue="q", task_id="id")
    with redis.Redis.from_url(redis_url) as client:
        message = json.loads(client.lrange("q", 0, -1)[0])
    assert fault(message) is None
    message["headers"]["redelivered"] = True
    message["properties"]["delivery_info"]["redelivered"] = True
    assert fault(message) is None
    assert fault(ours("/place", 7)) is None
    assert fault({**message, SECRET: SECRET}) == "unknown part: extra_forbidden"
