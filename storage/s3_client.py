"""Calls to one S3 bucket. The only file that knows boto3; its errors end here."""

from __future__ import annotations

import contextlib
import email.utils
import os
import re
import threading
import time
import zlib
from collections.abc import Collection
from typing import Any

import boto3.session
import urllib3.exceptions
from botocore import exceptions as boto
from botocore.config import Config

from storage.errors import (
    BadCredentials,
    Forbidden,
    MediamillError,
    NotFound,
    Refused,
    StoreUnavailable,
)
from storage.presigned import told

#: Connections kept to an endpoint: every fetching thread of a worker, and its part readers.
_POOL = 128
#: Times that a body which broke off or was damaged on its way is read again.
_BODY_TRIES = 3
#: The metadata field that holds the digest of what was written. Not the etag: that is no
#: digest of the content under some kinds of encryption.
_DIGEST = "mediamill-crc32"
#: Seconds after which a Date that was seen is too old to reckon the store's clock from.
_CLOCK_AGE_S = 5.0
#: Seconds for which a store that did not answer at first is not asked again.
_AWAY_S = 2.0
#: Any answer at all, but for a server's failure.
_ANY_ANSWER = frozenset(range(300, 500))

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.NoAuthTokenError,
    boto.TokenRetrievalError,
    boto.UnauthorizedSSOTokenError,
    boto.SSOTokenLoadError,
    boto.ProfileNotFound,
)
#: Answers that refuse who asks, whatever it is that was asked for.
_BAD_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_BUSY = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException"})

_clients: dict[tuple[Any, ...], Any] = {}
_clients_lock = threading.Lock()
#: Clients and buckets that have answered once in this process.
_reached: set[tuple[int, str]] = set()


