"""One request of a row: put to the engine as soon as there is room, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from jobs.checkpoint import Finished
from jobs.pieces import Piece, Span
from jobs.spec import StoredJob
from jobs.tasks.base import Prompt, Task, TaskOptions
from storage.errors import EngineDead, ErrorKind, RowError
from workers.engine import Completion, Request
from workers.services import Services
from workers.tally import Maker

T = TypeVar("T")


class Interrupted(Exception):
    """Raised inside a row when its shard is to stop; what it finished is checkpointed."""


@dataclass(frozen=True, slots=True)
class RowJob:
    """What every row of an open shard shares.

    `finished` is called with each finished request of a row that has several;
    `stopping` says whether new requests may still be made.
    """

    services: Services
    job: StoredJob
    task: Task
    options: TaskOptions
    shard: int
    attempt: int
    finished: Callable[[int, Finished], None]
    stopping: Callable[[], bool]

    @property
    def maker(self) -> Maker:
        """What the records of this attempt say of their making."""
        engine = self.services.engine
        return Maker(
            self.job, f"{engine.name} {engine.version}", self.attempt, self.services.worker
        )


def of_task(kind: ErrorKind, task: Task, call: Callable[[], T]) -> T:
    """Run a task's own code; whatever it trips over with this row is this row's error."""
    try:
        return call()
    except RowError:
        raise
    except Exception as error:
        raise RowError(
            kind, f"task {task.name} failed on this row ({type(error).__name__}: {error})"
        ) from error


async def put(
    shared: RowJob,
    place: int,
    prompt: Prompt,
    piece: Piece,
    answered: Callable[[Finished], None],
    *,
    media_sha256: str = "",
) -> asyncio.Task[None]:
    """Wait for room in the engine and hand the request in; the task ends when it is answered.

    Waiting here, and not in the task, is what holds decoding back. No two requests of a
    row may have pieces of one medium and start.
    """
    services, span = shared.services, piece.span
    request = Request(
        id=f"{shared.job.job_id}/{shared.shard}/{place}/{span.media_index}/{span.start}",
        prompt=prompt,
        piece=piece,
    )
    load = (services.engine.measure(request), 1, piece.nbytes)
    await services.in_engine.acquire(*load)
    if shared.stopping():
        services.in_engine.release(*load)
        raise Interrupted

    async def run(request: Request) -> None:
        asked, name = asyncio.wrap_future(services.engine.submit(request)), request.id
        # What the engine has, this need not hold as well until the answer comes: pixels.
        del request
        completion = await asked
        if completion.id != name:
            # Answers can be trusted no more, neither this one nor the others.
            raise EngineDead(f"asked {name}, was answered {completion.id}")
        services.counters.add_tokens(completion.prompt_tokens, completion.output_tokens)
        answered(_finished(place, media_sha256, prompt.sha256, span, completion))

    asked = asyncio.create_task(run(request))
    # Not in `run`: cancelled before its first step, it would never get to give this back.
    asked.add_done_callback(lambda _: services.in_engine.release(*load))
    return asked


def _finished(
    place: int, media_sha256: str, prompt_sha256: str, span: Span, completion: Completion
) -> Finished:
    return Finished(
        row=place,
        media_sha256=media_sha256,
        prompt_sha256=prompt_sha256,
        span=span,
        text=completion.text,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        output_tokens=completion.output_tokens,
        seconds=completion.seconds,
    )
