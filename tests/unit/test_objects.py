"""Stores without a service: URIs, and what a local folder does when its disk does not."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import atomic
from storage.errors import Forbidden, NotFound, Refused, StoreUnavailable, UnsafeStore
from storage.local import LocalStore
from storage.objects import StoreTraits, local_path, open_store, prove, split_uri


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "out", StoreTraits())


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    ("uri", "parent", "name"),
    [
        ("s3://b/m.jsonl", "s3://b", "m.jsonl"),
        ("s3://b/p q/m%20.jsonl", "s3://b/p q", "m%20.jsonl"),
        ("/d/m.csv", "/d", "m.csv"),
        ("file:///d/m%20n.csv", "/d", "m n.csv"),
        ("file://localhost/d/m.csv", "/d", "m.csv"),
    ],
)
def test_uris_are_split(uri: str, parent: str, name: str) -> None:
    assert split_uri(uri) == (parent, name)


@pytest.mark.parametrize("uri", ["s3://b", "s3://b/", "/", "ftp://b/k", "file://elsewhere/k", ""])
def test_uris_that_name_no_object_are_refused(uri: str) -> None:
    with pytest.raises(Refused):
        split_uri(uri)


def test_a_store_has_the_uri_it_was_opened_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("out/").uri == str(tmp_path / "out")
    assert open_store(f"file://{tmp_path}/out").uri == str(tmp_path / "out")
    assert local_path("a b").name == "a b"
    with pytest.raises(Refused, match="s3://bucket/prefix"):
        open_store("ftp://bucket/x")
    # Looking makes nothing.
    assert list(open_store("out").list()) == []
    assert open_store("out").now() > 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd"])
def test_keys_do_not_lead_out(store: LocalStore, key: str) -> None:
    with pytest.raises(Forbidden, match="leads out"):
        store.put(key, b"")


def test_a_write_leaves_nothing_but_the_object(store: LocalStore, tmp_path: Path) -> None:
    store.put("a/b/k", b"1")
    store.put_if_absent("a/b/k", b"2")
    store.put_if_absent("a/c", b"2")
    files = {p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_file()}
    assert files == {"a/b/k", "a/c"}
    # Nor do empty folders stay, which a bucket would not have either.
    store.delete("a/b/k")
    assert store.folders("a/") == []


def test_a_name_is_taken_without_hard_links(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    assert store.put_if_absent("k", b"1")
    assert not store.put_if_absent("k", b"2")
    assert store.get("k") == b"1"
    assert prove(store) == StoreTraits()


def test_a_file_system_that_can_refuse_nothing_is_refused(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EOPNOTSUPP))
    monkeypatch.setattr(atomic, "_RENAME_NOREPLACE", 0x80)  # a flag that no file system has
    with pytest.raises(UnsafeStore, match="--unsafe-store"):
        prove(store)
    traits = prove(store, unsafe=True)
    assert traits == StoreTraits(unsafe=True)
    unsafe = LocalStore(store.root, traits)
    assert unsafe.put_if_absent("k", b"1")
    assert not unsafe.put_if_absent("k", b"2")


def test_a_file_system_without_locks_is_refused(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", failing(errno.ENOLCK))
    with pytest.raises(UnsafeStore, match="no file locks"):
        prove(store)


def test_a_store_without_objects_is_tidied_to_what_was_there(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "a" / "b", StoreTraits())
    prove(store)
    store.put("k", b"1")
    store.tidy()
    assert store.get("k") == b"1", "a file in the root is somebody's"
    assert not (store.root / "_job").exists()
    store.put("_job/spec.json", b"1")
    store.tidy()
    assert store.get("_job/spec.json") == b"1"
    assert (store.root / "_job" / "tmp").is_dir(), "a store in use is left alone"


def test_a_lock_that_was_tidied_away_while_it_was_waited_for_is_taken_anew(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("k", b"1")
    lock = store.root / "_job" / "lock"
    locked: list[int] = []

    def flock(handle: int, operation: int) -> None:
        del operation
        locked.append(os.fstat(getattr(handle, "fileno", lambda: handle)()).st_ino)
        if len(locked) == 1:
            lock.rename(lock.with_name("old"))  # and not unlinked: its inode is not used again

    monkeypatch.setattr("fcntl.flock", flock)
    assert store.put_if_match("k", b"2", store.get_tagged("k")[1])
    assert len(locked) == 2
    assert locked[1] == lock.stat().st_ino


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO])
def test_a_link_that_was_made_although_it_failed_is_ours(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    link = os.link

    def lose_the_answer(source: Path, target: Path) -> None:
        link(source, target)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", lose_the_answer)
    assert store.put_if_absent("k", b"mine")
    assert store.get("k") == b"mine"


def test_a_rewrite_has_another_tag_whatever_the_clock_says(store: LocalStore) -> None:
    # Inodes are used again and ticks are coarse: only a time that always grows tells files apart.
    store.put("k", b"1")
    os.utime(store.root / "k", (4e9, 4e9))
    seen = []
    for n in range(3):
        seen.append(store.head("k"))
        assert store.put_if_match("k", b"%d" % n, seen[-1].etag)
    assert seen[0].modified == 4e9
    assert store.head("k").modified >= 4e9
    assert len({found.etag for found in seen}) == 3


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        (errno.ENOSPC, StoreUnavailable, "make room"),
        (errno.EIO, StoreUnavailable, "file system failed"),
        (errno.EACCES, Forbidden, "give this user access"),
        (errno.EROFS, Forbidden, "another folder"),
    ],
)
def test_errors_of_the_disk_are_translated(
    store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[Exception],
    hint: str,
) -> None:
    store.put("k", b"1")
    etag = store.get_tagged("k")[1]
    monkeypatch.setattr(os, "fsync", failing(code))
    for write in (
        lambda: store.put("k", b"2"),
        lambda: store.put_if_absent("new", b"2"),
        lambda: store.put_if_match("k", b"2", etag),
    ):
        with pytest.raises(kind, match=hint):
            write()
    assert store.get("k") == b"1"
    assert [found.key for found in store.list()] == ["k"]
    assert list((store.root / "_job/tmp").iterdir()) == []


def test_a_folder_is_no_object(store: LocalStore) -> None:
    store.put("a/k", b"1")
    assert store.head("a") is None
    assert store.head("a/k/below") is None
    with pytest.raises(NotFound):
        store.get("a")
    with pytest.raises(NotFound):
        store.read("a/k/below", 0, 1)


def test_a_writer_and_one_who_deletes_the_folder_do_not_meet(store: LocalStore) -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            store.put("a/b/other", b"")
            store.delete("a/b/other")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for n in range(100):
            assert store.put_if_absent(f"a/b/{n}", b"x")
            store.delete(f"a/b/{n}")
    finally:
        stop.set()
        thread.join()


def test_what_dead_writers_left_is_swept(store: LocalStore) -> None:
    tmp = store.root / "_job/tmp"
    tmp.mkdir(parents=True)
    (tmp / "old").write_bytes(b"x")
    os.utime(tmp / "old", (0, 0))
    (tmp / "new").write_bytes(b"x")
    store.put("k", b"1")
    assert [path.name for path in tmp.iterdir()] == ["new"]


def test_links_to_files_are_listed_and_links_to_folders_are_not_entered(
    store: LocalStore, tmp_path: Path
) -> None:
    store.put("a/k", b"123")
    (store.root / "a/loop").symlink_to(store.root)
    (store.root / "a/link").symlink_to(store.root / "a/k")
    (store.root / "a/dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(store.root / "a/pipe")
    assert [(found.key, found.size) for found in store.list()] == [("a/k", 3), ("a/link", 3)]


_names = st.sampled_from(["a", "a-", "a.", "b", "é", "B"])
_key = st.lists(_names, min_size=1, max_size=3).map("/".join)
_keys = st.sets(_key, max_size=12)
_part = st.text("ab-./é", max_size=4)


@given(keys=_keys, prefix=_part, after=_part | _key)
def test_listings_equal_a_sorted_filter(
    keys: set[str], prefix: str, after: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tree")
    # A file system cannot hold a file and a folder of one name.
    keys = {key for key in keys if not any(other.startswith(f"{key}/") for other in keys)}
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(b"")
    listed = [found.key for found in open_store(str(root)).list(_clean(prefix), after=after)]
    expected = [key for key in keys if key.startswith(_clean(prefix)) and key > after]
    assert listed == sorted(expected)


def _clean(prefix: str) -> str:
    """Keys have no empty, `.` or `..` parts, so a prefix has none either."""
    return "/".join(part for part in prefix.split("/") if part.strip("."))
