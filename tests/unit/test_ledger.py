"""Attempts, leases, checkpoints and ends, as storage shows them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.checkpoint import Finished, Progress
from jobs.ledger import MAX_EQUAL_ENDS, Attempt, Ledger
from jobs.pieces import Span
from jobs.side_by_side import ABREAST
from jobs.tempo import Tempo
from storage.errors import CorruptObject, EngineDead, StoreUnavailable
from storage.records import Record
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import HookedStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def ledger(store: MemoryStore) -> Ledger:
    return Ledger(store, Tempo())


def claimed(ledger: Ledger, shard: int = 0, generation: int = 0) -> Attempt:
    state = ledger.look(shard, generation)
    attempt = ledger.claim(shard, generation, state.next, "w")
    assert attempt is not None
    return attempt


def request(start: int = 0, **changes: Any) -> Finished:
    values: dict[str, Any] = {
        "row": 3,
        "media_sha256": "m",
        "prompt_sha256": "p",
        "span": Span(0, start, start + 10, 0.5, 1.5),
        "text": "tëxt",
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "output_tokens": 2,
        "seconds": 0.25,
    }
    return Finished(**(values | changes))


def record(row_id: str = "r0") -> Record:
    return Record(row_id, "a.png", "caption", "ok", {"finished_at": 1.5}, warnings=["w"], media=[])


def test_an_attempt_is_live_while_its_newest_object_is_younger_than_the_lease(
    store: MemoryStore, ledger: Ledger
) -> None:
    assert ledger.look(0, 0) == ledger.look(0, 1)
    assert (ledger.look(0, 0).live, ledger.look(0, 0).next) == (False, 0)
    attempt = claimed(ledger)
    store.tick(59.9)
    assert ledger.look(0, 0).live
    attempt.checkpoint([])
    store.tick(59.9)
    assert ledger.look(0, 0).live, "an empty checkpoint is a heartbeat"
    store.tick(0.1)
    state = ledger.look(0, 0)
    assert (state.live, state.next) == (False, 1)
    assert not ledger.look(1, 0).live
    assert not ledger.look(0, 1).live


def test_of_two_one_wins(ledger: Ledger) -> None:
    assert ledger.claim(0, 0, 0, "a") is not None
    assert ledger.claim(0, 0, 0, "b") is None


def test_an_end_frees_the_shard_at_once(ledger: Ledger) -> None:
    claimed(ledger).end()
    state = ledger.look(0, 0)
    assert (state.live, state.next, state.equal_ends) == (False, 1, 0)


def test_a_death_that_was_witnessed_frees_it_too(store: MemoryStore, ledger: Ledger) -> None:
    claimed(ledger)
    store.put("_job/attempts/0/0000000/0000.died.json", b"{}")
    assert not ledger.look(0, 0).live


def test_one_of_two_attempts_that_lives_is_enough(store: MemoryStore, ledger: Ledger) -> None:
    first = claimed(ledger)
    store.tick(60)
    claimed(ledger).end()
    assert not ledger.look(0, 0).live
    first.checkpoint([])  # it was only slow
    assert ledger.look(0, 0).live
    assert ledger.look(0, 0).next == 2


def test_numbers_beyond_four_digits(store: MemoryStore, ledger: Ledger) -> None:
    assert ledger.claim(0, 0, 12_345, "w") is not None
    state = ledger.look(0, 0)
    assert (state.live, state.next) == (True, 12_346)


def test_work_comes_back_as_it_went(ledger: Ledger) -> None:
    attempt = claimed(ledger)
    attempt.checkpoint([(3, request()), (0, record())])
    attempt.checkpoint([])
    attempt.checkpoint([(3, request(10)), (1, record("r1"))])
    progress = ledger.progress(0, 0)
    assert progress.requests == {3: [request(), request(10)]}
    assert progress.records == {0: record(), 1: record("r1")}
    assert ledger.progress(0, 1) == ledger.progress(1, 0) == Progress()
    attempt.clean()
    assert ledger.progress(0, 0) == Progress()


def test_the_first_of_a_key_wins(store: MemoryStore, ledger: Ledger) -> None:
    first = claimed(ledger)
    store.tick(60)
    second = claimed(ledger)
    second.checkpoint([(3, request(text="later")), (0, record("later"))])
    first.checkpoint([(3, request(text="first")), (0, record("first"))])
    progress = ledger.progress(0, 0)
    assert [f.text for f in progress.requests[3]] == ["first"]
    assert progress.records[0].row_id == "first"


@given(st.lists(st.tuples(*[st.integers(0, 1)] * 3), max_size=8))
def test_a_key_is_span_medium_and_prompt(keys: list[tuple[int, int, int]]) -> None:
    progress = Progress()
    for start, media, prompt in keys:
        progress.add(3, request(start, media_sha256=str(media), prompt_sha256=str(prompt)))
    assert len(progress.requests.get(3, [])) == len(set(keys))


def test_checkpoints_that_overlap_are_two(store: MemoryStore) -> None:
    """The heart's, and that of a row that ran alone."""
    inside = threading.Barrier(2)

    def meet(when: str, method: str, key: str) -> None:
        if (when, method) == ("before", "put"):
            inside.wait(60)

    attempt = claimed(Ledger(store, Tempo()))
    attempt.store = HookedStore(store, meet)
    threads = [
        threading.Thread(target=attempt.checkpoint, args=([(place, record(f"r{place}"))],))
        for place in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(Ledger(store, Tempo()).progress(0, 0).records) == {0, 1}


def test_checkpoints_that_a_competitor_cleans_away_are_no_error(
    store: MemoryStore, ledger: Ledger
) -> None:
    attempt = claimed(ledger)
    attempt.checkpoint([(0, record())])
    attempt.checkpoint([(1, record("r1"))])

    def hook(when: str, method: str, key: str) -> None:
        if (when, method) == ("before", "get"):
            attempt.clean()

    assert Ledger(HookedStore(store, hook), Tempo()).progress(0, 0) == Progress()


def end(ledger: Ledger, error: BaseException | None) -> None:
    claimed(ledger).end(error)


def test_equal_permanent_ends_are_counted_from_the_last(ledger: Ledger) -> None:
    for _ in range(3):
        end(ledger, CorruptObject("the plan is gone"))
    state = ledger.look(0, 0)
    assert (state.equal_ends, state.error) == (3, "CorruptObject: the plan is gone")
    end(ledger, CorruptObject("another"))
    assert ledger.look(0, 0).equal_ends == 1
    end(ledger, StoreUnavailable("away"))
    assert (ledger.look(0, 0).equal_ends, ledger.look(0, 0).error) == (0, None)
    end(ledger, None)
    for _ in range(MAX_EQUAL_ENDS + 2):
        end(ledger, KeyError("a fault of ours"))
    assert ledger.look(0, 0).equal_ends == MAX_EQUAL_ENDS
    assert ledger.look(1, 0).equal_ends == 0


def test_engines_that_die_give_up_no_shard(ledger: Ledger) -> None:
    for _ in range(MAX_EQUAL_ENDS + 1):
        end(ledger, EngineDead("the engine ended"))
    state = ledger.look(0, 0)
    assert (state.live, state.equal_ends, state.error) == (False, 0, None)


@pytest.mark.parametrize(
    ("error", "permanent"),
    [(None, False), (StoreUnavailable(""), False), (EngineDead(""), False), (KeyError(1), True)],
)
def test_what_an_end_says(
    store: MemoryStore, ledger: Ledger, error: BaseException | None, permanent: bool
) -> None:
    end(ledger, error)
    value = json.loads(store.get("_job/attempts/0/0000000/0000.end.json"))
    assert value["permanent"] is permanent
    assert (value["error"] is None) == (error is None)
    assert value["at"] == store.now()


def test_given_up_until_forgiven(store: MemoryStore, ledger: Ledger) -> None:
    ledger.give_up(7, "CorruptObject: as it is")
    assert ledger.given_up() == {7: "CorruptObject: as it is"}
    assert ledger.is_given_up(7)
    assert not ledger.is_given_up(8)

    def hook(when: str, method: str, key: str) -> None:
        if (when, method) == ("before", "get"):
            ledger.forgive()

    assert Ledger(HookedStore(store, hook), Tempo()).given_up() == {}
    assert not ledger.is_given_up(7)


def test_looks_at_live_shards_are_side_by_side(store: MemoryStore, ledger: Ledger) -> None:
    shards = range(3 * ABREAST)
    for shard in shards:
        claimed(ledger, shard).checkpoint([])
        ledger.give_up(shard, f"as it is with {shard}")
    # Goes on only once so many have come: one after another they would wait for ever.
    met = threading.Barrier(ABREAST, timeout=60)

    def hook(when: str, method: str, key: str) -> None:
        if when == "before" and method in ("head", "get"):
            met.wait()

    looked = Ledger(HookedStore(store, hook), Tempo())
    assert sorted(looked.live(ledger.heartbeats([0]), store.now())) == list(shards)
    assert looked.given_up() == {shard: f"as it is with {shard}" for shard in shards}


def test_what_is_live_without_a_look_at_every_shard(store: MemoryStore, ledger: Ledger) -> None:
    silent, ended, live = (claimed(ledger, shard) for shard in (1, 2, 3))
    silent.checkpoint([])
    store.tick(60)
    ended.checkpoint([])
    ended.end()
    live.checkpoint([])
    redone = claimed(ledger, 1, generation=4)
    redone.checkpoint([])
    claimed(ledger, 5)  # younger than its first checkpoint
    store.calls.clear()
    beats = ledger.heartbeats([0, 4])
    assert {shard: beat.generation for shard, beat in beats.items()} == {1: 4, 2: 0, 3: 0}
    now = store.now()
    assert ledger.live(beats, now) == {1: now, 3: now}
    assert {method for method, _ in store.calls} == {"head"}, "and two listings"
    store.tick(60)
    assert ledger.live(ledger.heartbeats([0, 4]), store.now()) == {}


def test_what_is_none_of_ours_is_passed_over(store: MemoryStore, ledger: Ledger) -> None:
    attempt = claimed(ledger)
    attempt.checkpoint([(0, record())])
    before = ledger.look(0, 0), ledger.heartbeats([0])
    for stray in (
        "_job/attempts/0/0000000/.DS_Store",
        "_job/checkpoints/0/.nfs0001",
        "_job/checkpoints/0/0000000/.DS_Store",
        "_job/given_up/.DS_Store",
    ):
        store.put(stray, b"")
    assert (ledger.look(0, 0), ledger.heartbeats([0])) == before
    assert ledger.given_up() == {}


@pytest.mark.parametrize("damage", ["cut", "another release's"])
def test_a_checkpoint_that_cannot_be_read_is_done_again(
    store: MemoryStore, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    attempt = claimed(ledger)
    attempt.checkpoint([(0, record())])
    attempt.checkpoint([(1, record("r1"))])
    [first, _] = [found.key for found in store.list("_job/checkpoints/")]
    if damage == "cut":
        store.put(first, store.get(first)[:-20])
    else:
        with monkeypatch.context() as patched:
            to_json = Record.to_json
            patched.setattr(Record, "to_json", lambda self: to_json(self) | {"new_field": 1})
            Attempt(store, 0, 0, 0).checkpoint([(0, record())])  # over the first
    assert list(ledger.progress(0, 0).records) == [1]
