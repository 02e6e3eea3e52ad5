"""What SIGKILL and SIGTERM cost at the protocol's own times, counted on real processes."""

from __future__ import annotations

import json
import signal
import time
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jobs.checkpoint import Progress
from jobs.ledger import Ledger
from jobs.tempo import Tempo
from storage.objects import open_store
from tests.chaos.counted import SEQUENCES, Told
from tests.chaos.counting import PLAIN, AtScale, committed, pictures, until
from tests.chaos.proxy import FaultProxy, Order
from tests.chaos.seen import records
from tests.media import RATE, silence, speech
from tests.services import S3Endpoint, new_bucket

#: Seconds of finished requests that a SIGKILL may cost, and that an exit may take.
LOST_S, EXIT_S = 20.0, 20.0
#: Seconds since a first answer that is nowhere saved when the worker is killed.
AT_RISK_S = 12.0
#: Samples of two hours.
TWO_HOURS = 7200 * RATE


def _progress(out: str) -> dict[int, Progress]:
    """What lies in checkpoints, by shard."""
    store = open_store(out)
    ledger = Ledger(store, Tempo())
    shards = {int(found.key.split("/")[3]) for found in store.list("_job/checkpoints/0/")}
    return {shard: ledger.progress(shard, 0) for shard in shards}


def _saved(out: str) -> int:
    """Finished requests of a job that lie in checkpoints."""
    found = _progress(out).values()
    return sum(len(p.records) + sum(map(len, p.requests.values())) for p in found)


def _answered(lines: list[Told]) -> list[Told]:
    return [line for line in lines if line.what == "answered"]


def _asked_again(before: list[Told], after: list[Told]) -> list[Told]:
    """Answers of `before` that were asked for anew, also where a sound was cut otherwise."""
    asked = [line for line in after if line.what == "asked"]
    return [
        line
        for line in _answered(before)
        if any(a.row == line.row and a.start < line.end and line.start < a.end for a in asked)
    ]


