"""A store in an S3 bucket, with writes that the store itself decides.

A conditional write is one `put_object` with a random token in its metadata: after a
412, or when nobody knows what became of it, the object is read back, and our own token
there means that the write was done. Every write carries a digest of its bytes, by which
a body that was damaged on its way back is known.
"""

from __future__ import annotations

import datetime as dt
import random
import secrets
import time
from collections.abc import Iterator
from typing import Any

from storage.errors import Forbidden, NotFound, Refused, StoreUnavailable, UnsafeStore
from storage.objects import Names, Object, StoreTraits
from storage.s3_client import Bucket, digest, status

#: Times that a conditional write is sent again when the store says "conflict, try again".
_CONFLICT_TRIES = 8
_TOKEN = "mediamill-token"  # noqa: S105 - the name of a metadata field


class S3Store:
    """Objects below `s3://bucket/prefix`. See `storage.objects.Store`."""

    def __init__(self, uri: str, traits: StoreTraits) -> None:
        name, _, prefix = uri.removeprefix("s3://").rstrip("/").partition("/")
        if not name:
            raise Refused(f"{uri}: names no bucket; give s3://bucket/prefix")
        self._bucket = Bucket(name)
        self._base = f"{prefix}/" if prefix else ""
        self._uri = f"s3://{name}/{prefix}" if prefix else f"s3://{name}"
        self.traits = traits

    @property
    def uri(self) -> str:
        """The root as `s3://bucket/prefix`."""
        return self._uri

    def get(self, key: str) -> bytes:
        """The whole content. Raises NotFound."""
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """The whole content and its etag. Raises NotFound."""
        answer = self._bucket.body(self._base + key)
        return answer["Body"], answer["ETag"]

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        """Bytes `start` to `end`, of the version with `etag` if given. Raises NotFound."""
        if end <= start:
            return b""
        more = {"IfMatch": self._tag(etag)} if etag else {}
        answer = self._bucket.body(
            self._base + key, accept=(416,), Range=f"bytes={start}-{end - 1}", **more
        )
        # 416: the range begins at the object's end or beyond.
        data: bytes = b"" if status(answer) == 416 else answer["Body"]
        return data

    def head(self, key: str) -> Object | None:
        """The object without its content; None if there is none."""
        answer = self._head(key)
        if answer is None:
            return None
        return Object(key, answer["ContentLength"], answer["ETag"], _epoch(answer["LastModified"]))

    def put(self, key: str, data: bytes) -> None:
        """Write, whatever was there."""
        self._bucket.ask("put_object", self._base + key, Body=data, Metadata=digest(data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write if there is nothing: True if ours is there."""
        if self.traits.unsafe:
            if self._head(key) is not None:
                return False
            self.put(key, data)
            return True
        return self._put_conditional(key, data, IfNoneMatch="*")

    def put_if_match(self, key: str, data: bytes, etag: str) -> bool:
        """Replace the object if it still has this etag: True if ours is there."""
        if self.traits.unsafe:
            answer = self._head(key)
            if answer is None or answer["ETag"].strip('"') != etag.strip('"'):
                return False
            self.put(key, data)
            return True
        return self._put_conditional(key, data, IfMatch=self._tag(etag))

    def delete(self, key: str) -> None:
        """Remove; an absent object is fine."""
        self._bucket.ask("delete_object", self._base + key, accept=(404,))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        """Objects sorted by key, 1,000 a call. Keys that end in `/` are left out."""
        more = {"StartAfter": self._base + after} if after else {}
        for page in self._pages(Prefix=self._base + prefix, **more):
            for found in page.get("Contents", ()):
                # Some tools write empty objects that stand for folders.
                if not found["Key"].endswith("/"):
                    key = found["Key"].removeprefix(self._base)
                    yield Object(key, found["Size"], found["ETag"], _epoch(found["LastModified"]))

    def folders(self, prefix: str) -> Names:
        """Names of the folders right below `prefix`, sorted."""
        whole = self._base + prefix
        return sorted(
            found["Prefix"].removeprefix(whole).rstrip("/")
            for page in self._pages(Prefix=whole, Delimiter="/")
            for found in page.get("CommonPrefixes", ())
        )

    def now(self) -> float:
        """The store's clock by the Date of its answers, to a second."""
        return self._bucket.now(f"{self._base}_job/spec.json")

    def _pages(self, **more: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self._bucket.ask("list_objects_v2", **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {**more, "ContinuationToken": page["NextContinuationToken"]}

    def _put_conditional(self, key: str, data: bytes, **condition: str) -> bool:
        where = f"{self._uri}/{key}"
        self._bucket.reach()  # what fails here was certainly not written
        token = secrets.token_hex(16)
        unknown = 0
        for attempt in range(_CONFLICT_TRIES):
            try:
                code = status(
                    self._bucket.ask(
                        "put_object",
                        self._base + key,
                        accept=(404, 409, 412, 501),
                        Body=data,
                        Metadata={_TOKEN: token, **digest(data)},
                        **condition,
                    )
                )
            except StoreUnavailable:
                # Written or not? If reading back fails too, the caller hears of that.
                found = self._token(key)
                if found == token:
                    return True
                if found is not None and "IfNoneMatch" in condition:
                    return False
                unknown += 1
                if unknown == 2:
                    raise
                continue
            if code < 300:
                return True
            if code == 412:
                # An attempt of ours may have been written, its answer lost, and sent again.
                found = self._token(key)
                if found is not None or "IfMatch" in condition:
                    return found == token
                continue  # who was in the way has been deleted meanwhile
            if code == 404:
                if "IfMatch" in condition:
                    return False
                raise NotFound(f"{where}: no such bucket; create it, or check its name")
            if code == 501:
                raise UnsafeStore(f"{where}: the store does not know conditional writes")
            # 409: two writers met inside the store, which asks to be asked again.
            time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - jitter
        raise StoreUnavailable(f"{where}: the store reports conflicting writes again and again")

    def _token(self, key: str) -> str | None:
        """The token that the object was written with ("" if without one); None if absent."""
        answer = self._head(key)
        return None if answer is None else str(answer["Metadata"].get(_TOKEN, ""))

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            answer = self._bucket.ask("head_object", self._base + key, accept=(404,))
        except Forbidden:
            # An answer to HEAD has no body, and so no reason: one to GET says whether it is
            # this object or our credentials.
            self.read(key, 0, 1)
            raise
        return None if status(answer) == 404 else answer

    def _tag(self, etag: str) -> str:
        bare = etag.strip('"')
        return bare if self.traits.bare_etags else f'"{bare}"'


def _epoch(when: dt.datetime) -> float:
    return when.timestamp()
