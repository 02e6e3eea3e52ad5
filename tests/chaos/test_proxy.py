"""What the S3 store does in each fault of the proxy before a real S3 server."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from storage.errors import Forbidden, StoreUnavailable
from storage.objects import Store, open_store, prove
from tests.chaos.proxy import Fault, FaultProxy, Order
from tests.services import S3Endpoint, new_bucket

MOTO = "moto"
RADOSGW = pytest.param("radosgw", marks=pytest.mark.full)


@pytest.fixture(scope="module", params=[MOTO, RADOSGW])
def root(request: pytest.FixtureRequest) -> Iterator[tuple[FaultProxy, str]]:
    """A proxy before the server, and a bucket; clients do not wait between their tries."""
    server: S3Endpoint = request.getfixturevalue(request.param)
    with FaultProxy(server, seed=7) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
        yield made, new_bucket(made.endpoint, patch)


@pytest.fixture
def proxy(root: tuple[FaultProxy, str]) -> FaultProxy:
    """The proxy, with nothing ordered."""
    root[0].clear()
    root[0].log.clear()
    return root[0]


@pytest.fixture
def store(proxy: FaultProxy, root: tuple[FaultProxy, str]) -> Store:
    """A store behind the proxy, empty, and proved as a job's is."""
    uri = f"{root[1]}/{secrets.token_hex(4)}/out"
    return open_store(uri, prove(open_store(uri)))


def test_what_goes_through_is_as_it_was(proxy: FaultProxy, store: Store) -> None:
    store.put("a b/é+%.bin", b"\0" * 70_000)
    assert store.get("a b/é+%.bin") == b"\0" * 70_000
    found = store.head("a b/é+%.bin")
    assert found is not None
    assert found.size == 70_000
    assert abs(found.modified - store.now()) < 5
    assert [o.key for o in store.list()] == ["a b/é+%.bin"]
    store.delete("a b/é+%.bin")
    assert store.head("a b/é+%.bin") is None
    assert proxy.log == []


@pytest.mark.parametrize("fault", ["500", "503", "reset", "lost"])
@pytest.mark.parametrize("verb", ["put", "absent", "match", "get", "head", "list", "delete"])
def test_a_passing_fault_is_passed_over(
    proxy: FaultProxy, store: Store, fault: Fault, verb: str
) -> None:
    store.put("k", b"old")
    etag = store.get_tagged("k")[1]
    order = proxy.order(Order(fault, times=2))
    if verb == "put":
        store.put("k", b"new")
        assert store.get("k") == b"new"
    elif verb == "absent":
        assert store.put_if_absent("new", b"mine"), "the first answer's token is known as ours"
        assert not store.put_if_absent("new", b"theirs")
        assert store.get("new") == b"mine"
    elif verb == "match":
        assert store.put_if_match("k", b"mine", etag), "the first answer's token is known as ours"
        assert not store.put_if_match("k", b"theirs", etag)
        assert store.get("k") == b"mine"
    elif verb == "get":
        assert store.get("k") == b"old"
    elif verb == "head":
        assert store.head("k") is not None
    elif verb == "list":
        assert [o.key for o in store.list()] == ["k"]
    else:
        store.delete("k")
        assert store.head("k") is None
    assert order.done == 2
    assert proxy.counts == {fault: 2}