class Bucket:
    """One bucket at the endpoint that boto3's own settings name. Thread-safe."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._client = _client(patient=True)
        self._reaching = threading.Lock()
        #: Until when a store that was never reached counts as away, and why.
        self._away: tuple[float, StoreUnavailable] | None = None
        #: The last Date of the store, and when we saw it on the monotonic clock.
        self._date: tuple[float, float] | None = None

    def ask(
        self,
        operation: str,
        key: str | None = None,
        *,
        accept: Collection[int] = (),
        **more: Any,
    ) -> dict[str, Any]:
        """One call; the answer as boto3 gives it, `status` tells refusals in `accept` apart.

        Raises NotFound, Forbidden, BadCredentials or StoreUnavailable for other refusals.
        """
        self.reach()
        where = f"s3://{self.name}"
        if key is not None:
            more["Key"] = key
            where = f"{where}/{key}"
        return self._send(self._client, operation, where, accept, more)

    def body(self, key: str, *, accept: Collection[int] = (), **more: str) -> dict[str, Any]:
        """`get_object`, with its bytes as `Body`, read again if they break off or are not what
        `digest` said when they were written (of a part only the length can be told). Raises
        StoreUnavailable if no try brings them whole and sound."""
        where = f"s3://{self.name}/{key}"
        failure: Exception | None = None
        for _ in range(_BODY_TRIES):
            answer = self.ask("get_object", key, accept=accept, **more)
            if status(answer) >= 300:
                return answer
            try:
                with contextlib.closing(answer["Body"]) as body:
                    data: bytes = body.read()
            except (boto.BotoCoreError, urllib3.exceptions.HTTPError) as error:
                # botocore repeats a request that failed, but not a body that broke off.
                failure = error
                continue
            if _is_sound(answer, data):
                return {**answer, "Body": data}
            failure = None
        if failure is not None:
            raise _unanswered(failure, where) from failure
        raise StoreUnavailable(
            f"{where}: other bytes come than were written; check what lies between here and there"
        )

    def now(self, key: str) -> float:
        """The store's clock: the Date of its last answer, to a second, and what passed since.

        Asks for `key`, which need not exist, if no answer is fresh.
        """
        if self._date is None or time.monotonic() - self._date[1] > _CLOCK_AGE_S:
            self.ask("head_object", key, accept=_ANY_ANSWER)
        if self._date is None:  # a store that dates no answers
            return time.time()
        date, seen = self._date
        return date + (time.monotonic() - seen)

    def _send(
        self,
        client: Any,
        operation: str,
        where: str,
        accept: Collection[int],
        more: dict[str, Any],
    ) -> dict[str, Any]:
        answer: Any
        try:
            answer = getattr(client, operation)(Bucket=self.name, **more)
        except boto.ClientError as error:
            answer = error.response
            self._note_date(answer)
            if status(answer) not in accept:
                raise _refusal(error, where) from error
        except (boto.BotoCoreError, ValueError) as error:
            raise _unanswered(error, where) from error
        else:
            self._note_date(answer)
        return dict(answer)

    def reach(self) -> None:
        """Before the first call, see that the endpoint answers and the bucket is there.

        A store that is away is not asked again for a moment: else the clean-up after a
        failure, or the threads that wait here, would each wait as long once more.
        """
        known = (id(self._client), self.name)
        if known in _reached:
            return
        with self._reaching:
            if known in _reached:
                return
            if self._away is not None and time.monotonic() < self._away[0]:
                raise self._away[1]
            try:
                # Reading objects may be allowed where looking at the bucket is not.
                answer = self._send(
                    _client(patient=False), "head_bucket", f"s3://{self.name}", _ANY_ANSWER, {}
                )
            except StoreUnavailable as error:
                self._away = (time.monotonic() + _AWAY_S, error)
                raise
            if status(answer) == 404:
                raise NotFound(
                    f"s3://{self.name}: no such bucket at {self._client.meta.endpoint_url}; "
                    "create it, or check its name and AWS_ENDPOINT_URL"
                )
            _reached.add(known)

    def _note_date(self, answer: Any) -> None:
        if said := answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"):
            date = email.utils.parsedate_to_datetime(said)
            self._date = (date.timestamp(), time.monotonic())


def digest(data: bytes) -> dict[str, str]:
    """Metadata to write an object with, so that `Bucket.body` knows its bytes again."""
    return {_DIGEST: f"{zlib.crc32(data):08x}"}


def _is_sound(answer: dict[str, Any], data: bytes) -> bool:
    """Whether these are the bytes that an answer to GET announces, as far as it tells."""
    part = re.fullmatch(r"bytes (\d+)-(\d+)/(.+)", answer.get("ContentRange", ""))
    if part and len(data) != int(part[2]) - int(part[1]) + 1:
        return False
    if part and part[3] != str(len(data)):
        return True  # less than all, of which there is no digest
    return answer["Metadata"].get(_DIGEST) in (None, digest(data)[_DIGEST])


def status(answer: dict[str, Any]) -> int:
    """The HTTP status of an answer."""
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def _client(*, patient: bool) -> Any:
    """One client per endpoint and credentials; `patient` ones wait out short outages.

    The other kind is for the first call to a bucket: a command must say within 10 s that
    its store is away, and this takes twice 3 s and a pause of up to 1 s at most.
    """
    settings = sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_"))
    # The process id: connections must not be shared with a forked child.
    key = (os.getpid(), patient, *settings)
    with _clients_lock:
        if key not in _clients:
            config = Config(
                connect_timeout=3,
                read_timeout=60 if patient else 3,
                retries={"mode": "standard", "total_max_attempts": 5 if patient else 2},
                max_pool_connections=_POOL if patient else 4,
                # Trailing checksums, boto3's default, are refused by many stores not AWS's own.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
            try:
                _clients[key] = boto3.session.Session().client("s3", config=config)
            except ValueError as error:
                said = told(str(error))
                raise Refused(f"S3: {said}; set AWS_ENDPOINT_URL to http(s)://host:port") from error
            except boto.BotoCoreError as error:
                raise _unanswered(error, "S3") from error
        return _clients[key]


def _refusal(error: boto.ClientError, where: str) -> MediamillError:
    """What an answer of the store means."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    text = str(error.response.get("Error", {}).get("Message", ""))
    number = status(dict(error.response))
    said = f"{where}: the store answered {number} {code} ({text})"
    if code in _BAD_CREDENTIALS:
        # Of no object: the same words for all of them, since equal errors are counted.
        return BadCredentials(
            f"{_bucket(where)}: the store does not take the credentials in use: {code} ({text}); "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and the clock"
        )
    if code in _BUSY or number == 429 or (number >= 500 and number != 501):
        return StoreUnavailable(f"{said}; try again when it is well")
    if code == "NoSuchBucket":
        return NotFound(f"{where}: no such bucket; create it, or check its name")
    if number in (404, 405):  # 405: the newest version is a delete marker
        return NotFound(f"{where}: no such object")
    if number == 412:
        return NotFound(f"{where}: replaced while it was read; read it again")
    if number in (301, 307):
        return Forbidden(f"{said}: the bucket is in another region; set AWS_REGION to it")
    return Forbidden(
        f"{said}; check that the credentials in use (AWS_ACCESS_KEY_ID, AWS_PROFILE, or the "
        "machine's role) are valid and may do this"
    )


def _unanswered(error: Exception, where: str) -> MediamillError:
    """What boto3's own failures mean: no credentials, a bad name, or a store that is away."""
    said = told(str(error))
    if isinstance(error, _NO_CREDENTIALS):
        return BadCredentials(
            f"{_bucket(where)}: no usable S3 credentials ({said}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, boto.ValidationError | boto.ParamValidationError | ValueError):
        # Not in boto3's words: names are repeated there, and s3://KEY:SECRET@bucket is written.
        return Forbidden(f"{told(where)}: not a name that S3 can have; check the URI")
    if isinstance(error, boto.NoRegionError):
        return Forbidden(f"{where}: no region is set; set AWS_DEFAULT_REGION")
    return StoreUnavailable(
        f"{where}: the store does not answer ({said}); check AWS_ENDPOINT_URL and the network"
    )


def _bucket(where: str) -> str:
    """`s3://bucket` of an object's URI."""
    return "/".join(where.split("/")[:3])
