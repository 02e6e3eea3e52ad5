"""Scripted doubles of what a shard is worked with: engine, media, decoders, and a job to work.

URIs say what happens: `image:NAME`, `audio:SECONDS`, `video:SECONDS`, with `!KIND` for a
fetch that fails so, and `~KIND` for a decoder that fails so after the medium's pieces.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.models import Model
from jobs.pieces import SAMPLE_RATE, Clip, MediaInfo, Piece, Reading, Span
from jobs.plan import Carried, Plan, plan_key
from jobs.spec import SPEC_KEY, StoredJob, check_options, identity, make_spec
from jobs.tasks import get_task
from jobs.tempo import Tempo
from storage.errors import EngineDead, ErrorKind, RowError
from storage.media import Media, MediaSource
from storage.objects import Object, Store, StoreTraits
from workers.decode import Decoders
from workers.engine import Capacity, Completion, Request
from workers.services import Services

MODEL = Model(name="tiny", revision="r1", abilities=frozenset({"image", "video", "audio"}))
#: Times that let a test see several checkpoints in a moment of its own clock.
FAST = Tempo(0.002)


class ScriptedEngine:
    """Answers by a function of the request: a text, an error to raise, or a future."""

    name = "scripted"
    version = "1"
    model = MODEL.key

    def __init__(
        self,
        answer: Callable[[Request], str | BaseException | Future[Completion]] | None = None,
        *,
        capacity: Capacity | None = None,
    ) -> None:
        self.capacity = capacity or Capacity(tokens=100_000, sequences=64, context=8192)
        self.answer = answer or (lambda request: f"answer to {request.id}")
        self.tokens: Callable[[Request], int] = lambda request: 100
        self.asked: list[Request] = []
        self.held: list[tuple[Request, Future[Completion]]] = []
        self.dead = False
        self._lock = threading.Lock()

    def measure(self, request: Request) -> int:
        return self.tokens(request)

    def submit(self, request: Request) -> Future[Completion]:
        with self._lock:
            self.asked.append(request)
            dead = self.dead
        answer = EngineDead("the scripted engine is dead") if dead else self.answer(request)
        if isinstance(answer, Future):
            return answer
        future: Future[Completion] = Future()
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(completion(request, answer))
        return future

    def hold(self, request: Request) -> Future[Completion]:
        """As `answer`: keep the request until the test answers it."""
        future: Future[Completion] = Future()
        with self._lock:
            self.held.append((request, future))
        return future

    def die(self) -> None:
        """End: what is held raises EngineDead, and so does what comes."""
        with self._lock:
            self.dead = True
            held, self.held = self.held, []
        for _, future in held:
            if not future.done() and future.set_running_or_notify_cancel():
                future.set_exception(EngineDead("the scripted engine is dead"))

    def close(self) -> None:
        self.die()


def completion(request: Request, text: str, finish_reason: str = "stop") -> Completion:
    """An answer to the request: 10 prompt tokens, 5 of output, a quarter of a second."""
    return Completion(request.id, text, finish_reason, 10, 5, 0.25)


class ScriptedMedia:
    """Media by what their URI says; nothing is read."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.on_fetch: Callable[[str], None] = lambda uri: None

    def fetch(self, uri: str, *, max_bytes: int, base: str | None = None) -> Media:
        self.fetched.append(uri)
        self.on_fetch(uri)
        if "!" in uri:
            raise RowError(cast("ErrorKind", uri.partition("!")[2]), f"{uri}: as scripted")
        kind = cast("Any", uri.partition(":")[0])
        digest = hashlib.sha256(uri.encode()).hexdigest()
        return Media(uri, kind, f"{kind}/x", len(uri), digest, uri.encode(), spooled=False)

    def close(self) -> None:
        pass


class ScriptedDecoders:
    """Pieces by what the URI says. `open` counts decodings that nobody has closed.

    `on_decode` is told of each when it begins, with what is set when it is interrupted.
    """

    def __init__(self) -> None:
        self.on_decode: Callable[[str, threading.Event], None] = lambda uri, interrupted: None
        self.open = 0
        self.most = 0
        self.readings: list[Reading] = []
        self.decoded: list[Span] = []
        self._lock = threading.Lock()

    def decode(self, media: Media, reading: Reading, index: int) -> ScriptedDecoding:
        interrupted = threading.Event()
        return ScriptedDecoding(self._decode(media, reading, index, interrupted), interrupted)

    def _decode(
        self, media: Media, reading: Reading, index: int, interrupted: threading.Event
    ) -> Generator[MediaInfo | Piece, None, None]:
        if media.kind not in reading.kinds:
            raise RowError("wrong_kind", f"{media.uri}: a scripted {media.kind}")
        what, _, fault = media.uri.partition("~")
        with self._lock:
            self.readings.append(reading)
            self.open += 1
            self.most = max(self.most, self.open)
        try:
            self.on_decode(media.uri, interrupted)
            yield from self._items(media.kind, what.partition(":")[2], reading, index)
            if fault:
                raise RowError(cast("ErrorKind", fault), f"{media.uri}: as scripted")
        finally:
            with self._lock:
                self.open -= 1

    def _items(
        self, kind: str, what: str, reading: Reading, index: int
    ) -> Iterator[MediaInfo | Piece]:
        if kind == "image":
            yield MediaInfo("image", width=4, height=3)
            image = np.zeros((3, 4, 3), np.uint8)
            span = Span(index, 0, 1, width=4, height=3)
            if span not in reading.keep:
                yield Piece(span, images=(image,))
            return
        if kind == "document":
            yield MediaInfo("document", pages=int(what))
            for page in range(1, int(what) + 1):
                span = Span(index, page, page + 1, width=30, height=40)
                if span not in reading.keep:
                    self.decoded.append(span)
                    yield Piece(span, images=(np.zeros((40, 30, 3), np.uint8),))
            return
        seconds = float(what)
        yield MediaInfo(cast("Any", kind), duration_s=seconds)
        at = 0.0
        while at < seconds:
            end = min(at + 30, seconds)
            span = Span(index, int(at * SAMPLE_RATE), int(end * SAMPLE_RATE), at, end)
            at = end
            if span in reading.keep:
                continue
            self.decoded.append(span)
            yield self._window(kind, span)

    def _window(self, kind: str, span: Span) -> Piece:
        if kind == "video":
            return Piece(span, clip=Clip(np.zeros((1, 2, 2, 3), np.uint8), (0,), 1.0, 1))
        return Piece(span, sounds=(np.zeros(16, np.float32),))

    def close(self) -> None:
        pass


