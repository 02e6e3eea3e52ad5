"""The feeder: a small window of a job in the queue, and every shard that got lost brought back."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.control import write_control
from jobs.ledger import Ledger
from jobs.progress import write_marker
from jobs.retries import Retry
from jobs.spec import StoredJob
from jobs.summary import SUMMARY_KEY, read_summary
from jobs.tempo import Tempo
from orchestration.feeder import MIN_WINDOW, Fed, Feeder
from orchestration.local_board import LocalBoard
from tests.unit.fakes import MemoryStore, footer
from tests.unit.scripted import plan_job

SHARDS = 50


class Scene:
    """A job, a board, and a queue that is a list."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.job = plan_job(self.store, [["image:a"]] * SHARDS, sizes=[1] * SHARDS)
        self.board = LocalBoard()
        self.queue: list[int] = []
        self.slots = 1
        self.feeder = self.new_feeder()
        self.fed = self.know()

    def new_feeder(self) -> Feeder:
        def publish(job: StoredJob, shard: int) -> None:
            self.queue.append(shard)

        return Feeder(self.board, publish, lambda job: self.slots, Tempo())

    def know(self) -> Fed:
        return self.feeder.know(self.store, self.job)

    def round(self) -> list[int]:
        """Shards that one round enqueues."""
        before = len(self.queue)
        assert self.feeder.round(self.fed)
        return self.queue[before:]

    def work(self, shard: int) -> list[int]:
        """A worker takes the shard and commits it; what that enqueues."""
        self.board.take(self.job.job_id, shard)
        write_marker(self.store, footer(shard))
        self.board.finish(self.job.job_id, shard)
        before = len(self.queue)
        self.feeder.committed(self.fed, footer(shard), ())
        return self.queue[before:]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_round_fills_a_window_and_no_more(scene: Scene) -> None:
    assert scene.round() == list(range(MIN_WINDOW))
    assert scene.round() == []
    scene.slots = 40
    assert scene.round() == list(range(MIN_WINDOW, 40)), "one for each open slot"


def test_each_commit_feeds_the_next_and_the_job_comes_to_its_end(scene: Scene) -> None:
    scene.round()
    done: list[int] = []
    for shard in scene.queue:  # which grows meanwhile
        fed = scene.work(shard)
        done.append(shard)
        assert len(fed) <= 1
        assert len(scene.board.queued(scene.job.job_id)) <= MIN_WINDOW
    assert done == list(range(SHARDS)), "each once, in order"
    assert not scene.feeder.round(scene.fed), "nothing is due"
    assert scene.fed.view.complete


def test_what_is_under_way_is_not_doubled(scene: Scene) -> None:
    scene.round()
    for shard in range(3):
        scene.board.take(scene.job.job_id, shard)
    assert scene.round() == [16, 17, 18]


def test_what_another_process_has_a_lease_on_is_left_to_it(scene: Scene) -> None:
    ledger = Ledger(scene.store, Tempo())
    for shard in (0, 4):
        attempt = ledger.claim(shard, 0, 0, "elsewhere")
        assert attempt is not None
        attempt.checkpoint([])
        if shard == 4:
            attempt.end()
    assert scene.round() == [s for s in range(17) if s != 0], "4 was given back"
    scene.store.tick(60)
    scene.board.clear(scene.job.job_id)
    assert scene.round()[0] == 0


def test_lost_messages_come_back(scene: Scene) -> None:
    scene.round()
    scene.board = LocalBoard()  # Redis was wiped, messages and hints
    scene.queue.clear()
    scene.feeder = scene.new_feeder()
    scene.fed = scene.know()
    assert scene.round() == list(range(MIN_WINDOW))


def test_messages_lost_under_a_board_that_was_kept_come_back(scene: Scene) -> None:
    class EmptyQueue(LocalBoard):
        def length(self, queue: str) -> int:
            return 0

    scene.board = EmptyQueue()
    scene.feeder = scene.new_feeder()
    scene.fed = scene.know()
    assert scene.round() == list(range(MIN_WINDOW))
    assert scene.round() == list(range(MIN_WINDOW))


def test_a_paused_job_is_not_fed_and_stays_known(scene: Scene) -> None:
    write_control(scene.store, "pause")
    assert scene.round() == []
    assert scene.feeder.known() == [scene.fed]
    write_control(scene.store, "run")
    assert len(scene.round()) == MIN_WINDOW


@pytest.mark.parametrize("wanted", ["pause", "cancel"])
def test_commits_after_a_pause_feed_nothing(scene: Scene, wanted: Any) -> None:
    scene.round()
    write_control(scene.store, wanted)
    assert [scene.work(shard) for shard in range(3)] == [[], [], []]
    write_control(scene.store, "run")
    assert len(scene.work(3)) == 4, "the window is filled again"


def test_whoever_sees_the_end_writes_the_summary(scene: Scene) -> None:
    def summary() -> Any:
        return read_summary(scene.store, scene.job)

    scene.round()
    for shard in scene.queue:
        assert summary() is None
        scene.work(shard)
    said = summary()
    assert (said.state, said.rows["ok"], said.shards["due"]) == ("done", SHARDS, 0)
    # Somebody who comes later sees the end in a round.
    scene.store.delete(SUMMARY_KEY)
    other = scene.new_feeder()
    assert not other.round(other.know(scene.store, scene.job))
    assert (summary().state, summary().rows) == ("done", said.rows)