@pytest.mark.parametrize("fault", ["500", "503", "reset"])
def test_a_lasting_fault_is_the_stores(proxy: FaultProxy, store: Store, fault: Fault) -> None:
    proxy.order(Order(fault, times=None))
    for call in (
        lambda: store.get("k"),
        lambda: store.put("k", b"1"),
        lambda: store.put_if_absent("k", b"1"),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    proxy.clear()
    assert store.put_if_absent("k", b"1"), "nothing had been written"


def test_a_write_whose_every_answer_is_lost_is_known_as_ours(
    proxy: FaultProxy, store: Store
) -> None:
    order = proxy.order(Order("lost", "PUT", times=None))
    assert store.put_if_absent("k", b"mine")
    assert order.done >= 1
    proxy.clear()
    assert not store.put_if_absent("k", b"theirs")


def test_a_refusal_is_final_and_nothing_is_written(proxy: FaultProxy, store: Store) -> None:
    proxy.order(Order("403", times=None))
    for call in (
        lambda: store.get("k"),
        lambda: store.head("k"),
        lambda: store.put("k", b"1"),
        lambda: store.put_if_absent("k", b"1"),
        lambda: list(store.list()),
    ):
        with pytest.raises(Forbidden):
            call()
    proxy.clear()
    assert store.put_if_absent("k", b"1")


@pytest.mark.parametrize("fault", ["truncated", "short", "flipped"])
def test_a_spoilt_body_is_asked_for_again(proxy: FaultProxy, store: Store, fault: Fault) -> None:
    for size in (1, 2, 1000, 300_000):
        proxy.clear()
        content = bytes(i % 251 for i in range(size))
        store.put("put", content)
        assert store.put_if_absent(f"absent-{size}", content)
        for key in ("put", f"absent-{size}"):
            order = proxy.order(Order(fault, "GET", times=2))
            assert store.get(key) == content
            assert order.done == 2


@pytest.mark.parametrize("fault", ["truncated", "short", "flipped"])
def test_a_body_that_is_always_spoilt_is_never_taken(
    proxy: FaultProxy, store: Store, fault: Fault
) -> None:
    store.put("k", b"true")
    proxy.order(Order(fault, "GET", times=None))
    with pytest.raises(StoreUnavailable, match="k"):
        store.get("k")
    proxy.clear()
    assert store.get("k") == b"true"


@pytest.mark.parametrize("fault", ["truncated", "short"])
def test_a_range_that_comes_short_is_asked_for_again(
    proxy: FaultProxy, store: Store, fault: Fault
) -> None:
    store.put("k", b"0123456789")
    for start, end, content in ((2, 8, b"234567"), (8, 99, b"89"), (0, 10, b"0123456789")):
        order = proxy.order(Order(fault, "GET"))
        assert store.read("k", start, end) == content
        assert order.done == 1


def test_a_range_of_all_is_known_by_its_digest(proxy: FaultProxy, store: Store) -> None:
    # As the footer of a small shard is read. Of a part nobody can tell.
    store.put("k", b"0123456789")
    order = proxy.order(Order("flipped", "GET", times=2))
    assert store.read("k", 0, 64_000) == b"0123456789"
    assert order.done == 2


@pytest.mark.parametrize("fault", ["slow", "stalled"])
def test_latency_is_waited_for(proxy: FaultProxy, store: Store, fault: Fault) -> None:
    proxy.order(Order(fault, "PUT", seconds=0.3))
    begun = time.monotonic()
    assert store.put_if_absent("k", b"1")
    assert time.monotonic() - begun >= 0.3
    assert proxy.counts == {fault: 1}


def test_a_cut_network_is_the_stores_absence(proxy: FaultProxy, store: Store) -> None:
    store.put("k", b"1")
    with proxy.network_cut():
        for call in (lambda: store.get("k"), lambda: store.put_if_absent("n", b"1")):
            with pytest.raises(StoreUnavailable, match="does not answer"):
                call()
    assert store.get("k") == b"1"
    assert store.put_if_absent("n", b"1")
    assert proxy.counts == {"cut": 1}


def test_a_cut_ends_what_waits(proxy: FaultProxy, store: Store) -> None:
    proxy.order(Order("slow", "PUT", seconds=600, times=None))
    answers: list[object] = []

    def write() -> None:
        try:
            answers.append(store.put_if_absent("k", b"1"))
        except StoreUnavailable as error:
            answers.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    while not proxy.log:
        time.sleep(0.01)
    begun = time.monotonic()
    with proxy.network_cut():
        thread.join()
    assert time.monotonic() - begun < 30
    assert isinstance(answers[0], StoreUnavailable)
    assert store.head("k") is None


def test_orders_choose_by_method_key_number_and_chance(proxy: FaultProxy, store: Store) -> None:
    data = proxy.order(Order("500", "PUT", "*/out/data/*", skip=1, times=1))
    for n in range(3):
        store.put(f"data/{n}", b"x")
        store.put(f"other/{n}", b"x")
        store.get(f"data/{n}")
    assert data.done == 1
    assert [(i.fault, i.method, i.key[-6:]) for i in proxy.log] == [("500", "PUT", "data/1")]


def test_the_same_seed_makes_the_same_faults() -> None:
    made = []
    for seed in (1, 1, 2):
        proxy = FaultProxy(S3Endpoint("http://127.0.0.1:1", {}), seed)
        proxy.order(Order("503", "HEAD", times=None, chance=0.3))
        made.append([proxy.hit("HEAD", str(n)) is not None for n in range(100)])
        spoilt = proxy.spoil("flipped", b"\0" * 100)
        assert sum(byte.bit_count() for byte in spoilt) == 1
        proxy.close()
    assert made[0] == made[1] != made[2]
    assert 15 < sum(made[0]) < 45