class ScriptedDecoding(Iterator[MediaInfo | Piece]):
    """As `workers.decode.Decoding`."""

    def __init__(
        self, items: Generator[MediaInfo | Piece, None, None], interrupted: threading.Event
    ) -> None:
        self._items = items
        self._interrupted = interrupted

    def __next__(self) -> MediaInfo | Piece:
        return next(self._items)

    def close(self) -> None:
        self._items.close()

    def interrupt(self) -> None:
        self._interrupted.set()


@contextmanager
def services(
    engine: ScriptedEngine, *, worker: str = "w1", tempo: Tempo = FAST, decoders: int = 2
) -> Iterator[Services]:
    """Services over the doubles; at the end nothing may be held or open."""
    media = ScriptedMedia()
    with tempfile.TemporaryDirectory() as in_hand:
        made = Services(
            engine,
            cast("MediaSource", media),
            worker=worker,
            tempo=tempo,
            fetchers=4,
            decoders=decoders,
            in_hand=Path(in_hand),
        )
        made.decoders.close()
        made.decoders = cast("Decoders", ScriptedDecoders())
        try:
            yield made
            assert_nothing_held(made)
        finally:
            made.close()


def assert_nothing_held(made: Services) -> None:
    """No budget and no decoder is held by anybody."""
    budgets = {
        "floor": made.floor,
        "ahead": made.ahead,
        "decoding": made.decoding,
        "in_engine": made.in_engine,
    }
    assert {name: b.holders for name, b in budgets.items() if b.holders} == {}
    assert cast("ScriptedDecoders", made.decoders).open == 0


def plan_job(
    store: Store,
    rows: Sequence[Sequence[str]],
    *,
    sizes: Sequence[int] = (),
    task: str = "caption",
    options: Mapping[str, Any] | None = None,
    columns: Mapping[str, pa.Array] | None = None,
    from_columns: tuple[str, ...] = (),
) -> StoredJob:
    """Put a job into the store: row `i` has id `r<i>` and these URIs; `sizes` are of shards."""
    sizes = sizes or [len(rows)]
    columns = columns or {}
    table = pa.table({
        "id": [f"r{i}" for i in range(len(rows))],
        "uri": [uris[0] for uris in rows],
        "uris": pa.array([list(uris) if len(uris) > 1 else None for uris in rows],
                         pa.list_(pa.string())),
        **{f"c{i}": array for i, array in enumerate(columns.values())},
    })  # fmt: skip
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        at = 0
        for size in sizes:
            writer.write_table(table.slice(at, size))
            at += size
    assert at == len(rows)
    store.put(plan_key("t", 0), sink.getvalue())
    carried = tuple(
        Carried(source=name, name=name, type=str(array.type)) for name, array in columns.items()
    )
    plan = Plan(
        token="t",
        format="parquet",
        shards=len(sizes),
        rows=len(rows),
        columns=carried,
        manifest_digest="d",
        base=None,
        tokens=0,
        firsts=(0,),
    )
    asked = {"manifest": "/m.jsonl", "task": task, "out": store.uri}
    spec = make_spec({**asked, "options": options or {}, "from_columns": from_columns})
    known = get_task(task)
    checked = check_options(known, spec.options, from_columns)
    job = StoredJob(
        job_id=identity(spec, known, checked, MODEL, "d"),
        spec=spec,
        model=MODEL,
        task_version=known.version,
        options=checked.model_dump(mode="json"),
        plan=plan,
        traits=StoreTraits(),
        created_at=store.now(),
    )
    store.put(SPEC_KEY, job.model_dump_json().encode())
    return job


class HookedStore:
    """A store that tells `hook` of every call, before and after: to count, fail, or race."""

    def __init__(self, store: Store, hook: Callable[[str, str, str], None]) -> None:
        self._store = store
        self._hook = hook
        self.uri = store.uri

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        self._hook("before", "list", prefix)
        yield from self._store.list(prefix, after=after)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        def hooked(*args: Any, **options: Any) -> Any:
            key = args[0] if args else ""
            self._hook("before", name, key)
            result = call(*args, **options)
            self._hook("after", name, key)
            return result

        return hooked
