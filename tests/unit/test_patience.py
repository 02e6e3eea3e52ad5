"""Waiting out a store that is away."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from storage.errors import BadCredentials, Forbidden, RowError, StoreUnavailable
from storage.media import MediaSource, NoCredentials
from storage.objects import Store
from storage.patience import PatientStore
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import HookedStore

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
CALLS: list[tuple[str, Callable[[Store], Any], Any]] = [
    ("get", lambda s: s.get("k"), b"v"),
    ("get_tagged", lambda s: s.get_tagged("k")[0], b"v"),
    ("head", lambda s: s.head("k") is not None, True),
    ("read", lambda s: s.read("k", 0, 1), b"v"),
    ("put", lambda s: s.put("k2", b"v"), None),
    ("put_if_absent", lambda s: s.put_if_absent("k3", b"v"), True),
    ("put_if_match", lambda s: s.put_if_match("k", b"w", "no"), False),
    ("delete", lambda s: s.delete("k"), None),
    ("folders", lambda s: s.folders(""), []),
    ("now", lambda s: s.now(), 1_000_000.0),
    ("list", lambda s: [f.key for f in s.list()], ["k"]),
]


class Waits(threading.Event):
    """A stop flag that notes the waits for it, and lasts no time."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        return self.is_set()


def outage(error: Exception, times: int) -> tuple[MemoryStore, Store, list[str]]:
    """A store with one object whose first calls raise."""
    memory = MemoryStore()
    memory.put("k", b"v")
    failed: list[str] = []

    def hook(when: str, method: str, key: str) -> None:
        if when == "before" and len(failed) < times:
            failed.append(method)
            raise error

    return memory, HookedStore(memory, hook), failed


@pytest.mark.parametrize(("name", "call", "answer"), CALLS, ids=[c[0] for c in CALLS])
def test_every_call_is_tried_again(name: str, call: Callable[[Store], Any], answer: Any) -> None:
    _, store, failed = outage(StoreUnavailable("away"), 5)
    stop = Waits()
    assert call(PatientStore(store, 600, stop)) == answer
    assert failed == [name] * 5
    assert len(stop.waits) == 5
    # Full jitter below 1, 2, 4, 8 and 16 s.
    assert all(0 < wait <= 2**i for i, wait in enumerate(stop.waits))


@pytest.mark.parametrize(("name", "call", "answer"), CALLS, ids=[c[0] for c in CALLS])
def test_other_errors_are_raised_at_once(
    name: str, call: Callable[[Store], Any], answer: Any
) -> None:
    _, store, failed = outage(Forbidden("no"), 1)
    stop = Waits()
    with pytest.raises(Forbidden):
        call(PatientStore(store, 600, stop))
    assert (failed, stop.waits) == ([name], [])


def test_an_outage_ends_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    _, store, failed = outage(StoreUnavailable("away"), 10**6)
    stop = Waits()
    monkeypatch.setattr("storage.patience.time.monotonic", lambda: sum(stop.waits))
    with pytest.raises(StoreUnavailable):
        PatientStore(store, 600, stop).get("k")
    assert sum(stop.waits) == pytest.approx(600)
    assert max(stop.waits) <= 60
    assert len(failed) == len(stop.waits) + 1


