"""One object store behind a URI: what every other room reads from and writes to.

A store is the tree of objects below a root. Keys are relative to the root and
separated by `/`. `open_store` gives the one that a URI names; `prove` finds out
whether it decides conditional writes, on which the commit of a shard rests.
"""

from __future__ import annotations

import posixpath
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from storage.errors import NotFound, Refused, UnsafeStore

#: `list` inside a class that has a method of that name.
Names = list[str]
#: Schemes of stores that are only read, through fsspec.
FOREIGN = frozenset({"gs", "az", "abfs", "hf"})
#: Schemes of stores that are not this machine's.
REMOTE = frozenset({"s3", *FOREIGN})


@dataclass(frozen=True, slots=True)
class Object:
    """One object as its store lists it; `modified` is seconds since the epoch by the store's
    clock, and `etag` changes whenever the content is replaced."""

    key: str
    size: int
    etag: str
    modified: float


@dataclass(frozen=True, slots=True)
class StoreTraits:
    """What `prove` found out and a job's spec keeps.

    `bare_etags`: the store compares If-Match without the quotes that it gives tags in.
    `unsafe`: it decides no conditions; they are checked here, which is right for one
    writer only.
    """

    bare_etags: bool = False
    unsafe: bool = False


class Store(Protocol):
    """Objects below one root. Thread-safe.

    Every method may raise StoreUnavailable (worth trying again) or Forbidden.
    """

    @property
    def uri(self) -> str:
        """The root, as it was opened, without a trailing slash."""
        ...

    def get(self, key: str) -> bytes:
        """The whole content. Raises NotFound."""
        ...

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """The whole content, and the etag to give to `put_if_match`. Raises NotFound."""
        ...

    def head(self, key: str) -> Object | None:
        """The object without its content; None if there is none."""
        ...

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        """Bytes `start` to `end` (exclusive), fewer at the object's end.

        Raises NotFound if there is no such object, or if `etag` is given and the
        object has been replaced since.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write, whatever was there."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write if there is nothing: True if ours is there, False if somebody else's is."""
        ...

    def put_if_match(self, key: str, data: bytes, etag: str) -> bool:
        """Replace the object if it still has this etag: True if ours is there.

        On S3 the tag is a digest: two who write what was there before can both be told
        True, so say when, or by whom, in what is written.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove; an absent object is fine."""
        ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        """Objects whose key starts with `prefix` and is greater than `after`, sorted by key."""
        ...

    def folders(self, prefix: str) -> Names:
        """Names of the folders right below `prefix` (which ends in `/` or is empty), sorted."""
        ...

    def now(self) -> float:
        """Seconds since the epoch by the store's own clock, to compare with `modified`."""
        ...


def open_store(uri: str, traits: StoreTraits = StoreTraits()) -> Store:
    """The store whose root is `s3://bucket/prefix`, `file:///path` or a path; to read from,
    also one of the schemes in `FOREIGN`.

    Nothing is looked at yet: the first call of an S3 store finds out within 10 s whether
    the endpoint answers and the bucket exists. Raises Refused for a URI of another kind.
    """
    if uri.startswith("s3://"):
        # boto3 takes a third of a second to import, and local work does without it.
        from storage.s3 import S3Store

        return S3Store(uri, traits)
    if uri.partition("://")[0] in FOREIGN:
        from storage.foreign import ForeignStore

        return ForeignStore(uri)
    from storage.local import LocalStore

    return LocalStore(local_path(uri), traits)


def open_object(uri: str, traits: StoreTraits = StoreTraits()) -> tuple[Store, str]:
    """The store and the key of one object, such as a manifest: its folder is the root."""
    root, key = split_uri(uri)
    return open_store(root, traits), key


def split_uri(uri: str) -> tuple[str, str]:
    """Parent and name of an object's URI: `s3://b/p/m.jsonl` is `("s3://b/p", "m.jsonl")`.

    Raises Refused for a URI that names no object.
    """
    scheme, _, rest = uri.partition("://")
    if scheme in REMOTE and rest:
        parent, slash, key = rest.rpartition("/")
        if not slash or not key:
            raise Refused(f"{uri}: names no object; give {scheme}://bucket/key")
        return f"{scheme}://{parent}", key
    path = local_path(uri)
    if not path.name:
        raise Refused(f"{uri}: names no file")
    return str(path.parent), path.name


