"""Stores that are only read: Google Cloud Storage, Azure Blob Storage and the Hugging Face Hub.

Each by its fsspec file system, which comes with the extra `mediamill[fsspec]` (that of the hub
is always there). Nothing is written to them: a commit is a conditional write, which fsspec has
no word for.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from storage.errors import (
    BadCredentials,
    Forbidden,
    MediamillError,
    NotFound,
    Refused,
    StoreUnavailable,
)
from storage.objects import Names, Object, read_only

#: What a URI may name as bucket, container (with its account) or first part of a repository.
_BUCKET = re.compile(r"[A-Za-z0-9][\w.-]*(@[a-z0-9]+\.(dfs|blob)\.core\.windows\.net)?", re.ASCII)
#: Fields of an entry that tell its version, the best first.
_VERSIONS = ("etag", "ETag", "blob_id", "mtime", "last_modified", "updated", "created")
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
#: Roots of the modules and names of classes that fail on the way, and for want of credentials.
_AWAY = frozenset(
    {
        ("aiohttp", "ClientError"),
        ("azure", "AzureError"),
        ("gcsfs", "ChecksumError"),
        ("google", "TransportError"),
        ("httpx", "HTTPError"),
        ("httpx2", "HTTPError"),
        ("requests", "RequestException"),
    }
)
_UNKNOWN_HERE = frozenset({("azure", "ClientAuthenticationError"), ("google", "GoogleAuthError")})


#: Keys and what a file system says of each.
_Entries = list[tuple[str, dict[str, Any]]]


class ForeignStore:
    """Objects below `scheme://bucket/prefix`. See `storage.objects.Store`.

    A version is checked after a read, by a second question: what was replaced meanwhile is
    NotFound, as on S3.
    """

    def __init__(self, uri: str) -> None:
        scheme, _, rest = uri.partition("://")
        bucket = rest.partition("/")[0]
        if not _BUCKET.fullmatch(bucket):
            raise Refused(f"{uri}: names no bucket; give {scheme}://bucket/prefix")
        self._uri = uri.rstrip("/")
        self._fs, self._root = _opened(scheme, self._uri)
        # The hub's would answer from a listing of the folder, or without a version.
        self._fresh = {"refresh": True, "expand_info": True} if not self._fs.async_impl else {}

    @property
    def uri(self) -> str:
        """The root as it was opened."""
        return self._uri

    def get(self, key: str) -> bytes:
        """The whole content. Raises NotFound."""
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """The whole content and its etag. Raises NotFound."""
        found = self.head(key)
        if found is None:
            raise NotFound(f"{self._uri}/{key}: no such object")
        return self.read(key, 0, found.size, etag=found.etag), found.etag

    def head(self, key: str) -> Object | None:
        """The object without its content; None if there is none."""
        try:
            with _translated(f"{self._uri}/{key}"):
                found = self._fs.info(f"{self._root}/{key}", **self._fresh)
        except NotFound:
            return None
        return _object(key, found) if found["type"] == "file" else None

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        """Bytes `start` to `end`, of the version with `etag` if given. Raises NotFound."""
        if end <= start:
            return b""
        where = f"{self._uri}/{key}"
        # The hub's goes by a file of its own, which would look at its folder for the size, and
        # read a block ahead.
        more = {} if self._fs.async_impl else {"cache_type": "none", "size": end}
        with _translated(where):
            try:
                data = bytes(self._fs.cat_file(f"{self._root}/{key}", start, end, **more))
            except Exception as error:
                if _status(error) != 416:
                    raise
                data = b""  # the range begins at the object's end or beyond
        if etag:
            found = self.head(key)
            if found is None or found.etag != etag.strip('"'):
                raise NotFound(f"{where}: replaced while it was read; read it again")
        return data

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        """Objects sorted by key, a folder at a time."""
        yield from self._walk(prefix.rpartition("/")[0], prefix, after)

    def folders(self, prefix: str) -> Names:
        """Names of the folders right below `prefix`, sorted."""
        entries = self._entries(prefix.rstrip("/"))
        return sorted(key[:-1].rpartition("/")[2] for key, _ in entries if key.endswith("/"))

    def put(self, key: str, data: bytes) -> NoReturn:
        """Refused."""
        raise read_only(f"{self._uri}/{key}")

    def put_if_absent(self, key: str, data: bytes) -> NoReturn:
        """Refused."""
        raise read_only(f"{self._uri}/{key}")

    def put_if_match(self, key: str, data: bytes, etag: str) -> NoReturn:
        """Refused."""
        raise read_only(f"{self._uri}/{key}")

    def delete(self, key: str) -> NoReturn:
        """Refused."""
        raise read_only(f"{self._uri}/{key}")

    def now(self) -> float:
        """This machine's clock: nobody compares it to what is only read."""
        return time.time()

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[Object]:
        for key, entry in self._entries(folder):
            if key.endswith("/"):
                below = key.startswith(prefix) or prefix.startswith(key)
                if below and (key > after or after.startswith(key)):
                    yield from self._walk(key[:-1], prefix, after)
            elif key.startswith(prefix) and key > after:
                yield _object(key, entry)

    def _entries(self, folder: str) -> _Entries:
        """What lies right below a folder, by key: folders end in a slash, and sort by it."""
        path = f"{self._root}/{folder}" if folder else self._root
        try:
            with _translated(f"{self._uri}/{folder}"):
                found = self._fs.ls(path, detail=True)
        except NotFound:
            return []
        entries = []
        for entry in found:
            is_folder = entry["type"] == "directory"
            # The file itself, or an empty object that some tools write to stand for a folder.
            is_marker = entry["name"].endswith("/") and not is_folder
            if is_marker or entry["name"].strip("/") == path.strip("/"):
                continue
            name = entry["name"].rstrip("/").rpartition("/")[2]
            key = f"{folder}/{name}" if folder else name
            entries.append((f"{key}/" if is_folder else key, entry))
        return sorted(entries, key=lambda pair: pair[0])


