"""The metrics page: what it says of jobs in every state, and when it says nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

import orchestration
from jobs.control import write_control
from jobs.ledger import Ledger
from jobs.progress import write_marker
from jobs.retries import Retry
from jobs.spec import SPEC_KEY, StoredJob
from jobs.tempo import Tempo
from orchestration import backlog
from orchestration.backlog import Queue, Watch
from orchestration.cli import app
from orchestration.local_board import LocalBoard
from orchestration.metrics import as_json, as_text, make_registry
from storage.errors import BrokerUnavailable, StoreUnavailable
from storage.objects import Store, open_store
from tests.unit.fakes import MemoryStore, footer
from tests.unit.scripted import MODEL, plan_job

SHARDS, TOKENS = 10, 10_000
#: What a worker of the jobs' model says of itself.
WORKER = {
    "worker": "host-1",
    "model": MODEL.key,
    "slots": 4,
    "rows": 7,
    "failed": 2,
    "prompt_tokens": 700,
    "output_tokens": 70,
    "refused": 3,
}


class Board(LocalBoard):
    """A board whose workers are set, and that can go away."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: list[dict[str, Any]] = []
        self.away = False
        self.messages = 0

    def length(self, queue: str) -> int:
        return self.messages

    def queues(self) -> set[str]:
        if self.away:
            raise BrokerUnavailable("Redis does not answer")
        return {queue for queue, outs in self._jobs.items() if outs}

    def workers(self) -> list[dict[str, Any]]:
        return self.alive


def put_job(store: Store, sizes: list[int] | None = None, task: str = "caption") -> StoredJob:
    """A job of so large shards, whose plan is estimated to take `TOKENS`."""
    sizes = sizes or [2] * SHARDS
    job = plan_job(store, [["image:a"]] * sum(sizes), sizes=sizes, task=task)
    job = job.model_copy(update={"plan": job.plan.model_copy(update={"tokens": TOKENS})})
    store.put(SPEC_KEY, job.model_dump_json().encode())
    return job


class Scene:
    """A job in a folder, a board that knows it, and the page."""

    def __init__(self, out: Path) -> None:
        self.store = open_store(str(out))
        self.job = put_job(self.store)
        self.board = Board()
        self.board.add_job(self.job.queue, self.store.uri)
        self.watch = Watch(self.board, Tempo())
        self.registry = make_registry(self.watch, Tempo())

    def commit(self, *shards: int, generation: int = 0) -> None:
        for shard in shards:
            write_marker(self.store, footer(shard, generation, ok=1, error=1))

    def samples(self) -> dict[str, list[tuple[Mapping[str, str], float]]]:
        """The page after a look, read as Prometheus reads it: by name, labels and value."""
        self.watch.try_look()
        found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(as_text(self.registry)):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def values(self, name: str, label: str = "") -> Any:
        """The only value of a metric, or its values by a label."""
        samples = self.samples()[name]
        if label:
            return {labels[label]: value for labels, value in samples}
        ((_, value),) = samples
        return value

    def tokens(self) -> tuple[float, float]:
        """Tokens that wait, and that are under way."""
        return self.values("mediamill_waiting_tokens"), self.values("mediamill_running_tokens")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "out")


def test_a_new_job_waits_whole(scene: Scene) -> None:
    assert scene.tokens() == (TOKENS, 0)
    (labels, _) = scene.samples()["mediamill_waiting_tokens"][0]
    assert labels == {
        "model": MODEL.name,
        "revision": MODEL.revision[:12],
        "priority": "normal",
        "job_id": scene.job.job_id,
        "out": scene.store.uri,
    }
    assert scene.values("mediamill_job_state", "state")["planned"] == 1
    assert "mediamill_job_last_commit_timestamp_seconds" not in scene.samples()


def test_a_job_half_done(scene: Scene) -> None:
    scene.commit(0, 1, 2, 3)
    attempt = Ledger(scene.store, Tempo()).claim(4, 0, 0, "w")
    assert attempt is not None
    attempt.checkpoint([])
    assert scene.tokens() == (TOKENS * 5 / SHARDS, TOKENS / SHARDS)
    assert scene.values("mediamill_job_rows", "status") == {
        "ok": 4,
        "error": 4,
        "quarantined": 0,
        "remaining": 12,
    }
    assert scene.values("mediamill_job_due_rows") == 12
    assert scene.values("mediamill_job_shards", "state") == {
        "done": 4,
        "running": 1,
        "waiting": 5,
        "given_up": 0,
    }
    states = scene.values("mediamill_job_state", "state")
    assert {state for state, value in states.items() if value} == {"running"}
    assert set(states) == {"planned", "running", "paused", "cancelled", "done"}
    committed = scene.values("mediamill_job_last_commit_timestamp_seconds")
    assert 0 <= scene.store.now() - committed < 60
    # Given back, its tokens wait again.
    attempt.end()
    assert scene.tokens() == (TOKENS * 6 / SHARDS, 0)


