"""What is asked about one row: its media fetched and decoded, and each piece put to the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from jobs.ledger import Finished
from jobs.pieces import Clip, MediaInfo, Piece, Span
from jobs.spec import StoredJob
from jobs.tasks.base import Prompt, Row, Task, TaskOptions
from storage.errors import EngineDead, ErrorKind, RowError
from storage.media import Media
from workers.engine import Completion, Request
from workers.pools import in_pool, left_in_pool
from workers.services import Services
from workers.tally import Maker, Tally
from workers.together import fits, merged

T = TypeVar("T")

_NOTHING = np.zeros((0, 0, 3), np.uint8)


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


async def answer(
    shared: RowJob,
    place: int,
    row: Row,
    options: TaskOptions,
    earlier: Sequence[Finished],
    tally: Tally,
) -> None:
    """Ask about every piece of every medium of the row; answers gather in `tally`.

    An error of one medium of several says which.
    """
    held: list[tuple[str, Piece]] = []
    requests: list[asyncio.Task[None]] = []
    together = shared.task.together and len(row.uris) > 1
    capacity = shared.services.engine.capacity
    try:
        for index, uri in enumerate(row.uris):
            try:
                # Closed here and now, also when asking raises: it holds a decode process.
                async with aclosing(
                    _pieces(shared, row, index, uri, options, earlier, tally)
                ) as pieces:
                    async for media, piece in pieces:
                        # Long media must not gather in memory: theirs are asked one by one.
                        together = together and fits(held, piece, capacity)
                        held.append((media.sha256, piece))
                        while held and not together:
                            sha256, piece = held.pop(0)
                            requests.append(
                                await _ask(shared, place, row, piece, options, sha256, tally)
                            )
            except RowError as error:
                if len(row.uris) == 1:
                    raise
                where = f"medium {index} of {len(row.uris)}"
                raise RowError(error.kind, f"{where}: {error.message}") from error
        for sha256, piece in merged(held):
            requests.append(await _ask(shared, place, row, piece, options, sha256, tally))
        await asyncio.gather(*requests)
    finally:
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)


async def _pieces(
    shared: RowJob,
    row: Row,
    index: int,
    uri: str,
    options: TaskOptions,
    earlier: Sequence[Finished],
    tally: Tally,
) -> AsyncGenerator[tuple[Media, Piece], None]:
    """Fetch and decode one medium, piece by piece, no faster than the consumer takes them."""
    services, base = shared.services, shared.job.plan.base
    await services.ahead.acquire(1)
    try:
        if shared.stopping():
            raise Interrupted
        media = await left_in_pool(
            services.fetch_pool,
            lambda: services.media.fetch(uri, max_bytes=options.max_media_bytes, base=base),
            discard=Media.close,
        )
        try:
            facts = {"kind": media.kind, "bytes": media.size, "sha256": media.sha256}
            tally.media.append({**facts, "width": None, "height": None, "duration_s": None})
            reading = of_task(
                "invalid_row",
                shared.task,
                lambda: shared.task.reading(options, shared.job.model.abilities),
            )
            of_medium = [f for f in earlier if f.span.media_index == index]
            kept = _kept(shared, row, options, media.sha256, of_medium)
            for done in kept:
                tally.count(done)
            await services.decoding.acquire(1)
            items = services.decoders.decode(
                media, replace(reading, keep=tuple(f.span for f in kept)), index
            )
            info: MediaInfo | None = None
            try:
                while (
                    item := await in_pool(
                        services.decode_pool, lambda: next(items, None), items.interrupt
                    )
                ) is not None:
                    if isinstance(item, MediaInfo):
                        info = item
                        tally.media[-1].update(
                            kind=info.kind,
                            width=info.width,
                            height=info.height,
                            duration_s=info.duration_s,
                        )
                    else:
                        yield media, item
            finally:
                try:
                    # In the middle of a medium this waits for its process: not on the loop.
                    await in_pool(services.decode_pool, items.close)
                finally:
                    services.decoding.release(1)
            if info is not None:
                tally.warnings.extend(info.warnings)
        finally:
            media.close()
    finally:
        services.ahead.release(1)


def _kept(
    shared: RowJob, row: Row, options: TaskOptions, sha256: str, earlier: Sequence[Finished]
) -> list[Finished]:
    """Which finished requests of a medium answer what would be asked of it now."""
    kept: list[Finished] = []
    for done in earlier:
        # Attempts that overlapped may have cut differently; what is heard twice is told twice.
        apart = all(done.span.end <= k.span.start or k.span.end <= done.span.start for k in kept)
        if (
            apart
            and done.media_sha256 == sha256
            and any(
                _prompt(shared, row, blank, options).sha256 == done.prompt_sha256
                for blank in _blanks(done.span)
            )
        ):
            kept.append(done)
    return kept


def _blanks(span: Span) -> tuple[Piece, ...]:
    """Pieces of every form with nothing to see: what is asked depends on the form alone."""
    clip = Clip(_NOTHING[None], (0,), 1.0, 1)
    return Piece(span), Piece(span, images=(_NOTHING,)), Piece(span, clip=clip)


def _prompt(shared: RowJob, row: Row, piece: Piece, options: TaskOptions) -> Prompt:
    return of_task("invalid_row", shared.task, lambda: shared.task.prompt(row, piece, options))


async def _ask(
    shared: RowJob,
    place: int,
    row: Row,
    piece: Piece,
    options: TaskOptions,
    media_sha256: str,
    tally: Tally,
) -> asyncio.Task[None]:
    """Wait for room in the engine and hand the request in; the task ends with its answer.

    Waiting here, and not in the task, is what holds decoding back.
    """
    services = shared.services
    prompt = _prompt(shared, row, piece, options)
    tally.prompt_sha256 = tally.prompt_sha256 or prompt.sha256
    span = piece.span
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

    async def run() -> None:
        completion = await asyncio.wrap_future(services.engine.submit(request))
        if completion.id != request.id:
            # Answers can be trusted no more, neither this one nor the others.
            raise EngineDead(f"asked {request.id}, was answered {completion.id}")
        done = _finished(place, span, media_sha256, prompt, completion)
        services.counters.add_tokens(done.prompt_tokens, done.output_tokens)
        tally.count(done)
        # The row's record is near when it has one request; a window is worth keeping alone.
        if span.start_s is not None:
            shared.finished(place, done)

    asked = asyncio.create_task(run())
    # Not in `run`: cancelled before its first step, it would never get to give this back.
    asked.add_done_callback(lambda _: services.in_engine.release(*load))
    return asked


def _finished(
    place: int, span: Span, media_sha256: str, prompt: Prompt, completion: Completion
) -> Finished:
    return Finished(
        row=place,
        media_sha256=media_sha256,
        prompt_sha256=prompt.sha256,
        span=span,
        text=completion.text,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        output_tokens=completion.output_tokens,
        seconds=completion.seconds,
    )
