"""The bytes of one medium of a row, from wherever its URI says.

Objects of stores, local files, https:// and data: URIs, cells of tables and members of tars end
as one `Media`: capped in size, hashed, and of a kind that its first bytes show. What fails is
a RowError, but for credentials that this machine lacks: those are no row's fault.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from storage.ahead import ahead, parts
from storage.cells import Cells
from storage.errors import (
    BadCredentials,
    RowError,
    StoreUnavailable,
    as_row_errors,
)
from storage.objects import (
    REMOTE,
    Object,
    Store,
    is_local,
    joined,
    open_store,
    scheme_of,
    split_bucket,
    store_scheme,
)
from storage.patience import PatientStore
from storage.presigned import has_login, masked, told
from storage.roots import Roots, open_file
from storage.sniff import HEAD_BYTES, Kind, sniff
from storage.spool import SMALL_BYTES, Sink, Spool, too_large
from storage.tar_members import TarMembers
from storage.urls import UrlRules, redact
from storage.web import Patience, Web

#: Bytes of one ranged read of a large object, and reads under way for one medium: enough to
#: fill a fast network, and 32 MiB of memory.
_PART_BYTES = 8 * 1024 * 1024
_PARTS_AHEAD = 4
#: Ranged reads under way for all media of a process.
_PART_THREADS = 32
#: Schemes whose every bucket is answered for by one place; others name a machine of their own.
_ONE_PLACE = frozenset({"s3", "gs", "hf"})
#: How often an object is asked for that its store does not give, while it gives others.
_TRIES = 3
_DATA = re.compile(r"data:(?P<type>[^,]*?)(?P<base64>;\s*base64)?\s*,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Media:
    """One fetched medium. `source` is its bytes, or a file that holds them.

    `kind` and `mime` are what the first bytes show, `sha256` is the hex digest of the
    content, `size` its bytes; `spooled` says that the file is ours to remove.
    """

    uri: str
    kind: Kind
    mime: str
    size: int
    sha256: str
    source: bytes | Path
    spooled: bool

    def close(self) -> None:
        """Remove the file if it was fetched for us. Safe to call twice."""
        if self.spooled and isinstance(self.source, Path):
            self.source.unlink(missing_ok=True)


class NoCredentials(RowError):
    """Raised for a medium of a store that this machine has never been let into: forbidden, and
    worth another try once it has credentials."""

    @property
    def retryable(self) -> bool:
        """Always."""
        return True


class MediaSource:
    """Fetches media for one process. Thread-safe.

    `local_roots` are the folders whose files may be read, with symlinks resolved: None
    for whatever the user may read, empty for none. `spool_dir` is where larger media
    are kept while they are worked on (the system's temporary folder by default). An
    object store may be away for `outage_s` seconds before its media are errors.
    """

    def __init__(
        self,
        *,
        local_roots: Sequence[Path] | None,
        spool_dir: Path | None = None,
        allow_private_urls: bool = False,
        rules: UrlRules | None = None,
        patience: Patience | None = None,
        outage_s: float = 0.0,
    ) -> None:
        self._roots = Roots(local_roots)
        self._spool = Spool(spool_dir)
        self._web = Web(rules or UrlRules(allow_private=allow_private_urls), patience or Patience())
        self._outage_s = outage_s
        self._closed = threading.Event()
        self._stores: dict[str, tuple[Store, PatientStore]] = {}
        #: Schemes by which media have come: their stores are there, and know us.
        self._answered: set[str] = set()
        self._stores_lock = threading.Lock()
        self._cells = Cells(self._roots, self._spool, self._store)
        self._members = TarMembers(self._roots, self._store)
        self._parts = ThreadPoolExecutor(_PART_THREADS, thread_name_prefix="media-part")

    def close(self) -> None:
        """End downloads and remove what is spooled."""
        self._closed.set()
        self._web.close()
        # What a store is slow to answer must not hold up the process' end.
        self._parts.shutdown(wait=False, cancel_futures=True)
        self._spool.close()

    def fetch(self, uri: str, *, max_bytes: int, base: str | None = None) -> Media:
        """The medium at `uri`; a relative one is looked for below `base`, a folder or prefix.

        Raises RowError: not_found, forbidden, too_large, empty, wrong_kind, corrupt,
        timeout or unavailable. Raises BadCredentials of a store that has let us in before.
        """
        try:
            media = self._fetched(uri, max_bytes, base)
        except BadCredentials as error:
            # A manifest may name any store: one row of it must not end its whole shard.
            if store_scheme(uri, base) in self._answered:
                raise
            raise NoCredentials("forbidden", told(str(error))) from None
        except RowError as error:
            # Here for all: what is taken for a path or a key may be a URL with its signature.
            if (message := told(error.message)) == error.message:
                raise
            raise type(error)(error.kind, message) from None
        self._answered.add(store_scheme(uri, base))
        return media

    def _fetched(self, uri: str, max_bytes: int, base: str | None) -> Media:
        if "\0" in uri:
            raise RowError("not_found", f"{redact(uri)!r}: no name of anything")
        scheme = scheme_of(uri)
        if scheme == "data":
            return self._data(uri, max_bytes)
        if scheme in ("http", "https"):
            return self._url(uri, max_bytes)
        if scheme == "cell":
            return self._cell(uri, max_bytes, base)
        if scheme == "tar":
            return self._member(uri, max_bytes)
        if scheme in REMOTE or (base is not None and not is_local(base) and not scheme):
            return self._object(joined(uri, base), max_bytes)
        if "://" in uri and scheme != "file":
            shown = masked(uri).partition("?")[0]
            raise RowError(
                "forbidden",
                f"{shown}: {scheme}:// is not known; use s3://, gs://, az://, hf://, "
                "https://, data: or a local path",
            )
        return self._file(uri, base, max_bytes)

    def _data(self, uri: str, max_bytes: int) -> Media:
        shown = redact(uri)
        match = _DATA.match(uri)
        if match is None:
            raise RowError("corrupt", f"{shown}: not a data: URI; it has no comma before the data")
        content = uri[match.end() :]
        if len(content) // 4 * 3 > max_bytes + 3 and match["base64"]:
            raise too_large(shown, len(content) // 4 * 3, max_bytes)
        data = unquote_to_bytes(content)
        if match["base64"]:
            packed = re.sub(rb"\s+", b"", data).rstrip(b"=")
            try:
                data = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
            except binascii.Error as error:
                raise RowError("corrupt", f"{shown}: not base64 ({error})") from error
        with Sink(self._spool, shown, max_bytes) as sink:
            sink.write(data)
            return self._finished(uri, shown, sink)

    def _url(self, uri: str, max_bytes: int) -> Media:
        with Sink(self._spool, redact(uri), max_bytes) as sink:
            self._web.fetch(uri, sink)
            return self._finished(uri, redact(uri), sink)

    def _object(self, uri: str, max_bytes: int) -> Media:
        if has_login(uri):
            raise RowError(
                "forbidden",
                f"{masked(uri)}: carries keys before the bucket; set them where this worker runs",
            )
        with Sink(self._spool, uri, max_bytes) as sink:
            with as_row_errors():
                bucket, key = split_bucket(uri)
                store = self._store(bucket)
                found = store.head(key)
                if found is None:
                    raise RowError("not_found", f"{uri}: no such object")
                sink.expect(found.size)
                self._read_parts(store, found, sink)
            return self._finished(uri, uri, sink)

    def _cell(self, uri: str, max_bytes: int, base: str | None) -> Media:
        with Sink(self._spool, uri, max_bytes) as sink:
            path = self._cells.fill(uri, sink)
            if path is None:
                return self._finished(uri, uri, sink)
        return replace(self.fetch(path, max_bytes=max_bytes, base=base), uri=uri)

    def _member(self, uri: str, max_bytes: int) -> Media:
        with Sink(self._spool, uri, max_bytes) as sink:
            self._members.fill(uri, sink)
            return self._finished(uri, uri, sink)

    def _store(self, bucket: str) -> Store:
        with self._stores_lock:
            if bucket not in self._stores:
                store = open_store(bucket)
                patient = PatientStore(store, self._outage_s, self._closed, tries=_TRIES)
                self._stores[bucket] = store, patient
            store, patient = self._stores[bucket]
        # A row has no later than now: without patience an outage of a minute would be an error
        # in each record that was due in it. None for a place that may never have been there.
        scheme = scheme_of(bucket)
        return patient if scheme in self._answered and scheme in _ONE_PLACE else store

    def _read_parts(self, store: Store, found: Object, sink: Sink) -> None:
        """One version of the object in order, with a few ranged reads under way."""
        if found.size <= _PART_BYTES:
            sink.write(store.read(found.key, 0, found.size, etag=found.etag))
        else:
            jobs = parts(store, found, _PART_BYTES)
            with closing(ahead(jobs, _PARTS_AHEAD, self._parts)) as read:
                for data in read:
                    sink.write(data)
        if sink.size != found.size:
            raise StoreUnavailable(
                f"{store.uri}/{found.key}: {sink.size:,} of {found.size:,} bytes came"
            )

    def _file(self, uri: str, base: str | None, max_bytes: int) -> Media:
        path = self._roots.path(uri, base)
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                raise too_large(str(path), size, max_bytes)
            return self._local(uri, path, file, max_bytes)

    def _local(self, uri: str, path: Path, file: BinaryIO, max_bytes: int) -> Media:
        """A small file's bytes; a large one is used where it is."""
        head = file.read(SMALL_BYTES + 1)
        if len(head) <= SMALL_BYTES:
            with Sink(self._spool, str(path), max_bytes) as sink:
                sink.write(head)
                return self._finished(uri, str(path), sink)
        digest = hashlib.sha256(head)
        size = len(head)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
        kind, mime = _known(str(path), head[:HEAD_BYTES])
        return Media(uri, kind, mime, size, digest.hexdigest(), path, spooled=False)

    def _finished(self, uri: str, shown: str, sink: Sink) -> Media:
        kind, mime = _known(shown, sink.head)
        source, digest = sink.finish()
        return Media(uri, kind, mime, sink.size, digest, source, spooled=isinstance(source, Path))


def _known(shown: str, head: bytes) -> tuple[Kind, str]:
    """Kind and MIME type of content that begins so. Raises RowError: empty or wrong_kind."""
    if not head:
        raise RowError("empty", f"{shown}: is empty")
    found = sniff(head)
    if found.kind is None:
        raise RowError(
            "wrong_kind", f"{shown}: not a medium that is known; it looks like {found.looks}"
        )
    return found.kind, found.mime
