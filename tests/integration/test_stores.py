"""One body over every kind of store: a local folder, moto's S3, and Ceph's gateway."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from storage.errors import BadCredentials, NotFound, Refused, StoreUnavailable, UnsafeStore
from storage.objects import Store, StoreTraits, open_object, open_store, prove
from tests.services import new_bucket

LOCAL, MOTO = "local", "moto"
RADOSGW = pytest.param("radosgw", marks=pytest.mark.full)
S3 = [MOTO, RADOSGW]


def root_of(kind: str, request: pytest.FixtureRequest) -> str:
    if kind == LOCAL:
        return str(request.getfixturevalue("tmp_path") / "out")
    endpoint = request.getfixturevalue(kind)
    return new_bucket(endpoint, request.getfixturevalue("monkeypatch")) + "/jobs/one"


@pytest.fixture(params=[LOCAL, *S3])
def root(request: pytest.FixtureRequest) -> str:
    return root_of(request.param, request)


@pytest.fixture(params=S3)
def s3_root(request: pytest.FixtureRequest) -> str:
    return root_of(request.param, request)


@pytest.fixture
def store(root: str) -> Store:
    """As a job opens it: proved, then opened with what was found out."""
    return open_store(root, prove(open_store(root)))


def test_objects_come_back_as_they_were_put(store: Store) -> None:
    store.put("a/b.bin", b"\0one")
    store.put("a/b.bin", b"\0three")
    assert store.get("a/b.bin") == b"\0three"
    found = store.head("a/b.bin")
    assert found is not None
    assert (found.key, found.size) == ("a/b.bin", 6)
    assert abs(found.modified - store.now()) < 5
    assert store.get_tagged("a/b.bin") == (b"\0three", found.etag)
    # A listing may tell the time to a millisecond where an answer tells it to a second.
    (listed,) = store.list()
    assert replace(listed, modified=found.modified) == found
    assert abs(listed.modified - found.modified) < 1
    store.put("empty", b"")
    assert store.get("empty") == b""


def test_what_is_not_there(store: Store, root: str) -> None:
    assert store.head("none") is None
    assert list(store.list("none/")) == []
    assert store.folders("none/") == []
    store.delete("none")
    for read in (store.get, store.get_tagged, lambda key: store.read(key, 0, 1)):
        with pytest.raises(NotFound, match="none"):
            read("none")
    assert store.uri == root


def test_ranges(store: Store) -> None:
    store.put("k", b"0123456789")
    assert store.read("k", 2, 5) == b"234"
    assert store.read("k", 8, 99) == b"89"
    assert store.read("k", 10, 20) == b""
    assert store.read("k", 3, 3) == b""


def test_a_range_of_a_replaced_object_is_refused(store: Store) -> None:
    store.put("k", b"0123456789")
    found = store.head("k")
    assert found is not None
    assert store.read("k", 0, 4, etag=found.etag) == b"0123"
    store.put("k", b"abcdefghij")
    with pytest.raises(NotFound, match="replaced"):
        store.read("k", 4, 8, etag=found.etag)


def test_listings_are_sorted_by_key_and_go_on_after_one(store: Store) -> None:
    # In order of bytes, in which `-` and `.` come before `/` and `é` after `z`.
    keys = ["a-b/x", "a.txt", "a/b/c", "a/b/d", "a/z", "ab", "b c+%", "z", "é/1"]
    for key in reversed(keys):
        store.put(key, b"x")
    assert [found.key for found in store.list()] == keys
    for after in keys:
        assert [found.key for found in store.list(after=after)] == keys[keys.index(after) + 1 :]
    assert [found.key for found in store.list("a/")] == ["a/b/c", "a/b/d", "a/z"]
    assert [found.key for found in store.list("a/b")] == ["a/b/c", "a/b/d"]
    assert [found.key for found in store.list("a", after="a/b/c")] == ["a/b/d", "a/z", "ab"]
    assert store.folders("") == ["a", "a-b", "é"]
    assert store.folders("a/") == ["b"]


@pytest.mark.parametrize("kind", [LOCAL, pytest.param(MOTO, marks=pytest.mark.full)])
def test_listings_of_more_than_a_page(kind: str, request: pytest.FixtureRequest) -> None:
    store = open_store(root_of(kind, request))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: store.put(f"data/{n:05}", b""), range(1005)))
        list(pool.map(lambda n: store.put(f"tree/{n:05}/x", b""), range(1005)))
    assert [f.key for f in store.list("data/")] == [f"data/{n:05}" for n in range(1005)]
    assert len(store.folders("tree/")) == 1005


def test_put_if_absent_writes_once(store: Store) -> None:
    assert store.put_if_absent("data/1", b"mine")
    assert not store.put_if_absent("data/1", b"theirs")
    assert not store.put_if_absent("data/1", b"mine")
    assert store.get("data/1") == b"mine"
    store.delete("data/1")
    assert store.put_if_absent("data/1", b"again")
    assert [found.key for found in store.list()] == ["data/1"]


def test_put_if_match_replaces_what_was_read_and_nothing_else(store: Store) -> None:
    assert not store.put_if_match("k", b"x", '"0123456789abcdef0123456789abcdef"')
    store.put("k", b"one")
    first = store.get_tagged("k")[1]
    assert store.put_if_match("k", b"two", first)
    assert not store.put_if_match("k", b"three", first)
    data, second = store.get_tagged("k")
    assert data == b"two"
    listed = next(iter(store.list("k")))
    assert store.put_if_match("k", b"four", listed.etag)
    assert second == listed.etag
    assert store.get("k") == b"four"


def race(stores: list[Store], put: Callable[[Store, int], bool]) -> list[int]:
    """Let all write at once; gives the numbers of those who were told that they won."""
    start = threading.Barrier(len(stores))

    def run(number: int) -> bool:
        start.wait()
        return put(stores[number], number)

    with ThreadPoolExecutor(len(stores)) as pool:
        return [n for n, won in enumerate(pool.map(run, range(len(stores)))) if won]


@pytest.mark.parametrize("kind", [LOCAL, RADOSGW])
def test_of_eight_writers_one_wins(kind: str, request: pytest.FixtureRequest) -> None:
    # Not on moto: it checks and then writes without a lock.
    uri = root_of(kind, request)
    traits = prove(open_store(uri))
    stores = [open_store(uri, traits) for _ in range(8)]
    for n in range(50):
        key = f"a/{n}"
        winners = race(stores, partial(_put_absent, key))
        assert len(winners) == 1
        assert stores[0].get(key) == b"%d" % winners[0]
    stores[0].put("m", b"start")
    for n in range(20):
        winners = race(stores, partial(_put_match, n, stores[0].get_tagged("m")[1]))
        assert len(winners) == 1
        assert stores[0].get("m") == b"%d %d" % (n, winners[0])


def _put_absent(key: str, store: Store, me: int) -> bool:
    return store.put_if_absent(key, b"%d" % me)


def _put_match(turn: int, etag: str, store: Store, me: int) -> bool:
    # Every turn's content is new: S3's tag is a digest, so what was there before would match.
    return store.put_if_match("m", b"%d %d" % (turn, me), etag)


def test_one_object_by_its_uri(store: Store, root: str) -> None:
    store.put("lists/m.jsonl", b"{}")
    parent, key = open_object(f"{root}/lists/m.jsonl")
    assert (parent.uri, key) == (f"{root}/lists", "m.jsonl")
    assert parent.get(key) == b"{}"


def test_the_probe_leaves_nothing(root: str) -> None:
    store = open_store(root)
    traits = prove(store)
    assert not traits.unsafe
    assert list(store.list()) == []


@pytest.mark.parametrize("kind", [RADOSGW])
def test_ceph_wants_bare_etags(kind: str, request: pytest.FixtureRequest) -> None:
    assert prove(open_store(root_of(kind, request))) == StoreTraits(bare_etags=True)


def test_an_unsafe_store_is_checked_by_its_one_writer(root: str) -> None:
    store = open_store(root, StoreTraits(unsafe=True))
    assert store.put_if_absent("k", b"1")
    assert not store.put_if_absent("k", b"2")
    etag = store.get_tagged("k")[1]
    assert store.put_if_match("k", b"22", etag)
    assert not store.put_if_match("k", b"333", etag)
    assert store.get("k") == b"22"


# S3 alone: what the wire and the server may do.


def client_of(store: Store) -> object:
    return store._bucket._client  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", ["absent", "match"])
def test_a_write_whose_answer_was_lost_is_known_as_ours(s3_root: str, verb: str) -> None:
    store = open_store(s3_root, prove(open_store(s3_root)))
    store.put("k", b"old")
    etag = store.get_tagged("k")[1]
    lost: list[object] = []

    def lose(response_dict: dict[str, object], **_: object) -> None:
        # The first answer never comes: botocore sends the write again, and meets a 412.
        if not lost:
            lost.append(response_dict["status_code"])
            response_dict.update(status_code=500, body=b"")

    events = client_of(store).meta.events
    events.register("before-parse.s3.PutObject", lose)
    try:
        if verb == "absent":
            assert store.put_if_absent("new", b"mine")
            assert store.get("new") == b"mine"
        else:
            assert store.put_if_match("k", b"mine", etag)
            assert store.get("k") == b"mine"
    finally:
        events.unregister("before-parse.s3.PutObject", lose)
    assert lost == [200]
    assert not store.put_if_absent("k", b"other")


def test_a_write_whose_every_answer_was_lost_is_read_back(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3_bucket)
    bucket = store._bucket
    send = bucket._send
    sent = []

    def lose(client: object, operation: str, *rest: object) -> object:
        answer = send(client, operation, *rest)
        if operation == "put_object":
            sent.append(answer)
            raise StoreUnavailable("cut off")
        return answer

    monkeypatch.setattr(bucket, "_send", lose)
    assert store.put_if_absent("k", b"mine")
    assert len(sent) == 1
    # Another's object is there: the write certainly did not happen.
    assert not store.put_if_absent("k", b"other")


def test_a_write_that_never_arrived_is_sent_again(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3_bucket)
    bucket = store._bucket
    send = bucket._send
    failures = iter([StoreUnavailable("cut off")])

    def cut(client: object, operation: str, *rest: object) -> object:
        if operation == "put_object" and (failure := next(failures, None)):
            raise failure
        return send(client, operation, *rest)

    monkeypatch.setattr(bucket, "_send", cut)
    assert store.put_if_absent("k", b"mine")
    assert store.get("k") == b"mine"


def test_conflicts_inside_the_store_are_tried_again(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3_bucket)
    bucket = store._bucket
    send = bucket._send
    conflicts = [409, 409]

    def conflict(client: object, operation: str, *rest: object) -> object:
        if operation == "put_object" and conflicts:
            return {"ResponseMetadata": {"HTTPStatusCode": conflicts.pop()}}
        return send(client, operation, *rest)

    monkeypatch.setattr(bucket, "_send", conflict)
    assert store.put_if_absent("k", b"mine")
    assert conflicts == []


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_store_that_ignores_conditions_is_refused(s3_bucket: str, header: str) -> None:
    store = open_store(s3_bucket)

    def ignore(request: object = None, **_: object) -> None:
        if header in request.headers:
            del request.headers[header]

    events = client_of(store).meta.events
    events.register("before-sign.s3.PutObject", ignore)
    try:
        with pytest.raises(UnsafeStore, match=f"ignored {header}.*--unsafe-store"):
            prove(store)
        assert prove(store, unsafe=True) == StoreTraits(unsafe=True)
    finally:
        events.unregister("before-sign.s3.PutObject", ignore)
    assert list(store.list()) == []


def test_folder_marks_of_other_tools_are_no_objects(s3_bucket: str) -> None:
    store = open_store(s3_bucket)
    store.put("photos/", b"")
    store.put("photos/1.jpg", b"x")
    assert [found.key for found in store.list()] == ["photos/1.jpg"]


def test_a_bucket_that_is_not_there(s3_bucket: str) -> None:
    for call in (lambda s: s.get("k"), lambda s: list(s.list()), lambda s: prove(s)):
        with pytest.raises(NotFound, match="no such bucket"):
            call(open_store("s3://nobody-made-this-one"))


@pytest.mark.parametrize("kind", [RADOSGW])
def test_wrong_credentials_are_forbidden(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = root_of(kind, request)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for call in (lambda s: s.get("k"), lambda s: s.head("k"), lambda s: list(s.list())):
        with pytest.raises(BadCredentials, match="AWS_ACCESS_KEY_ID"):
            call(open_store(uri))


def test_no_credentials_says_what_to_set(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(BadCredentials, match="AWS_SECRET_ACCESS_KEY"):
        open_store(s3_bucket).get("k")


@pytest.fixture(params=["refused", "silent", "unconnected"])
def dead_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that refuses, one that accepts and says nothing, and one that never accepts."""
    with contextlib.ExitStack() as stack:
        backlog = 0 if request.param == "unconnected" else 16
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
        port: int = server.getsockname()[1]
        if request.param == "refused":
            server.close()
        if request.param == "unconnected":
            # A full queue: the kernel drops further connections without an answer.
            for _ in range(2):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
        yield port


def test_an_endpoint_that_does_not_answer_is_known_within_10_s(
    dead_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{dead_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="AWS_ENDPOINT_URL"):
        prove(open_store("s3://bucket/out"))
    assert time.monotonic() - begun < 10


def test_a_bad_endpoint_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no url")
    with pytest.raises(Refused, match="AWS_ENDPOINT_URL"):
        open_store("s3://bucket/out")
    with pytest.raises(Refused, match="names no bucket"):
        open_store("s3:///x")


def test_stores_of_one_endpoint_share_a_client(s3_bucket: str) -> None:
    assert client_of(open_store(s3_bucket)) is client_of(open_store(f"{s3_bucket}/other"))
