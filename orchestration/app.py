"""The Celery app, made by a factory, with every setting that long tasks on Redis need."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu.exceptions import OperationalError

from jobs.spec import StoredJob
from jobs.tempo import Tempo
from orchestration.shard_task import NAME, register
from storage.errors import BrokerUnavailable

if TYPE_CHECKING:
    from orchestration.runtime import Runtime

#: The embedded default: this process' own queue, no service. It has no host, but kombu warns
#: about a URL without.
MEMORY_URL = "memory://localhost"
#: The transport's option that holds what is told of messages that `orchestration.wire` refuses.
REFUSED = "mediamill_refused"


class SmallMessages(AMQP):
    """Task messages with no more in them than a worker reads: Redis holds three a slot."""

    def as_task_v2(self, task_id: str, name: str, *given: Any, **more: Any) -> Any:
        """Celery's own, less headers and properties that only callbacks and monitors use."""
        message = super().as_task_v2(task_id, name, *given, **more)
        args, kwargs, _ = message.body
        headers = {"task": name, "id": task_id}
        return message._replace(headers=headers, properties={}, body=(args, kwargs, {}))


class MillApp(Celery):
    """A Celery app that knows the runtime of the worker it serves (None in a client)."""

    amqp_cls = "orchestration.app:SmallMessages"
    runtime: Runtime | None = None
    #: Messages in this worker's queues that were none of ours, since it started.
    refused = 0

    def count_refused(self) -> None:
        """One more. Called from the one thread that reads messages."""
        self.refused += 1


def make_app(broker_url: str, tempo: Tempo) -> MillApp:
    """An app on this broker. Connects to nothing yet."""
    app = MillApp("mediamill", broker=broker_url, set_as_current=False)
    app.conf.update(
        # JSON alone crosses the wire, and nothing else is read from it.
        task_serializer="json",
        accept_content=["json"],
        # Results live in storage; a result backend would only be another thing to lose.
        result_backend=None,
        task_ignore_result=True,
        # A message is acknowledged after its shard ended. One open shard a thread:
        # a message that waits in a worker could be worked by another one.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # A lost message costs nothing, the feeder brings the shard back; requeueing
        # without a cap would put a shard that kills its worker first in line again.
        task_reject_on_worker_lost=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(broker_url, tempo),
        broker_use_ssl=_tls(broker_url),
        enable_utc=True,
    )
    register(app)
    return app


def make_publisher(app: MillApp) -> Callable[[StoredJob, int], None]:
    """How a shard is enqueued: one small message, in the queue of its model and priority."""

    def publish(job: StoredJob, shard: int) -> None:
        try:
            app.send_task(
                NAME,
                args=(job.spec.out, shard),
                queue=job.queue,
                retry=False,
                # Nobody looks for a task by its id: a third of a UUID's text tells them apart.
                task_id=secrets.token_urlsafe(9),
            )
        except OperationalError as error:
            raise BrokerUnavailable(f"cannot enqueue shard {shard}: {error}") from None

    return publish


def _tls(broker_url: str) -> dict[str, Any] | None:
    """What TLS is to check where the URL does not say: all, as redis-py has it.

    kombu would check nothing. What the URL says goes before this.
    """
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} if broker_url.startswith("rediss:") else None


def _transport_options(broker_url: str, tempo: Tempo) -> dict[str, Any]:
    if broker_url.startswith("memory:"):
        # The default of a second would make every small shard wait that long.
        return {"polling_interval": 0.02}
    return {
        # Queues are served strictly in the order of their names (see jobs.spec.queue_name).
        "queue_order_strategy": "sorted",
        # Deliveries are renewed while they are worked; this is how long those of a dead
        # worker stay hidden. kombu looks for them once in this many polls.
        "visibility_timeout": tempo.visibility_s,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # JSON is text already: base64 would make a third more of it.
        "body_encoding": None,
    }