def _talk(path: Path, samples: int) -> str:
    """Sentences and pauses, again and again, for so long; the manifest's line about it."""
    text = "We will meet again at the old bridge behind the mill, when the bells have rung twice."
    parts = [part for pause in (0.4, 1.2, 0.7, 3.0) for part in (speech(text), silence(pause))]
    block = (np.concatenate(parts) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for _ in range(-(-samples // len(block))):
            file.writeframesraw(block.tobytes())
    return json.dumps({"id": "talk", "uri": str(path)})


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rows", [1200, 1], ids=["many short rows", "one row of two hours"])
def test_a_sigkill_costs_the_requests_of_its_last_twenty_seconds(
    at_scale: AtScale, tmp_path: Path, rows: int
) -> None:
    shop, out = at_scale(1.0), str(tmp_path / "out")
    shop.pace(1.0)
    victim = shop.start(slots=1)
    sound, manifest = tmp_path / "talk.wav", tmp_path / "talk.jsonl"
    if rows > 1:
        shop.submit(pictures(tmp_path / "media", [PLAIN] * rows), "caption", out)
    else:
        manifest.write_text(_talk(sound, TWO_HOURS))
        shop.submit(manifest, "transcribe", out)

    def risked_s() -> float:
        """How long ago the first answer came that lies in no checkpoint."""
        unsaved = _answered(shop.told())[_saved(out) :]
        return time.monotonic() - unsaved[0].at if unsaved else 0.0

    # Late between two checkpoints; and if there were none, after more than may be lost.
    until("a good part", lambda: len(_answered(shop.told())) >= 250)
    until("work at risk", lambda: risked_s() >= AT_RISK_S)
    killed_at = shop.take_away(victim)
    before = shop.told()
    shop.pace(0.0)
    shop.start(slots=1)
    until("the job's end", lambda: shop.done(out))
    sound.unlink(missing_ok=True)
    after = shop.told()[len(before) :]
    lost = _asked_again(before, after)
    oldest_s = max(killed_at - line.at for line in lost)
    print(f"{len(lost)} of {len(_answered(before))} asked again, the oldest of {oldest_s:.1f} s")
    assert oldest_s >= AT_RISK_S / 2, "nothing was at risk"
    assert oldest_s <= LOST_S
    flying = {t.request for t in before} - {t.request for t in _answered(before)}
    assert len(flying) <= 2 * SEQUENCES
    # Whatever was answered before and was not lost is not asked again in any other cut.
    asked = [line for line in after if line.what == "asked"]
    assert len({line.request for line in asked}) == len(asked)
    assert [record["status"] for record in records(out).values()] == ["ok"] * rows
    if rows == 1:
        kept = {line.request for line in _answered(before)} - {line.request for line in lost}
        spans = kept | {line.request for line in _answered(after)}
        assert sum(end - start for *_, start, end in spans) > TWO_HOURS / 2


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_sigterm_saves_what_is_finished_and_gives_back_the_rest(
    at_scale: AtScale, tmp_path: Path, moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(moto, monkeypatch)
    shop = at_scale(1.0)
    shop.pace(0.5)
    worker = shop.start(slots=4)
    # Answers of half a second to four, and a few that take longer than the worker may.
    reds = [100 if place % 16 == 4 else (1, 2, 4, 8)[place % 4] for place in range(80)]
    media = pictures(tmp_path / "media", [(red, 0, 0) for red in reds])
    talk = tmp_path / "talk.jsonl"
    talk.write_text(_talk(tmp_path / "talk.wav", TWO_HOURS // 8))
    outs = [f"{bucket}/pictures", f"{bucket}/talk"]
    jobs = [
        shop.submit(media, "caption", outs[0]).job,
        shop.submit(talk, "transcribe", outs[1]).job,
    ]
    ids = [job.job_id for job in jobs]

    def loaded() -> bool:
        answered = Counter(line.job for line in _answered(shop.told()))
        return min(answered[job] for job in ids) >= 10

    until("a full load", loaded)
    at = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    code = worker.wait(60)
    took_s = time.monotonic() - at
    before = shop.told()
    late = [line for line in _answered(before) if line.at > at]
    print(f"out within {took_s:.1f} s, {len(late)} answers after the signal")
    assert took_s <= EXIT_S
    assert code == 0, "it left in a hurry"
    assert late, "nothing was left to finish"
    assert {line.request for line in before} != {line.request for line in _answered(before)}
    # What was begun is back in the queue, and free to be taken at once.
    begun = {(outs[ids.index(line.job)], line.shard) for line in before}
    back = {(out, shard) for out, shard in begun if shard not in committed(out)}
    assert back
    assert back <= set(shop.waiting(jobs[0].queue))
    with shop.redis() as client:
        assert client.hlen("unacked") == 0
    for out, shard in back:
        assert not Ledger(open_store(out), Tempo()).look(shard, 0).live
    shop.pace(0.0)
    shop.start(slots=4)
    until("the jobs' end", lambda: all(shop.done(out) for out in outs))
    assert _asked_again(before, shop.told()[len(before) :]) == []
    found = [record["status"] for out in outs for record in records(out).values()]
    assert found == ["ok"] * 81


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_sigterm_is_obeyed_in_time_while_the_store_does_not_answer(
    at_scale: AtScale, tmp_path: Path, moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(moto) as proxy:
        out = f"{new_bucket(proxy.endpoint, monkeypatch)}/out"
        shop = at_scale(1.0)
        shop.pace(0.5)
        worker = shop.start(slots=2)
        shop.submit(pictures(tmp_path / "media", [PLAIN] * 400), "caption", out)
        until("some answers", lambda: len(_answered(shop.told())) >= 20)
        proxy.order(Order("slow", method="PUT", times=None, seconds=300))
        at = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
        took_s = time.monotonic() - at
        print(f"out within {took_s:.1f} s")
        assert took_s <= EXIT_S
        proxy.clear()
