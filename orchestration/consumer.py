"""Celery's worker, started from code: the threads pool over the queues of one model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from celery.app.trace import setup_worker_optimizations
from celery.worker import state

from orchestration.app import REFUSED, MillApp
from storage.errors import BrokerUnavailable

#: Celery's own flag, which its loops look at; the typed stubs know only its first value.
_state: Any = state


class Consumer:
    """Takes messages and runs them in `slots` threads, until told to stop.

    `allow` makes it more of them for a while, up to `most`.
    """

    def __init__(
        self, app: MillApp, queues: Sequence[str], slots: int, name: str, *, most: int | None = None
    ) -> None:
        _state.should_stop = None
        # What Celery's own command does first: pool threads find the app by it.
        setup_worker_optimizations(app, name)
        app.amqp.queues.select(list(queues))
        if not str(app.conf.broker_url).startswith("memory:"):
            app.conf.broker_transport = "orchestration.wire:Transport"
            app.conf.broker_transport_options[REFUSED] = app.count_refused
        self._controller: Any = app.WorkController(
            app=app,
            hostname=name,
            pool="threads",
            concurrency=max(slots, most or 0),
            queues=list(queues),
            loglevel="WARNING",
            # Each of these talks to other workers, who have nothing to say.
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )

        # Threads are made when they are needed. What Celery counts by is the usual number: what
        # it begins with, and goes back to when it has lost its connection.
        controller: Any = self._controller
        controller.pool.limit = controller.consumer.initial_prefetch_count = slots

    @property
    def allowed(self) -> int:
        """Messages that it may have in hand at once; those from before it reconnected are extra."""
        qos = self._controller.consumer.qos
        return 0 if qos is None else int(qos.value)

    def allow(self, slots: int) -> None:
        """Have so many messages in hand at once, from now until it reconnects. Thread-safe."""
        consumer = self._controller.consumer
        qos = consumer.qos
        if qos is None or consumer.task_consumer is None:
            return  # it is not connected yet, or ends
        qos.value = slots
        # Its loop may wait for seconds before it looks.
        qos.update()
        if (hub := self._controller.hub) is not None:
            hub.call_soon(_nothing)

    def run(self) -> None:
        """Consume until `stop`; returns once every thread of the pool is done."""
        self._controller.start()
        if self._controller.exitcode:
            raise BrokerUnavailable("the Celery worker ended by itself; its log says why")

    def start(self) -> threading.Thread:
        """Consume in a thread that the process does not wait for."""
        thread = threading.Thread(target=self.run, name="consumer", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Take no more messages. Safe in a signal handler."""
        _state.should_stop = 0


def _nothing() -> None:
    """What wakes a loop up."""