@pytest.mark.parametrize("wanted", ["pause", "cancel"])
def test_nobody_is_called_for_what_must_not_run(scene: Scene, wanted: Any) -> None:
    scene.commit(0)
    write_control(scene.store, wanted)
    assert scene.tokens() == (0, 0)
    assert scene.values("mediamill_job_rows", "status")["remaining"] == 18
    write_control(scene.store, "run")
    assert scene.tokens() == (TOKENS * 9 / SHARDS, 0)


def test_a_job_that_is_done_asks_for_nothing(scene: Scene) -> None:
    scene.commit(*range(SHARDS))
    assert scene.tokens() == (0, 0)
    assert scene.values("mediamill_job_state", "state")["done"] == 1
    # The feeder of a worker takes it off the board; its series end.
    scene.board.drop_job(scene.job.queue, scene.store.uri)
    assert set(scene.samples()) == {"mediamill_up"}


def test_shards_that_were_given_up_call_nobody(scene: Scene) -> None:
    ledger = Ledger(scene.store, Tempo())
    scene.commit(*range(8))
    ledger.give_up(8, "CorruptObject: as it is")
    ledger.give_up(2, "CorruptObject: before it was done elsewhere")
    assert scene.tokens() == (TOKENS / SHARDS, 0)
    assert scene.values("mediamill_job_shards", "state")["given_up"] == 1
    ledger.give_up(9, "CorruptObject: as it is")
    assert scene.tokens() == (0, 0)


def test_a_retry_counts_for_the_rows_that_it_redoes(scene: Scene) -> None:
    scene.commit(*range(SHARDS))
    retry = Retry(generation=1, options={}, rows={1: (0,), 3: (0, 1)}, at=0.0)
    scene.store.put("_job/retries/000001.json", retry.model_dump_json().encode())
    assert scene.tokens() == (TOKENS * 3 / 20, 0)
    assert scene.values("mediamill_job_due_rows") == 3
    scene.commit(3, generation=1)
    assert scene.tokens() == (TOKENS / 20, 0)
    Ledger(scene.store, Tempo()).give_up(1, "CorruptObject: as it is")
    assert scene.tokens() == (0, 0)


def test_tokens_follow_shards_and_not_rows(tmp_path: Path) -> None:
    # Shards are cut to equal cost: a film alone is as much as a thousand clips.
    scene = Scene(tmp_path / "out")
    scene.job = put_job(scene.store, [1, 9])
    scene.commit(0)
    assert scene.tokens() == (TOKENS / 2, 0)


def test_looks_write_nothing_and_read_little(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    job = put_job(store)
    board = Board()
    board.add_job(job.queue, store.uri)
    monkeypatch.setattr(backlog, "open_store", lambda *_: store)
    assert Ledger(store, Tempo()).claim(0, 0, 0, "w") is not None
    store.calls.clear()
    (facts,) = Watch(board, Tempo()).look().jobs
    assert facts.waiting_tokens == TOKENS
    # Workers look for the commits of so few shards, one by one; a look has no need to.
    assert store.calls == [("get", SPEC_KEY), ("get", "_job/control.json")]


def test_a_job_that_vanished_is_counted_and_not_shown(scene: Scene, tmp_path: Path) -> None:
    assert scene.values("mediamill_unreadable_jobs") == 0
    scene.store.delete(SPEC_KEY)
    samples = scene.samples()
    assert samples["mediamill_up"] == [({}, 1)]
    assert "mediamill_waiting_tokens" not in samples
    assert samples["mediamill_unreadable_jobs"][0][1] == 1
    assert samples["mediamill_jobs"][0][1] == 1


def test_a_store_that_is_away_changes_no_figure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scene.tokens() == (TOKENS, 0)

    def away(*_: object) -> Any:
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(backlog, "load_job", away)
    assert scene.tokens() == (TOKENS, 0)
    assert scene.values("mediamill_unreadable_jobs") == 1
    monkeypatch.undo()
    assert scene.values("mediamill_unreadable_jobs") == 0


def test_a_place_that_is_used_again_is_another_job(scene: Scene) -> None:
    assert scene.tokens() == (TOKENS, 0)
    scene.commit(*range(5))
    assert scene.tokens() == (TOKENS / 2, 0)
    for found in list(scene.store.list("_job/")):
        scene.store.delete(found.key)
    again = put_job(scene.store, task="ocr")
    assert again.job_id != scene.job.job_id
    # Until a feeder comes by it stays listed where it was, too.
    scene.board.add_job("mediamill.other@1.1-normal", scene.store.uri)
    ((labels, tokens),) = scene.samples()["mediamill_waiting_tokens"]
    assert (labels["job_id"], labels["model"], tokens) == (again.job_id, MODEL.name, TOKENS)
    assert scene.values("mediamill_jobs", "model") == {MODEL.name: 1, "other": 0}


def test_jobs_of_one_id_in_two_places_are_two(scene: Scene, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "twin"))
    assert put_job(store).job_id == scene.job.job_id
    scene.board.add_job(scene.job.queue, store.uri)
    found = scene.values("mediamill_waiting_tokens", "out")
    assert found == {scene.store.uri: TOKENS, store.uri: TOKENS}


