"""What is wanted of a job."""

from __future__ import annotations

import threading

import pytest

from jobs.control import CONTROL_KEY, read_control, write_control
from storage.errors import StoreUnavailable
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import HookedStore


def test_a_job_runs_until_somebody_says_otherwise() -> None:
    store = MemoryStore()
    assert read_control(store).wanted == "run"
    store.tick(5)
    written = write_control(store, "pause")
    assert read_control(store) == written
    assert (written.wanted, written.at) == ("pause", 1_000_005.0)
    assert "@" in written.by
    assert write_control(store, "run").wanted == read_control(store).wanted == "run"


def test_of_two_at_once_the_later_one_wins() -> None:
    memory = MemoryStore()
    for wanted in ("pause", "cancel"):  # the first creates the object, the second replaces it
        raced: list[str] = []

        def hook(when: str, method: str, key: str, raced: list[str] = raced) -> None:
            if method.startswith("put_if") and when == "before" and not raced:
                raced.append(method)
                write_control(memory, "run")

        write_control(HookedStore(memory, hook), wanted)
        assert raced
        assert read_control(memory).wanted == wanted


def test_a_crowd_of_writers_leaves_one_of_their_words() -> None:
    store = MemoryStore()
    threads = [threading.Thread(target=write_control, args=(store, "cancel")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_control(store).wanted == "cancel"


def test_one_who_always_loses_says_so() -> None:
    memory = MemoryStore()
    numbers = iter(range(10**6))

    def hook(when: str, method: str, key: str) -> None:
        if when == "before" and method.startswith("put_if"):
            memory.put(CONTROL_KEY, b'{"wanted": "run", "at": %d}' % next(numbers))

    with pytest.raises(StoreUnavailable, match="twenty times"):
        write_control(HookedStore(memory, hook), "pause")
