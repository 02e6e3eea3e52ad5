"""Rows that kill, machines taken away and a wiped Redis, counted on real processes."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.counted import MACHINE, Told
from tests.chaos.counting import PLAIN, AtScale, committed, deaths, ids_of, pictures, until
from tests.chaos.seen import records
from tests.chaos.worker import POISON

#: Attempts that may start a row which kills its worker, and one that takes its machine.
STARTS, STARTS_WITH_MACHINE = 3, 7
#: Machines taken away in a row, and how often one row may be alone at that.
TAKEN, ALONE = 20, 3
#: Protocol's times: a lease of 2 s.
SCALE = 1 / 30
#: Rows of which the first are quick, and the others wait for a quicker pace.
FEW_QUICK = [PLAIN] * 60 + [(100, 0, 0)] * 100


def _starts(lines: list[Told]) -> Counter[tuple[int, int]]:
    """How often each row (shard and place) was asked about."""
    return Counter((line.shard, line.place) for line in lines if line.what == "asked")


def _statuses(out: str) -> dict[str, str]:
    return {row: record["status"] for row, record in records(out).items()}


def _expected(rows: int, killers: tuple[int, ...]) -> dict[str, str]:
    return {f"r{n:04}": "quarantined" if n in killers else "ok" for n in range(rows)}


def _in_one_shard(out: str, rows: tuple[int, ...]) -> list[tuple[int, int]]:
    """Shard and place of each of these rows, which lie in one shard, among others."""
    shards = {shard: ids_of(out, shard) for shard in committed(out)}
    [(shard, ids)] = [(s, ids) for s, ids in shards.items() if f"r{rows[0]:04}" in ids]
    assert len(shards) > 1
    assert len(ids) > len(rows)
    return [(shard, ids.index(f"r{row:04}")) for row in rows]


@pytest.mark.parametrize("killers", [pytest.param((11,), marks=pytest.mark.full), (11, 12)])
def test_a_row_that_kills_its_worker_is_started_three_times(
    at_scale: AtScale, tmp_path: Path, killers: tuple[int, ...]
) -> None:
    shop, out = at_scale(SCALE), str(tmp_path / "out")
    shop.pace(0.05)
    pixels = [PLAIN] * 48
    for killer, pixel in zip(killers, POISON, strict=False):
        pixels[killer] = pixel
    shop.start(slots=3)
    shop.submit(pictures(tmp_path / "media", pixels), "caption", out)
    until("the job's end", lambda: shop.done(out))
    assert _statuses(out) == _expected(48, killers)
    starts, told = _starts(shop.told()), deaths(out)
    condemned = _in_one_shard(out, killers)
    print("started, and in hand at deaths:", [(starts[row], told[row]) for row in condemned])
    for row in condemned:
        # Counted twice: by the engine, and by the rows in hand at deaths.
        assert 2 <= starts[row] <= STARTS
        assert told[row] <= STARTS


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("killers", [(11,), (11, 12)])
def test_a_row_that_takes_its_machine_is_started_seven_times(
    at_scale: AtScale, tmp_path: Path, killers: tuple[int, ...]
) -> None:
    shop, out = at_scale(SCALE), str(tmp_path / "out")
    shop.pace(0.05)
    pixels = [MACHINE if place in killers else PLAIN for place in range(48)]
    worker = shop.start(slots=3)
    shop.submit(pictures(tmp_path / "media", pixels), "caption", out)
    while not shop.done(out):
        if worker.poll() is not None:
            worker = shop.start(slots=3)
        time.sleep(0.1)
    assert _statuses(out) == _expected(48, killers)
    starts = _starts(shop.told())
    condemned = _in_one_shard(out, killers)
    print("started:", [starts[row] for row in condemned])
    assert not deaths(out), "nothing outlived a machine"
    for row in condemned:
        assert 4 <= starts[row] <= STARTS_WITH_MACHINE


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_twenty_machines_taken_away_in_a_row_condemn_nobody(
    at_scale: AtScale, tmp_path: Path
) -> None:
    shop, out = at_scale(SCALE), str(tmp_path / "out")
    shop.pace(3600.0)
    # Few rows, so that each is alone as often as a row may be.
    manifest = pictures(tmp_path / "media", [PLAIN] * 6)
    alone: Counter[tuple[int, int]] = Counter()
    for number in range(TAKEN):
        before = len(shop.told())
        worker = shop.start(slots=1)
        if number == 0:
            shop.submit(manifest, "caption", out)
        until("a request", lambda: len(shop.told()) > before)  # noqa: B023 - called here
        shop.take_away(worker)
        flying = _starts(shop.told()[before:])
        if number >= 3:
            assert len(flying) == 1, "after three that vanished each row runs alone"
            alone += flying
    assert alone.total() == TAKEN - 3
    assert max(alone.values()) == ALONE
    shop.pace(0.0)
    shop.start(slots=1)
    until("the job's end", lambda: shop.done(out))
    assert _statuses(out) == _expected(6, ())


@pytest.mark.full
def test_a_wiped_redis_is_filled_with_unfinished_shards_by_who_knows_the_job(
    at_scale: AtScale, tmp_path: Path
) -> None:
    shop, out = at_scale(SCALE), str(tmp_path / "out")
    shop.pace(0.05)
    # Submitted while nobody serves: that makes shards enough for some to wait.
    job = shop.submit(pictures(tmp_path / "media", FEW_QUICK), "caption", out).job
    shop.start(slots=2)
    until("some commits", lambda: len(committed(out)) >= 4)
    with shop.enqueued() as enqueued:
        done = committed(out)
        with shop.redis() as client:
            assert client.llen(job.queue) > 0, "nothing would be lost"
            client.flushall()
        asked = len(shop.told())
        shop.pace(0.0)
        until("the job's end", lambda: shop.done(out))
    shards = [shard for _, shard in enqueued]
    print(f"{len(done)} committed at the wipe, {len(shards)} enqueued after it")
    assert shards
    assert not done & set(shards)
    assert not done & {shard for shard, _ in _starts(shop.told()[asked:])}
    assert _statuses(out) == _expected(160, ())


def test_submit_after_a_wipe_enqueues_unfinished_shards_alone(
    at_scale: AtScale, tmp_path: Path
) -> None:
    shop, out = at_scale(SCALE), str(tmp_path / "out")
    shop.pace(0.05)
    manifest = pictures(tmp_path / "media", FEW_QUICK)
    job = shop.submit(manifest, "caption", out).job
    worker = shop.start(slots=2)
    until("some commits", lambda: len(committed(out)) >= 4)
    worker.terminate()
    worker.wait()
    # Had it left in a hurry, its leases would have to run out.
    until("nobody at work", lambda: shop.client.look(out).status.shards["live"] == 0)
    with shop.redis() as client:
        client.flushall()
    unfinished = sorted(set(range(job.plan.shards)) - committed(out))
    asked = len(shop.told())
    with shop.enqueued() as enqueued:
        assert not shop.submit(manifest, "caption", out).created
    print(f"{len(unfinished)} unfinished, {len(enqueued)} enqueued")
    assert sorted(enqueued) == shop.waiting(job.queue) == [(out, shard) for shard in unfinished]
    shop.pace(0.0)
    shop.start(slots=2)
    until("the job's end", lambda: shop.done(out))
    assert {shard for shard, _ in _starts(shop.told()[asked:])} <= set(unfinished)
    assert _statuses(out) == _expected(160, ())