def split_bucket(uri: str) -> tuple[str, str]:
    """Bucket and key of a remote object's URI: `s3://b/p/x.jpg` is `("s3://b", "p/x.jpg")`.

    Raises NotFound for a URI that names no object.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key:
        raise NotFound(f"{uri}: names no object; write {scheme}://bucket/key")
    return f"{scheme}://{bucket}", key


def read_only(uri: str) -> Refused:
    """What is said of writing to a store that is only read."""
    return Refused(
        f"{uri}: {uri.partition('://')[0]}:// is only read from; results go to s3://bucket/prefix "
        "or a local path, since the commit of a shard is a conditional write, which cannot be "
        "asked for here"
    )


def is_local(uri: str) -> bool:
    """Whether it is a path or a `file:` URI."""
    return "://" not in uri or uri.startswith("file:")


def local_path(uri: str) -> Path:
    """The absolute path that a path or `file:` URI names, symlinks kept. Raises Refused."""
    if uri.startswith("file:"):
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise Refused(f"{uri}: names another machine; write file:///path")
        return Path(unquote(parts.path)).absolute()
    if "://" in uri:
        raise Refused(
            f"{uri}: only s3://bucket/prefix, file:///path and local paths are known (and to read "
            f"from: {', '.join(f'{scheme}://' for scheme in sorted(FOREIGN))})"
        )
    if not uri:
        raise Refused("an empty path names no store; give s3://bucket/prefix or a local path")
    return Path(uri).absolute()


def prove(store: Store, *, unsafe: bool = False) -> StoreTraits:
    """Find out by trying whether the store decides conditional writes, and clean up.

    Gives the traits to reopen it with. Raises UnsafeStore if it ignores conditions,
    unless `unsafe`: then the traits say that conditions are to be checked by the one
    writer there may be.
    """
    try:
        return _probe(store)
    except UnsafeStore:
        if unsafe:
            return StoreTraits(unsafe=True)
        raise


def _probe(store: Store) -> StoreTraits:
    key = f"_job/probe/{secrets.token_hex(8)}"
    try:
        if not store.put_if_absent(key, b"first"):
            raise UnsafeStore(_unsafe(store, "refused put-if-absent where there was nothing"))
        stale = store.get_tagged(key)[1]
        if store.put_if_absent(key, b"second") or store.get(key) != b"first":
            raise UnsafeStore(_unsafe(store, "ignored If-None-Match and overwrote an object"))
        # The first tag goes stale by an ordinary write, so that both answers are seen.
        store.put(key, b"the third")
        fresh = store.get_tagged(key)[1]
        for bare in (False, True):
            traits = StoreTraits(bare_etags=bare)
            other = open_store(store.uri, traits) if bare else store
            if other.put_if_match(key, b"stale", stale) or store.get(key) != b"the third":
                raise UnsafeStore(_unsafe(store, "ignored If-Match and overwrote an object"))
            if other.put_if_match(key, b"fourth", fresh):
                return traits
        raise UnsafeStore(_unsafe(store, "refused put-if-match with the object's own tag"))
    finally:
        store.delete(key)


def _unsafe(store: Store, what: str) -> str:
    return (
        f"{store.uri}: the store {what}, so two workers could both commit a shard; use a store "
        "that decides conditional writes (AWS S3, MinIO since 2024, Ceph, a local disk), or give "
        "--unsafe-store if there will only ever be one writer"
    )


def scheme_of(uri: str) -> str:
    """What stands before the colon; empty of a path."""
    return uri.partition(":")[0].lower() if re.match(r"[A-Za-z][\w+.-]+:", uri) else ""


def store_scheme(uri: str, base: str | None) -> str:
    """The scheme of where a medium comes from, also out of a table or a tar, or below `base`."""
    return scheme_of(uri.removeprefix("cell:").removeprefix("tar:")) or scheme_of(base or "")


def joined(uri: str, base: str | None) -> str:
    """A remote URI as it is, or a relative one below the prefix `base`."""
    if base is None or not is_local(uri):
        return uri
    scheme, _, path = base.partition("://")
    bucket, _, prefix = path.partition("/")
    key = posixpath.normpath(posixpath.join("/", prefix, uri)).lstrip("/")
    return f"{scheme}://{bucket}/{key}"
