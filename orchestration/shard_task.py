"""The one Celery task: a few lines around the runner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import Reject

from workers.outcome import Outcome

if TYPE_CHECKING:
    from orchestration.app import MillApp

NAME = "mediamill.run_shard"


def register(app: MillApp) -> None:
    """Give the app its task. The message holds the job's place and a shard's number, no rows."""

    # Shared, it would be registered on every other app of the process, too.
    @app.task(name=NAME, bind=True, shared=False)
    def run_shard(task: Any, out: str, shard: int) -> str:
        runtime = app.runtime
        if runtime is None:
            raise Reject("this process serves no model", requeue=True)
        outcome = runtime.deliver(out, shard, task.request.properties["delivery_tag"])
        if outcome is Outcome.STOPPED:
            # Going down: the message returns to the front of its queue.
            raise Reject("worker is going down", requeue=True)
        return outcome.value
