"""Every error that mediamill raises, and what may be done about it.

    MediamillError
    ├── Transient               the same call may work later: keep what is held, wait, try again
    │   ├── StoreUnavailable        the object store does not answer
    │   └── BrokerUnavailable       Redis does not answer, or refuses
    ├── Permanent               trying again changes nothing until somebody acts
    │   ├── Refused                 what was asked for cannot be done; nothing was begun
    │   │   ├── InvalidManifest         a manifest that cannot be planned
    │   │   ├── InvalidJob              an unknown task, option or model, or ones that don't fit
    │   │   ├── JobConflict             OUT already holds another job
    │   │   ├── JobStopped              the job is paused or cancelled
    │   │   ├── NoSuchJob               OUT holds no job
    │   │   └── UnsafeStore             a store that cannot decide a conditional write
    │   ├── NotFound                an object that is not there
    │   ├── Forbidden               an object or bucket that may not be read or written
    │   │   └── BadCredentials          this machine's own credentials are missing or refused
    │   ├── CorruptObject           an object of ours that does not read as what it should be
    │   ├── WorkerUnfit             a worker lacks what every row needs
    │   └── EngineDead              the engine ended; its process must end too
    └── RowError                the outcome of one row; never fails its neighbours
        ├── NoRoom                  no room for the row's medium, as yet (storage.spool)
        ├── UrlExpired              a signed URL whose time is over (storage.presigned)
        └── NoCredentials           of a store that does not know this machine (storage.media)

Whether to retry follows from the class, never from the text of a message. Every
class survives pickling, since errors cross process boundaries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal, get_args

ErrorKind = Literal[
    "not_found",  # no such medium
    "forbidden",  # not allowed to read it, or an address that must not be fetched
    "too_large",  # over the size cap (bytes, pixels or seconds)
    "empty",  # zero bytes
    "wrong_kind",  # a medium that the task cannot use
    "corrupt",  # cannot be decoded
    "no_audio",  # a video without the sound track the task needs
    "too_long",  # more tokens than the model's context holds
    "unparsable",  # the model's answer is not what the task asked for
    "timeout",  # fetching or decoding took too long
    "unavailable",  # the place where the medium lies does not answer
    "decoder_died",  # the decoder's process ended on this medium
    "invalid_row",  # a per-row option that does not validate
    "engine",  # the engine refused or failed this one request
    "internal",  # a fault of mediamill's own; the worker's log has the traceback
    "quarantined",  # the row ended the worker's process more than once
]
ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)

#: Kinds where the same row may succeed another day with nothing changed.
RETRYABLE_KINDS: frozenset[str] = frozenset({"timeout", "unavailable", "engine"})


class MediamillError(Exception):
    """Root of everything mediamill raises on purpose."""


class Transient(MediamillError):
    """The same call may work later."""


class StoreUnavailable(Transient):
    """Raised when the object store does not answer, or answers with a server error."""


class BrokerUnavailable(Transient):
    """Raised when Redis does not answer."""


class Permanent(MediamillError):
    """Trying again changes nothing until somebody acts."""


class Refused(Permanent):
    """Raised when what was asked for cannot be done; nothing was begun."""


class InvalidManifest(Refused):
    """Raised for a manifest that cannot be read, or has rows that cannot be planned."""


class InvalidJob(Refused):
    """Raised for an unknown task, option or model, or for ones that do not fit together."""


class JobConflict(Refused):
    """Raised when the output place already holds another job."""


class JobStopped(Refused):
    """Raised by run and submit when the job is paused or cancelled."""


class NoSuchJob(Refused):
    """Raised when the output place holds no job."""


class UnsafeStore(Refused):
    """Raised when a store ignores conditional writes, so that a commit would not be one."""


class NotFound(Permanent):
    """Raised when an object is not there."""


class Forbidden(Permanent):
    """Raised when the store refuses access to an object or bucket."""


class BadCredentials(Forbidden):
    """Raised when the credentials of this machine are missing, expired or refused: whatever
    it asked for, the answer would be the same, so that it says nothing of the object."""


class CorruptObject(Permanent):
    """Raised when an object that mediamill wrote does not read as what it should be."""


class WorkerUnfit(Permanent):
    """Raised when a worker lacks what every row needs, such as room to start a decoder."""


class EngineDead(Permanent):
    """Raised for every request in flight when the engine ends; its process must end too."""


class RowError(MediamillError):
    """Raised for one row's fault; becomes the `error` of that row's record.

    `kind` is one of `ERROR_KINDS`; `message` says what, where and what to do.
    """

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(kind, message)
        self.kind: ErrorKind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"

    @property
    def retryable(self) -> bool:
        """Whether the same row may succeed another day with nothing changed."""
        return self.kind in RETRYABLE_KINDS


@contextlib.contextmanager
def as_row_errors() -> Iterator[None]:
    """What a store raises about a row's medium, as that row's error.

    BadCredentials stays what it is: whether that is the row's fault is not known here.
    """
    try:
        yield
    except StoreUnavailable as error:
        raise RowError("unavailable", str(error)) from error
    except NotFound as error:
        raise RowError("not_found", str(error)) from error
    except BadCredentials:
        raise
    except (Forbidden, Refused) as error:
        raise RowError("forbidden", str(error)) from error
