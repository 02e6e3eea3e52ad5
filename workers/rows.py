"""One row to one record; never raises for a bad row."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from jobs.ledger import Finished
from jobs.markup import final_answer
from jobs.pieces import MediaInfo, Piece, Span
from jobs.spec import StoredJob
from jobs.tasks.base import Answer, Parsed, Prompt, Row, Task, TaskOptions
from storage.errors import RowError
from storage.media import Media
from storage.records import Record
from workers.engine import Completion, Request
from workers.services import Services

T = TypeVar("T")


class Interrupted(Exception):  # noqa: N818 - no error: the row is simply not finished here
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


@dataclass(slots=True)
class _Tally:
    """What is known of a row so far; an error record says as much of it as an ok one."""

    media: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    prompt_sha256: str | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


async def make_record(
    shared: RowJob,
    place: int,
    row: Row,
    overrides: Mapping[str, Any],
    earlier: Sequence[Finished],
) -> Record:
    """The outcome of the row at `place` in its shard.

    `overrides` are a retry's options; `earlier` are requests of this row that former
    attempts finished. Raises Interrupted when the shard stops first, and shard-level
    errors (EngineDead, StoreUnavailable), never anything that is this row's own fault.
    """
    tally = _Tally()
    parsed: Parsed | None = None
    error: RowError | None = None
    try:
        options = _options(shared, row, overrides)
        await _answer(shared, place, row, options, earlier, tally)
        tally.answers.sort(key=lambda a: (a.span.media_index, a.span.start))
        parsed = shared.task.parse(row, tally.answers, options)
    except RowError as fault:
        error = fault
    record = _record(shared, row, tally, parsed, error)
    shared.services.counters.add(
        failed=error is not None,
        prompt_tokens=tally.prompt_tokens,
        output_tokens=tally.output_tokens,
    )
    return record


def _options(shared: RowJob, row: Row, overrides: Mapping[str, Any]) -> TaskOptions:
    columns = {
        name: row.columns[name]
        for name in shared.job.spec.from_columns
        if row.columns.get(name) is not None
    }
    if not columns and not overrides:
        return shared.options
    # A row's own column says more of it than a retry's options for all rows.
    values = {**shared.job.options, **overrides, **columns}
    try:
        return shared.task.Options.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"]))
        raise RowError("invalid_row", f"row {row.id}, column {name}: {fault['msg']}") from None


async def _answer(
    shared: RowJob,
    place: int,
    row: Row,
    options: TaskOptions,
    earlier: Sequence[Finished],
    tally: _Tally,
) -> None:
    """Ask about every piece of every medium of the row; answers gather in `tally`."""
    several: list[Piece] = []
    requests: list[asyncio.Task[None]] = []
    merge = shared.task.together and len(row.uris) > 1
    try:
        for index, uri in enumerate(row.uris):
            # Closed here and now, also when asking raises: it holds a decode process.
            async with aclosing(
                _pieces(shared, row, index, uri, options, earlier, tally)
            ) as pieces:
                async for media, piece in pieces:
                    if merge:
                        several.append(piece)
                    else:
                        requests.append(
                            await _ask(shared, place, row, piece, options, media.sha256, tally)
                        )
        for piece in _merged(several):
            requests.append(await _ask(shared, place, row, piece, options, "", tally))
        await asyncio.gather(*requests)
    finally:
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)


def _merged(pieces: list[Piece]) -> list[Piece]:
    """One request for all media of the row, where each of them is one image."""
    if len(pieces) > 1 and all(piece.images and not piece.audio for piece in pieces):
        images = tuple(image for piece in pieces for image in piece.images)
        return [Piece(span=pieces[0].span, images=images)]
    return pieces


async def _pieces(
    shared: RowJob,
    row: Row,
    index: int,
    uri: str,
    options: TaskOptions,
    earlier: Sequence[Finished],
    tally: _Tally,
) -> AsyncGenerator[tuple[Media, Piece], None]:
    """Fetch and decode one medium, piece by piece, no faster than the consumer takes them."""
    services = shared.services
    await services.ahead.acquire(1)
    try:
        media = await _in_pool(
            services.fetch_pool,
            lambda: services.media.fetch(
                uri, max_bytes=options.max_media_bytes, base=shared.job.plan.base
            ),
        )
        try:
            facts = {"kind": media.kind, "bytes": media.size, "sha256": media.sha256}
            tally.media.append({**facts, "width": None, "height": None, "duration_s": None})
            reading = shared.task.reading(options, shared.job.model.abilities)
            kept = [
                f for f in earlier if f.span.media_index == index and f.media_sha256 == media.sha256
            ]
            for done in kept:
                _count(tally, done)
            reading = replace(reading, keep=tuple(f.span for f in kept))
            await services.decoding.acquire(1)
            items = services.decoders.decode(media, reading, index)
            info: MediaInfo | None = None
            try:
                while True:
                    item = await _in_pool(services.decode_pool, lambda: next(items, None))
                    if item is None:
                        break
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
                items.close()
                services.decoding.release(1)
            if info is not None:
                tally.warnings.extend(info.warnings)
        finally:
            media.close()
    finally:
        services.ahead.release(1)


async def _ask(
    shared: RowJob,
    place: int,
    row: Row,
    piece: Piece,
    options: TaskOptions,
    media_sha256: str,
    tally: _Tally,
) -> asyncio.Task[None]:
    """Wait for room in the engine and hand the request in; the task ends with its answer.

    Waiting here, and not in the task, is what holds decoding back.
    """
    services = shared.services
    prompt = shared.task.prompt(row, piece, options)
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
        try:
            completion = await asyncio.wrap_future(services.engine.submit(request))
        finally:
            services.in_engine.release(*load)
        if completion.id != request.id:
            raise AssertionError(f"asked {request.id}, was answered {completion.id}")
        done = _finished(place, span, media_sha256, prompt, completion)
        _count(tally, done)
        # The row's record is near when it has one request; a window is worth keeping alone.
        if span.start_s is not None:
            shared.finished(place, done)

    return asyncio.create_task(run())


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


def _count(tally: _Tally, done: Finished) -> None:
    tally.answers.append(Answer(done.span, final_answer(done.text), done.text, done.finish_reason))
    tally.prompt_sha256 = tally.prompt_sha256 or done.prompt_sha256
    tally.prompt_tokens += done.prompt_tokens
    tally.output_tokens += done.output_tokens
    tally.seconds += done.seconds


def _record(
    shared: RowJob, row: Row, tally: _Tally, parsed: Parsed | None, error: RowError | None
) -> Record:
    raw = "\n".join(answer.raw for answer in tally.answers) if tally.answers else None
    reasons = {answer.finish_reason for answer in tally.answers}
    # One window cut short makes the whole row's answer short.
    reason = next((r for r in reasons if r != "stop"), "stop") if reasons else None
    warnings = list(dict.fromkeys(tally.warnings))
    if reason == "length":
        warnings.append("output_truncated")
    if parsed is not None:
        warnings.extend(parsed.warnings)
    engine = shared.services.engine
    return Record(
        row_id=row.id,
        uri=row.uris[0],
        task=shared.task.name,
        status="ok" if error is None else "error",
        error=None
        if error is None
        else {"kind": error.kind, "message": error.message, "retryable": error.retryable},
        text=parsed.text if parsed is not None else None,
        raw=raw,
        finish_reason=reason,
        warnings=warnings,
        media=tally.media,
        usage={
            "prompt_tokens": tally.prompt_tokens,
            "output_tokens": tally.output_tokens,
            "seconds": tally.seconds,
        },
        lineage={
            "job_id": shared.job.job_id,
            "model": shared.job.model.name,
            "model_revision": shared.job.model.revision,
            "engine": f"{engine.name} {engine.version}",
            "prompt_sha256": tally.prompt_sha256,
            "attempt": shared.attempt,
            "worker": shared.services.worker,
            "finished_at": time.time(),
        },
        columns=dict(parsed.columns) if parsed is not None else {},
    )


async def _in_pool(pool: Executor, call: Callable[[], T]) -> T:
    """Run a blocking call; when cancelled, still wait for it, since it cannot be interrupted."""
    future = asyncio.get_running_loop().run_in_executor(pool, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
