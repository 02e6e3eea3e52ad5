"""Jobs over Redis and S3 with worker processes, started the way a user starts them."""

from __future__ import annotations

import contextlib
import io
import random
import signal
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import redis

from storage.objects import open_store
from tests.acceptance.commands import Medium, Mill, make_media, write_manifest
from tests.services import S3Endpoint, new_bucket, wait_for

#: Small questions and short answers: these tests are about the way, not about the model.
QUICK = ("--set", "max_tokens=2", "--set", "image_tokens=70")


def _rows(media: list[Medium], count: int) -> list[dict[str, object]]:
    """So many rows over these files, in a seeded order."""
    chosen = [media[number % len(media)] for number in range(count)]
    random.Random(11).shuffle(chosen)
    return [
        {"id": f"row-{number:04d}", "uri": str(medium.path), "size": medium.size}
        for number, medium in enumerate(chosen)
    ]


def _records(out: str) -> list[dict[str, object]]:
    store = open_store(out)
    records: list[dict[str, object]] = []
    for found in store.list("data/"):
        with pq.ParquetFile(io.BytesIO(store.get(found.key))) as file:
            records += file.read().to_pylist()
    return records


def _check(
    records: list[dict[str, object]], rows: list[dict[str, object]], media: list[Medium]
) -> None:
    """One record a row, in order, and each with the identity of its own file."""
    assert [r["row_id"] for r in records] == [row["id"] for row in rows]
    by_path = {str(m.path): m for m in media}
    for record in records:
        medium = by_path[str(record["uri"])]
        assert record["size"] == medium.size
        if medium.kind == "audio":
            assert record["status"] == "error"
            assert record["error"]["kind"] == "wrong_kind"  # type: ignore[index]
            continue
        # Two tokens of a model may be no caption; the row's own media are told all the same.
        assert record["error"] is None or record["error"]["kind"] == "unparsable"  # type: ignore[index]
        (said,) = record["media"]  # type: ignore[misc]
        assert said["sha256"] == medium.sha256  # type: ignore[index]
        assert said["bytes"] == medium.size  # type: ignore[index]
        assert said["width"] == medium.width  # type: ignore[index]
        assert said["kind"] == medium.kind  # type: ignore[index]


