"""What is asked about one row: its media fetched and decoded, and each piece put to the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import numpy as np

from jobs.checkpoint import Finished
from jobs.pieces import Clip, MediaInfo, Piece, Span
from jobs.tasks.base import Prompt, Row, TaskOptions
from storage.errors import RowError
from storage.media import Media
from workers.concluding import conclude
from workers.pools import in_pool, left_in_pool
from workers.request import Interrupted, RowJob, of_task, put
from workers.tally import Tally
from workers.together import Held, merged, one_request

_NOTHING = np.zeros((0, 0, 3), np.uint8)


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
    requests: list[asyncio.Task[None]] = []
    try:
        # Apart from the waiting: with it goes its hold on what was decoded.
        await _ask_all(shared, place, row, options, earlier, tally, requests)
        await asyncio.gather(*requests)
        await conclude(shared, place, row, options, tally)
    finally:
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)


async def _ask_all(
    shared: RowJob,
    place: int,
    row: Row,
    options: TaskOptions,
    earlier: Sequence[Finished],
    tally: Tally,
    requests: list[asyncio.Task[None]],
) -> None:
    """Put every piece of every medium to the model; `requests` gathers what is to be awaited."""
    # A row without media is one piece in which there is nothing.
    held: list[Held] = [] if row.uris else [("", Piece(Span(0, 0, 0)))]
    together = shared.task.together
    for index, uri in enumerate(row.uris):
        try:
            # Closed here and now, also when asking raises: it holds a decode process.
            async with aclosing(
                _pieces(shared, row, index, uri, options, earlier, tally)
            ) as pieces:
                async for media, piece in pieces:
                    held.append((media.sha256, piece))
                    # Long media must not gather in memory: theirs are asked one by one,
                    # and all of a row that was begun so.
                    together = together and not tally.answers and _fits(shared, row, held, options)
                    while held and not together:
                        requests.append(await _ask(shared, place, row, held.pop(0), options, tally))
        except RowError as error:
            if len(row.uris) == 1:
                raise
            where = f"medium {index} of {len(row.uris)}"
            # Its own class: an expired URL's error says that it may be tried again.
            raise type(error)(error.kind, f"{where}: {error.message}") from error
    if held:
        requests.append(await _ask(shared, place, row, merged(held), options, tally))


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
            unknown = dict.fromkeys(("width", "height", "duration_s", "pages"))
            tally.media.append(facts | unknown)
            reading = of_task(
                "invalid_row",
                shared.task,
                lambda: shared.task.reading(options, shared.job.model.abilities),
            )
            of_medium = [f for f in earlier if f.span.media_index == index]
            kept = _kept(shared, row, options, media.sha256, of_medium)
            for done in kept:
                tally.count(done)
                span = done.span
                # Each was an image, of its own size.
                if reading.video == "frames" or span.start_s is None:
                    prompt = _prompt(shared, row, Piece(span), options)
                    tally.ask(prompt, [(span.width, span.height)])
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
                            pages=info.pages,
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


def _fits(shared: RowJob, row: Row, held: list[Held], options: TaskOptions) -> bool:
    """Whether the engine takes all that is held in one request."""
    if len(held) < 2:
        return True
    _, piece = merged(held)
    prompt = _prompt(shared, row, piece, options)
    return one_request(held, prompt, shared.services.engine)


async def _ask(
    shared: RowJob, place: int, row: Row, held: Held, options: TaskOptions, tally: Tally
) -> asyncio.Task[None]:
    """Put a piece to the model; its answer is counted, and kept if the row has others."""
    sha256, piece = held
    span = piece.span
    prompt = _prompt(shared, row, piece, options)
    tally.ask(prompt, ((image.shape[1], image.shape[0]) for image in piece.images))

    def answered(done: Finished) -> None:
        tally.count(done)
        # The row's record is near when it has one request; one of several is worth keeping
        # alone, if it was about one medium.
        if span.start_s is not None or span.page or (len(row.uris) > 1 and sha256):
            shared.finished(place, done)

    return await put(shared, place, prompt, piece, answered, media_sha256=sha256)