def test_an_outage_is_waited_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shard still has to write after it gave up must not wait as long again."""
    _, store, failed = outage(StoreUnavailable("away"), 10**6)
    stop = Waits()
    monkeypatch.setattr("storage.patience.time.monotonic", lambda: sum(stop.waits))
    patient = PatientStore(store, 600, stop)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            patient.get("k")
    assert sum(stop.waits) == pytest.approx(600)
    failed.extend(["well again"] * 10**6)
    assert patient.get("k") == b"v"
    failed.clear()
    with pytest.raises(StoreUnavailable):
        patient.put("k", b"")
    assert sum(stop.waits) == pytest.approx(1200), "the next outage is another"


def test_stop_ends_the_patience_at_once() -> None:
    _, store, failed = outage(StoreUnavailable("away"), 10**6)
    stop = Waits()
    stop.set()
    with pytest.raises(StoreUnavailable):
        PatientStore(store, 600, stop).put("k", b"")
    assert (len(failed), stop.waits) == (1, [])


@pytest.mark.parametrize("at", range(7))
def test_a_listing_that_broke_goes_on_behind_the_last_key(at: int) -> None:
    memory = MemoryStore()
    keys = [f"a/{i}" for i in range(6)]
    for key in keys:
        memory.put(key, b"")
    given = 0

    class Breaking(MemoryStore):
        broken = False

        def list(self, prefix: str = "", *, after: str = "") -> Any:
            nonlocal given
            for found in memory.list(prefix, after=after):
                if given == at and not self.broken:
                    self.broken = True
                    raise StoreUnavailable("away")
                given += 1
                yield found
            if given == at and not self.broken:
                self.broken = True
                raise StoreUnavailable("away at the end")

    store = Breaking()
    assert [f.key for f in PatientStore(store, 600, Waits()).list("a/")] == keys
    assert store.broken
    assert given == 6


# --- media ---------------------------------------------------------------------------------


@dataclass
class Away:
    """Object stores hold `x.png`; the next `times` calls fail, of `key` alone if there is one."""

    times: int = 0
    key: str = ""
    error: Exception = field(default_factory=lambda: StoreUnavailable("away"))
    between: Callable[[], object] = lambda: None

    def hook(self, when: str, call: str, key: str) -> None:
        if when == "before" and self.times and self.key in ("", key):
            self.times -= 1
            if self.key:
                self.between()
            raise self.error


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    made, store = Away(), MemoryStore()
    store.put("x.png", PNG)
    monkeypatch.setattr("storage.media.open_store", lambda _: HookedStore(store, made.hook))
    monkeypatch.setattr("storage.patience._FIRST_S", 0.001)
    return made


def test_media_wait_for_a_store_that_has_answered_before(away: Away) -> None:
    with contextlib.closing(MediaSource(local_roots=[], outage_s=60)) as source:
        assert source.fetch("s3://b/x.png", max_bytes=100).source == PNG
        away.times = 5
        assert source.fetch("s3://c/x.png", max_bytes=100).source == PNG
    assert away.times == 0


@pytest.mark.parametrize("place", ["s3://b", "az://never/there"])
def test_places_that_may_not_be_there_are_not_waited_for(away: Away, place: str) -> None:
    away.times = 99
    with contextlib.closing(MediaSource(local_roots=[], outage_s=60)) as source:
        for _ in range(2):
            with pytest.raises(RowError, match="away"):
                source.fetch(f"{place}/x.png", max_bytes=100)
    assert away.times == 97


def test_an_object_that_its_store_does_not_give_is_not_waited_for(away: Away) -> None:
    with contextlib.closing(MediaSource(local_roots=[], outage_s=1e6)) as source:
        source.fetch("s3://b/x.png", max_bytes=100)
        away.key, away.times = "bad.png", 99
        away.between = lambda: source.fetch("s3://b/x.png", max_bytes=100)
        with pytest.raises(RowError, match="away"):
            source.fetch("s3://b/bad.png", max_bytes=100)
    assert away.times == 96


def test_credentials_that_never_let_in_are_the_rows_fault(away: Away) -> None:
    away.times, away.error = 1, BadCredentials("none")
    with contextlib.closing(MediaSource(local_roots=[], outage_s=60)) as source:
        with pytest.raises(NoCredentials, match="none") as caught:
            source.fetch("s3://b/x.png", max_bytes=100)
        assert (caught.value.kind, caught.value.retryable) == ("forbidden", True)
        source.fetch("s3://b/x.png", max_bytes=100)
        # Those that did are this machine's: its shards go to another.
        away.times = 1
        with pytest.raises(BadCredentials):
            source.fetch("s3://b/x.png", max_bytes=100)


def test_who_waits_for_a_store_is_let_go_at_the_end(away: Away) -> None:
    asked = threading.Event()
    source = MediaSource(local_roots=[], outage_s=1e6)
    source.fetch("s3://b/x.png", max_bytes=100)
    away.times, away.key, away.between = 10**9, "x.png", asked.set
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(source.fetch, "s3://b/x.png", max_bytes=100)
        assert asked.wait(60)
        source.close()
        with pytest.raises(RowError, match="away"):
            waiting.result(60)