def test_two_workers_make_one_record_a_row(
    served: Mill, moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = make_media(served.folder / "media", images=40, videos=3, sounds=4)
    rows = _rows(media, 80)
    manifest = write_manifest(served.folder / "rows.jsonl", rows)
    out = f"{new_bucket(moto, monkeypatch)}/job"
    with served.workers(1) as [other]:
        submit = ("submit", manifest, "--task", "caption", "--out", out, *QUICK)
        submitted = served.json(*submit)
        assert submitted["created"] is True
        served.ok("wait", out)
        status = served.json("status", out)
        assert status["state"] == "done"
        assert status["rows"]["total"] == 80
        records = _records(out)
        _check(records, rows, media)
        names = Counter(record["lineage"]["worker"] for record in records)  # type: ignore[index]
        assert len(names) == 2
        assert other.name in names
        # Submitted again: the same job, and nothing to do.
        again = served.json(*submit)
        assert again["created"] is False
        assert again["job_id"] == submitted["job_id"]
        client = redis.Redis.from_url(served.environment["MEDIAMILL_BROKER_URL"])
        assert client.llen(submitted["queue"]) == 0
        client.close()
        # Asked to leave, a worker leaves.
        other.signal(signal.SIGTERM)
        assert other.process.wait(30) == 0


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_killed_workers_shards_are_done_by_the_other(
    mill: Mill, moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = make_media(mill.folder / "media", images=120, videos=0, sounds=0)
    rows = _rows(media, 500)
    manifest = write_manifest(mill.folder / "rows.jsonl", rows)
    out = f"{new_bucket(moto, monkeypatch)}/job"
    # The protocol's own times: this is the promise of three minutes.
    mill.environment = {**mill.environment, "MEDIAMILL_TIME_SCALE": "1"}
    with mill.workers(2) as workers:
        mill.ok("submit", manifest, "--task", "caption", "--out", out, *QUICK)
        store = open_store(out)
        victim = workers[0]

        def at_work() -> bool:
            open_shards = {
                found.key.split("/")[3]
                for found in store.list("_job/attempts/")
                if victim.name.encode() in store.get(found.key)
            }
            done = {found.key.split("/")[3][:7] for found in store.list("_job/done/")}
            return bool(open_shards - done)

        wait_for("an open shard of the victim", at_work)
        victim.signal(signal.SIGKILL)
        # Nobody submits again; three minutes from the kill, all is done.
        done = mill.run("wait", out, timeout=180)
        assert done.returncode == 0, done.stderr
        _check(_records(out), rows, media)
        attempts = [found.key for found in store.list("_job/attempts/")]
        assert any(key.endswith("0001.json") for key in attempts), "no shard was taken over"


def test_a_retry_redoes_what_failed(served: Mill) -> None:
    media = make_media(served.folder / "media", images=2, videos=0, sounds=0)
    gone = served.folder / "media" / "none.png"
    rows = [{"id": n, "uri": str(path)} for n, path in enumerate([m.path for m in media] + [gone])]
    manifest = write_manifest(served.folder / "rows.jsonl", rows)
    done = served.done(manifest, "--task", "caption", *QUICK, out="out")
    assert done["rows"]["error"] >= 1
    gone.write_bytes(media[0].path.read_bytes())
    assert served.json("retry", "out", "--kind", "not_found")["rows"] == 1
    served.ok("wait", "out")
    kinds = [
        record["error"] and record["error"]["kind"] for record in _records(f"{served.folder}/out")
    ]  # type: ignore[index]
    assert len(kinds) == 3
    assert set(kinds) <= {None, "unparsable"}


def test_pause_resume_and_cancel(
    served: Mill, moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    media = make_media(tmp_path / "media", images=20, videos=0, sounds=0)
    # Short answers: there must be more to do than a pause takes to be heard.
    rows = _rows(media, 100)
    manifest = write_manifest(tmp_path / "rows.jsonl", rows)
    out = f"{new_bucket(moto, monkeypatch)}/job"
    submit = (
        "submit",
        manifest,
        "--task",
        "caption",
        "--out",
        out,
        "--set",
        "max_tokens=16",
        "--set",
        "image_tokens=70",
    )
    served.ok(*submit)
    store = open_store(out)
    wait_for("a first attempt", lambda: bool(list(store.list("_job/attempts/"))))
    served.ok("pause", out)
    wait_for("the pause", lambda: served.json("status", out)["shards"]["live"] == 0)
    paused = served.json("status", out)
    assert paused["state"] == "paused"
    assert paused["rows"]["remaining"] > 0
    refused = served.run(*submit)
    assert refused.returncode == 1
    assert "paused" in refused.stderr
    served.ok("cancel", out)
    assert served.run("wait", out).returncode == 1
    served.ok("resume", out)
    served.ok("wait", out)
    _check(_records(out), rows, media)


@pytest.mark.full
def test_a_wiped_redis_costs_nothing_that_is_committed(
    mill: Mill, moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = make_media(mill.folder / "media", images=20, videos=0, sounds=0)
    rows = _rows(media, 128)
    manifest = write_manifest(mill.folder / "rows.jsonl", rows)
    out = f"{new_bucket(moto, monkeypatch)}/job"
    client = redis.Redis.from_url(mill.environment["MEDIAMILL_BROKER_URL"])
    # Before its worker lives: that makes many small shards. With slots set by hand it opens no
    # more of them while its engine lacks rows: most wait in the queue.
    submitted = mill.json("submit", manifest, "--task", "caption", "--out", out, *QUICK)
    store = open_store(out)
    with mill.workers(1, "--slots", "4"), contextlib.closing(client):

        def committed() -> dict[str, str]:
            return {found.key: found.etag for found in store.list("data/")}

        def attempts() -> set[str]:
            return {found.key for found in store.list("_job/attempts/")}

        wait_for("a first commit", lambda: bool(committed()))
        assert client.llen(submitted["queue"]) > 0, "nothing would be lost"
        client.flushall()
        before, begun = committed(), attempts()
        assert len(before) < submitted["shards"] - 4, "more was lost than is open"
        # Nobody submits again, and nobody but the worker feeds the job.
        wait_for("the other commits", lambda: len(committed()) == submitted["shards"])
        after = committed()
        assert {key: after[key] for key in before} == before
        done = {key.removeprefix("data/").removesuffix(".parquet") for key in before}
        assert not [key for key in attempts() - begun if key.split("/")[3] in done]
        status = mill.json("status", out)
        assert (status["state"], status["rows"]["remaining"]) == ("done", 0)
        _check(_records(out), rows, media)