def test_the_same_place_with_another_plan_is_another_job(scene: Scene) -> None:
    scene.round()
    assert scene.know() is scene.fed
    plan = scene.job.plan.model_copy(update={"token": "u"})
    again = scene.job.model_copy(update={"plan": plan})
    assert again.job_id == scene.job.job_id
    assert scene.feeder.know(scene.store, again) is not scene.fed


def test_given_up_shards_are_fed_no_more_until_forgiven(scene: Scene) -> None:
    ledger = Ledger(scene.store, Tempo())
    ledger.give_up(1, "CorruptObject: as it is")
    assert scene.round() == [0, *range(2, 17)]
    scene.board.clear(scene.job.job_id)
    ledger.forgive()
    assert scene.round()[:2] == [0, 1]


def test_a_retry_is_fed_though_its_shards_lie_behind(scene: Scene) -> None:
    for shard in range(SHARDS):
        write_marker(scene.store, footer(shard))
    assert not scene.feeder.round(scene.fed)
    retry = Retry(generation=1, options={}, rows={7: (0,), 30: (0,)}, at=0.0)
    scene.store.put("_job/retries/000001.json", retry.model_dump_json().encode())
    assert scene.round() == [7, 30]
    write_marker(scene.store, footer(7, generation=1))
    scene.board.clear(scene.job.job_id)
    assert scene.round() == [30]


def test_what_others_enqueued_is_left_alone_by_who_never_looked(scene: Scene) -> None:
    scene.round()
    other = scene.new_feeder()
    fed = other.know(scene.store, scene.job)
    for shard in range(3):
        scene.work(shard)
    assert scene.queue == list(range(MIN_WINDOW + 3))
    # Another process, whose own look is of before all that, commits what it was given.
    scene.board.take(scene.job.job_id, 3)
    scene.board.finish(scene.job.job_id, 3)
    other.committed(fed, footer(3), ())
    assert scene.queue == list(range(MIN_WINDOW + 4)), "each once"


def test_a_commit_feeds_nothing_while_nobody_knows_how_far_feeding_came(scene: Scene) -> None:
    scene.round()
    scene.board = LocalBoard()  # Redis was wiped
    scene.feeder = scene.new_feeder()
    scene.fed = scene.know()
    assert scene.work(0) == []
    assert scene.round() == list(range(1, MIN_WINDOW + 1))
    assert scene.work(1) == [MIN_WINDOW + 1]


def test_commits_of_a_retry_feed_its_next_shards(scene: Scene) -> None:
    for shard in range(SHARDS):
        write_marker(scene.store, footer(shard))
    assert not scene.feeder.round(scene.fed)
    rows = dict.fromkeys(range(40), (0,))
    retry = Retry(generation=1, options={}, rows=rows, at=0.0)
    scene.store.put("_job/retries/000001.json", retry.model_dump_json().encode())
    assert scene.round() == list(range(MIN_WINDOW))
    # In another process, which has listed nothing since.
    other = scene.new_feeder()
    fed = other.know(scene.store, scene.job)
    for shard in range(4):
        scene.board.take(scene.job.job_id, shard)
        other.committed(fed, footer(shard, generation=1), [retry])
    assert scene.queue == list(range(MIN_WINDOW + 4))


def test_a_round_that_another_process_made_is_not_made_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.round()
    monkeypatch.setattr(scene.board, "turn", lambda job_id, ttl_s: False)
    monkeypatch.setattr(scene.fed.view, "refresh", lambda: pytest.fail("it listed"))
    scene.board.clear(scene.job.job_id)
    scene.queue.clear()
    assert scene.feeder.round_in_turn(scene.fed)
    assert scene.queue == []
    # Whoever had the turn found nothing due.
    scene.board.drop_job(scene.job.queue, scene.store.uri)
    assert not scene.feeder.round_in_turn(scene.fed)


def test_jobs_are_known_on_the_board_until_forgotten(scene: Scene) -> None:
    scene.round()
    assert scene.board.jobs(scene.job.queue) == {scene.store.uri}
    assert scene.know() is scene.fed
    scene.feeder.forget(scene.fed)
    assert scene.board.jobs(scene.job.queue) == set()
    assert scene.feeder.known() == []
    standing = scene.board.standing(scene.job.queue, scene.job.job_id, scene.fed.course)
    assert standing.next is None, "nothing of it is kept"


def test_an_idle_job_gets_an_early_round(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("orchestration.feeder.time.monotonic", lambda: clock[0])
    scene.round()
    scene.board.clear(scene.job.job_id)
    scene.queue.clear()
    scene.feeder.round_if_idle(scene.fed)
    assert scene.queue == [], "too early"
    clock[0] += 5
    scene.feeder.round_if_idle(scene.fed)
    assert len(scene.queue) == MIN_WINDOW
    clock[0] += 5
    scene.feeder.round_if_idle(scene.fed)
    assert len(scene.queue) == MIN_WINDOW, "it is not idle"