def _opened(scheme: str, uri: str) -> tuple[Any, str]:
    """The file system of a scheme, and the path in it that the URI names."""
    # Else gcsfs first asks another service, with other rights, what kind of bucket this is: at
    # every call while it gets no answer.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        import fsspec

        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise Refused(
            f"{uri}: {scheme}:// is read by packages that are not here ({error}); install them: "
            "pip install 'mediamill[fsspec]'"
        ) from error
    # Not by fsspec's own parsing of URLs, which would follow those chained by `::`.
    options = kind._get_kwargs_from_urls(uri)
    if kind.async_impl:
        options["use_listings_cache"] = False
    with _translated(uri):
        try:
            return kind(skip_instance_cache=True, **options), kind._strip_protocol(uri).rstrip("/")
        except ValueError as error:
            raise BadCredentials(
                f"{scheme}://: no usable account or credentials ({error}); set them the way "
                f"{kind.__module__.partition('.')[0]} takes them"
            ) from error


def _object(key: str, entry: dict[str, Any]) -> Object:
    version = next((entry[name] for name in _VERSIONS if entry.get(name) is not None), "")
    # One file system may give a time as a date here and as a number there.
    tag = version.timestamp() if isinstance(version, dt.datetime) else version
    return Object(key, int(entry["size"] or 0), str(tag).strip('"'), 0.0)


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn what file systems raise into our errors; a fault of the code stays what it is."""
    try:
        yield
    except MediamillError:
        raise
    except Exception as error:
        meant = _meaning(error, where)
        if meant is None:
            raise
        raise meant from error


def _meaning(error: Exception, where: str) -> MediamillError | None:
    said = f"{type(error).__name__}: {error}"
    status = _status(error)
    kinds = {(cls.__module__.partition(".")[0], cls.__name__) for cls in type(error).__mro__}
    if status == 404 or isinstance(error, _ABSENT):
        return NotFound(f"{where}: no such object")
    if status == 412 or isinstance(error, FileExistsError):
        return NotFound(f"{where}: replaced while it was read; read it again")
    if status in (401, 403) or isinstance(error, PermissionError) or _is_refusal(error):
        return Forbidden(
            f"{where}: the store refuses ({said}); check that the credentials in use may read it"
        )
    if status is not None and status < 500 and status not in (408, 429):
        return Forbidden(f"{where}: the store refuses ({said}); check the URI")
    if kinds & _UNKNOWN_HERE and not kinds & {("google", "TransportError")}:
        # Of no object: the same words for all of them, since equal errors are counted.
        return BadCredentials(f"{where.partition('://')[0]}://: no usable credentials ({said})")
    if status is not None or isinstance(error, OSError) or kinds & _AWAY:
        return StoreUnavailable(f"{where}: the store does not answer ({said}); try again later")
    if isinstance(error, ValueError):
        return Forbidden(f"{where}: not a name that this store can have ({error}); check the URI")
    return None


def _status(error: Exception) -> int | None:
    """The HTTP status that an error carries."""
    response = getattr(error, "response", None)
    for holder in (error, response):
        for name in ("status_code", "status", "code"):
            value = getattr(holder, name, None)
            if isinstance(value, int | str) and str(value).isdecimal():
                return int(value)
    return None


def _is_refusal(error: Exception) -> bool:
    # gcsfs says "forbidden" by a bare OSError; what the system or the network raises has a
    # number or a class of its own.
    return type(error) is OSError and error.errno is None
