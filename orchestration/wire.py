"""What a worker takes from Redis: messages as `make_publisher` puts them there, and no others.

Whoever can write to Redis can put anything into a queue: a pickle, another task, a message
with callbacks in it. None of it comes further than this gate, not even to Celery: it is off
the queue, counted, and logged without what it says.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from queue import Empty
from typing import Annotated, Any, Literal

from kombu.transport import redis
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from redis.exceptions import ResponseError

from orchestration.app import REFUSED

_log = logging.getLogger(__name__)

#: Characters of a message's body; a place has 4,096 at most, each 6 as JSON.
_MOST_BODY = 32_768
#: Seconds before Celery connects anew to a Redis that refuses writes.
_PAUSE_S = 1.0
#: What reading an item can raise that is no message at all: bytes that are no text, text that
#: is no JSON, JSON of kombu's own kinds with nonsense in them, or too deep.
_UNREADABLE = (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Headers(_Part):
    task: Literal["mediamill.run_shard"]
    id: Annotated[str, Field(max_length=64)]
    # Of one that a worker gave back, or left behind.
    redelivered: bool = False


class _DeliveryInfo(_Part):
    exchange: str
    routing_key: str
    redelivered: bool = False


class _Properties(_Part):
    delivery_tag: str
    delivery_info: _DeliveryInfo
    delivery_mode: int = 2
    priority: int = 0
    body_encoding: None = None


class _Envelope(_Part):
    body: Annotated[str, Field(max_length=_MOST_BODY)]
    content_type: Literal["application/json"] = Field(alias="content-type")
    content_encoding: Literal["utf-8"] = Field(alias="content-encoding")
    headers: _Headers
    properties: _Properties


_Nothing = Annotated[dict[str, Any], Field(max_length=0)]
#: The task's arguments: the job's place and a shard's number. No callbacks, chains or chords.
_Body = tuple[
    tuple[Annotated[str, Field(pattern=r"^(/|s3://)")], Annotated[int, Field(ge=0, lt=10**9)]],
    _Nothing,
    _Nothing,
]
_BODY: TypeAdapter[Any] = TypeAdapter(_Body)
_PARTS = {field.alias or name for name, field in _Envelope.model_fields.items()}


def fault(message: object) -> str | None:
    """What is wrong with a message, in words that hold nothing of it; None if it is ours."""
    try:
        envelope = _Envelope.model_validate(message)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        part = str(first["loc"][0]) if first["loc"] else "envelope"
        return f"{part if part in _PARTS else 'unknown part'}: {first['type']}"
    try:
        _BODY.validate_json(envelope.body, strict=True)
    except ValidationError as error:
        return f"body: {error.errors(include_url=False, include_context=False)[0]['type']}"
    return None


class QoS(redis.QoS):
    """Counts a message as out of hand also where Redis could not be told.

    It comes again, to whoever takes it; counted as in hand it would keep a slot empty for good.
    """

    _quick_ack: Any

    def ack(self, delivery_tag: str) -> None:
        """See virtual.QoS."""
        with self._out_of_hand(delivery_tag):
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """See virtual.QoS."""
        with self._out_of_hand(delivery_tag):
            super().reject(delivery_tag, requeue=requeue)

    @contextlib.contextmanager
    def _out_of_hand(self, delivery_tag: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._quick_ack(delivery_tag)
            raise


class Channel(redis.Channel):
    """A channel that survives what is no message."""

    QoS = QoS
    connection: Any
    #: Whether what was read last was a message, and is others' to handle.
    handed = False

    def _brpop_read(self, **options: Any) -> Any:
        self.handed = False
        read: Any = super()  # the stubs know nothing of this method
        try:
            return read._brpop_read(**options)
        except _UNREADABLE as error:
            if self.handed:
                raise
            self.connection.refuse(f"no message: {type(error).__name__}", None)
            raise Empty from None


class Transport(redis.Transport):
    """kombu's Redis, behind the gate. The app's transport options hold what is told of refusals."""

    Channel = Channel
    #: A Redis that refuses, for it is out of memory or a replica, may take writes again. Celery
    #: connects anew after such an error, and at any other it ends, and the engine with it.
    connection_errors = (*redis.Transport.connection_errors, ResponseError)
    client: Any
    channels: Any

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """See kombu's. What it has opened is closed if it fails: Celery only tries again."""
        try:
            super().register_with_event_loop(connection, loop)
        except Exception:
            self.close_connection(connection)
            # It connects, and refuses what comes next: Celery would try without a pause.
            time.sleep(_PAUSE_S)
            raise

    def refuse(self, why: str, queue: str | None) -> None:
        """Count and log one that is off the queue already."""
        self.client.transport_options[REFUSED]()
        _log.warning(
            "a message that is none of ours was taken off the queue (%s); see who writes to Redis",
            why,
            extra={"action": "message_refused", "queue": queue},
        )

    def _deliver(self, message: Any, queue: str | None) -> None:
        for channel in self.channels:
            channel.handed = True
        why = fault(message)
        if why is None:
            super()._deliver(message, queue)
        else:
            self.refuse(why, queue)