def test_workers_and_their_counters(scene: Scene) -> None:
    assert scene.values("mediamill_workers") == 0, "of a model that nobody serves"
    scene.board.alive = [WORKER, {**WORKER, "worker": "host-2", "rows": 1}]
    scene.board.alive.append({**WORKER, "worker": "host-3", "model": "org/m@0123456789abcdef"})
    assert scene.values("mediamill_workers", "model") == {MODEL.name: 2, "org/m": 1}
    assert scene.values("mediamill_worker_slots", "revision")["0123456789ab"] == 4
    rows = scene.values("mediamill_worker_rows_total", "worker")
    assert rows == {"host-1": 7, "host-2": 1, "host-3": 7}
    assert scene.values("mediamill_worker_failed_rows_total", "worker")["host-1"] == 2
    assert scene.values("mediamill_worker_prompt_tokens_total", "worker")["host-1"] == 700
    assert scene.values("mediamill_worker_output_tokens_total", "worker")["host-1"] == 70


def test_messages_are_counted(scene: Scene) -> None:
    scene.board.messages = 3
    ((labels, messages),) = scene.samples()["mediamill_queued_messages"]
    assert messages == 3
    assert labels == {
        "model": MODEL.name,
        "revision": MODEL.revision[:12],
        "priority": "normal",
    }


def test_without_redis_the_page_says_so_and_nothing_else(scene: Scene) -> None:
    assert scene.values("mediamill_up") == 1
    scene.board.away = True
    assert scene.samples() == {"mediamill_up": [({}, 0)]}
    scene.board.away = False
    assert scene.tokens() == (TOKENS, 0)


def test_what_is_old_is_not_shown(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.watch.try_look()
    assert scene.watch.latest is not None
    later = scene.watch.latest.at + Tempo().stalled_s
    monkeypatch.setattr("orchestration.metrics.time.monotonic", lambda: later)
    assert as_text(scene.registry).splitlines()[-1] == "mediamill_up 0.0"


def test_names_follow_the_conventions(scene: Scene) -> None:
    scene.board.alive = [WORKER]
    scene.commit(0)
    scene.watch.try_look()
    families = list(text_string_to_metric_families(as_text(scene.registry)))
    assert len({family.name for family in families}) == len(families) == 18
    for family in families:
        assert family.name.startswith("mediamill_")
        assert family.documentation.endswith(".")
        assert (family.type == "counter") == family.samples[0].name.endswith("_total")
    as_json_text = as_json(scene.registry)
    assert '{"name": "mediamill_up", "labels": {}, "value": 1.0}' in as_json_text


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_a_queue_is_read_from_its_name(priority: str) -> None:
    job = plan_job(MemoryStore(), [["image:a"]])
    model = job.model.model_copy(update={"name": "google/gemma-4.1-it", "revision": "ab" * 20})
    spec = job.spec.model_copy(update={"priority": priority})
    name = job.model_copy(update={"model": model, "spec": spec}).queue
    assert Queue.named(name) == Queue(name, "google/gemma-4.1-it", "ab" * 6, priority)


def test_one_page_without_redis_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["metrics", "--once", "--broker-url", "redis://127.0.0.1:1/0"])
    assert done.exit_code == 1
    assert "mediamill_up 0.0" in done.stdout


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "orchestration.metrics")
    monkeypatch.delattr(orchestration, "metrics")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    done = CliRunner().invoke(app, ["metrics", "--once"])
    assert "pip install 'mediamill[metrics]'" in str(done.exception)
