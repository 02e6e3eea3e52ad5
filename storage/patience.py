"""A store that waits out an outage instead of failing the work that needs it."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from storage.errors import MediamillError, StoreUnavailable
from storage.objects import Names, Object, Store

T = TypeVar("T")
_log = logging.getLogger(__name__)

#: Shortest and longest wait between two tries, in seconds, before jitter.
_FIRST_S, _LONGEST_S = 1.0, 60.0


class PatientStore:
    """Tries again with jitter while the store is unavailable, for `outage_s` seconds at most.

    Those count from the outage's first failure: once they are over, each call is tried
    once, until one is answered. `stop` ends the patience at once: what is going down
    must not wait for a store. With `tries`, a call is tried no more often than that by a store
    that answers others meanwhile: the object is what fails, and not the store. Thread-safe.
    """

    def __init__(
        self, store: Store, outage_s: float, stop: threading.Event, *, tries: int | None = None
    ) -> None:
        self._store = store
        self._outage_s = outage_s
        self._stop = stop
        self._tries = tries
        self.uri = store.uri
        #: Since when no call has been answered; None while the store is well.
        self._away_since: float | None = None
        self._answers = 0

    def _try(self, call: Callable[[], T]) -> T:
        deadline: float | None = None
        wait_s = _FIRST_S
        answers = self._answers
        for tried in itertools.count(1):
            try:
                answer = call()
            except StoreUnavailable as error:
                now = time.monotonic()
                if deadline is None:
                    # Fixed here: a store that answers others all the while may fail this one.
                    since = self._away_since
                    if since is None:
                        since = self._away_since = now
                    deadline = since + self._outage_s
                left_s = deadline - now
                refused = self._tries is not None and tried >= self._tries
                if left_s <= 0 or self._stop.is_set() or (refused and self._answers != answers):
                    raise
                _log.warning(
                    "store unavailable, trying again: %s", error, extra={"action": "store_wait"}
                )
                # Full jitter spreads the workers of an outage over its end.
                self._stop.wait(min(left_s, random.uniform(0.1, wait_s)))  # noqa: S311
                wait_s = min(2 * wait_s, _LONGEST_S)
            except MediamillError:  # a refusal is an answer too
                self._answered()
                raise
            else:
                self._answered()
                return answer
        raise AssertionError("unreachable")

    def _answered(self) -> None:
        self._away_since = None
        self._answers += 1

    def get(self, key: str) -> bytes:
        """See Store."""
        return self._try(lambda: self._store.get(key))

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """See Store."""
        return self._try(lambda: self._store.get_tagged(key))

    def head(self, key: str) -> Object | None:
        """See Store."""
        return self._try(lambda: self._store.head(key))

    def read(self, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        """See Store."""
        return self._try(lambda: self._store.read(key, start, end, etag=etag))

    def put(self, key: str, data: bytes) -> None:
        """See Store."""
        self._try(lambda: self._store.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """See Store."""
        return self._try(lambda: self._store.put_if_absent(key, data))

    def put_if_match(self, key: str, data: bytes, etag: str) -> bool:
        """See Store."""
        return self._try(lambda: self._store.put_if_match(key, data, etag))

    def delete(self, key: str) -> None:
        """See Store."""
        self._try(lambda: self._store.delete(key))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        """See Store; a listing that broke goes on after the last key it gave."""
        last = after
        listing = self._store.list(prefix, after=last)

        def step() -> Object | None:
            nonlocal listing
            try:
                return next(listing, None)
            except StoreUnavailable:
                # A generator that raised is at its end; a new one starts behind the last key.
                listing = self._store.list(prefix, after=last)
                raise

        while (found := self._try(step)) is not None:
            last = found.key
            yield found

    def folders(self, prefix: str) -> Names:
        """See Store."""
        return self._try(lambda: self._store.folders(prefix))

    def now(self) -> float:
        """See Store."""
        return self._try(self._store.now)
