"""Every hostile file through the real decoders: a piece or a typed error, in time and in room.

A few of each kind always run, and all of them in the full tests.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.models import resolve
from jobs.pieces import MAX_AUDIO_S, MAX_FRAMES, SAMPLE_RATE, MediaInfo, Piece, Reading
from jobs.spec import make_spec
from orchestration import cli_run, worker
from orchestration.settings import load_settings
from storage.errors import ERROR_KINDS, RowError
from storage.media import MediaSource
from tests.hostile.case import OK, Case
from tests.hostile.corpus import KINDS, corpus, sample_of
from tests.media import as_media
from tests.unit.scripted import ScriptedEngine
from workers.container import opened
from workers.decode import Decoders

ALL = Reading(frozenset({"image", "audio", "video", "document"}))
#: Seconds for one piece, and for a whole file; the slow ones have hours of sound.
LIMIT_S, SLOW_S = 60.0, 280.0
#: Bytes of address space, which the kernel refuses to exceed; of memory that is ever used.
MEMORY, RESIDENT = 3 << 30, 1 << 30

# Where a case points is of no matter to its name, and the server is not yet there.
_ALL = corpus("http://127.0.0.1:9", "/nowhere")
#: What once ended the decoder, or its process.
_MENDED = {"channels/8.wav", "channels/255.wav", "rates/2147483647.wav", "rates/1.wav"}
_SAMPLE = {case.id for case in sample_of(_ALL, 3)} | _MENDED


class Server(ThreadingHTTPServer):
    """Counts who knocks, whatever they want."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BaseHTTPRequestHandler)
        self.knocks = 0

    def get_request(self) -> Any:
        self.knocks += 1
        return super().get_request()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def cases(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    secret = tmp_path_factory.mktemp("secret") / "secret.txt"
    secret.write_text("the secret of another user")
    return {case.id: case for case in corpus(f"http://127.0.0.1:{server.server_port}", str(secret))}


@pytest.fixture(scope="module")
def pool() -> Iterator[Decoders]:
    decoders = Decoders(1, timeout_s=SLOW_S, memory=MEMORY)
    yield decoders
    decoders.close()


def outcome(pool: Decoders, path: Path) -> tuple[str, str, list[MediaInfo | Piece]]:
    """What becomes of a file: "ok" or an error's kind, its message, and what came."""
    source = MediaSource(local_roots=[path.parent])
    items: list[MediaInfo | Piece] = []
    try:
        media = source.fetch(str(path), max_bytes=1 << 30)
        items.extend(pool.decode(media, ALL, 0))
    except RowError as error:
        return error.kind, error.message, items
    finally:
        source.close()
    return OK, "", items


def check_items(items: list[MediaInfo | Piece]) -> None:
    """What a task relies on, whatever the file was."""
    first, *pieces, last = items
    assert isinstance(first, MediaInfo)
    assert isinstance(last, MediaInfo)
    for piece in pieces:
        assert isinstance(piece, Piece)
        frames = [*piece.images, *(piece.clip.frames if piece.clip else ())]
        assert frames or piece.sounds
        assert piece.clip is None or 1 <= len(piece.clip.frames) <= MAX_FRAMES
        for frame in frames:
            assert frame.dtype == np.uint8
            assert frame.ndim == 3
            assert frame.shape[2] == 3
            assert frame.size
        for samples in piece.sounds:
            assert samples.dtype == np.float32
            assert 0 < len(samples) <= MAX_AUDIO_S * SAMPLE_RATE
            assert np.isfinite(samples).all()
            assert np.abs(samples).max() <= 1


def the_process(pool: Decoders) -> int | None:
    """The pool's one process, if it has been started."""
    assert not pool._busy
    return pool._idle[0].pid if pool._idle else None


def most_memory(pid: int) -> int:
    """Bytes that a process ever held, as the kernel counts."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.parametrize(
    "name",
    [pytest.param(case.id, marks=() if case.id in _SAMPLE else pytest.mark.full) for case in _ALL],
)
def test_a_file_gives_pieces_or_its_error(
    name: str, cases: dict[str, Case], pool: Decoders, server: Server, tmp_path: Path
) -> None:
    case = cases[name]
    path = case.put(tmp_path / case.name)
    before, began = the_process(pool), time.monotonic()
    kind, message, items = outcome(pool, path)
    took = time.monotonic() - began
    assert kind in case.expected, message
    assert took < (SLOW_S if case.slow else LIMIT_S)
    if kind == OK:
        check_items(items)
    else:
        assert kind in ERROR_KINDS
        assert len(message) > 10
        assert message == message.strip()
        assert len(message) < 500
    pid = the_process(pool)
    if before is not None:
        assert pid == before, "the file ended its decoder"
    if pid is not None:
        assert most_memory(pid) < RESIDENT
    assert server.knocks == 0


@pytest.mark.parametrize("kind", ["audio", "video", "image"])
def test_what_points_elsewhere_is_not_followed_by_the_decoder_itself(
    kind: str, cases: dict[str, Case], pool: Decoders, server: Server, tmp_path: Path
) -> None:
    """Also past the look at its first bytes, and under the name that FFmpeg knows it by."""
    for case in cases.values():
        if case.kind == "playlist" and case.expected == {"wrong_kind"}:
            media = as_media(case.put(tmp_path / case.name), kind)
            with pytest.raises(RowError) as caught:
                list(pool.decode(media, ALL, 0))
            assert caught.value.kind == "corrupt", case.id
    assert server.knocks == 0


def test_an_error_of_one_document_is_not_said_of_the_next(
    cases: dict[str, Case], pool: Decoders, tmp_path: Path
) -> None:
    """PDFium keeps its last error, and sets none of its own for some."""
    order = ("locked_pdf/plain", "broken_pdf/no-root", "locked_pdf/other-lock",
             "broken_pdf/no-pages", "broken_pdf/head", "broken_pdf/no-pages")  # fmt: skip
    for name in (f"{each}.pdf" for each in order):
        kind, message, _ = outcome(pool, cases[name].put(tmp_path / cases[name].name))
        assert {kind} == cases[name].expected, message


def test_films_leave_no_threads_behind(cases: dict[str, Case], tmp_path: Path) -> None:
    """FFmpeg starts as many as there are processors, for each film and for each frame: on a
    large host their stacks alone would be over the limit of address space."""
    fresh = Decoders(1, timeout_s=LIMIT_S)
    try:
        for name in ("one_frame/libx264.mp4", "no_length/libx264-piped.mkv", "lies/wide.mkv"):
            path = cases[name].put(tmp_path / cases[name].name)
            for _ in range(8):
                assert outcome(fresh, path)[0] == OK
            with opened(str(path)) as container:
                assert container.streams.video[0].codec_context.thread_count == 1
        assert len(list(Path(f"/proc/{the_process(fresh)}/task").iterdir())) == 1
    finally:
        fresh.close()


def test_the_corpus_is_as_large_as_is_asked() -> None:
    counts = Counter(case.kind for case in _ALL)
    assert sum(counts.values()) >= 300
    assert {kind: counts[kind] for kind in KINDS if counts[kind] < 12} == {}
    assert len(_SAMPLE) >= 60
    assert len({case.id for case in _ALL}) == len(_ALL)
    # Hours of sound take half a minute each, and run in the full tests alone.
    kinds = {case.kind for case in _ALL if case.id in _SAMPLE}
    assert set(KINDS) - kinds == {"hours"}


def _run(found: list[Case], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """One job over these files, by `mediamill run` on a scripted engine: its records."""
    media = folder / "media"
    lines = []
    for number, case in enumerate(found):
        below = media / str(number)
        below.mkdir(parents=True)
        path = case.put(below / case.name)
        lines.append(json.dumps({"id": f"r{number}", "uri": str(path)}))
    manifest = folder / "m.jsonl"
    manifest.write_text("\n".join(lines))
    engine = ScriptedEngine(lambda request: "an answer")
    engine.model = resolve("tiny").key
    monkeypatch.setattr(worker, "load", lambda *_, **__: engine)
    out = folder / "out"
    spec = make_spec({
        "manifest": str(manifest), "task": "ask", "out": str(out), "model": "tiny",
        "options": {"question": "What is it?"},
    })  # fmt: skip
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        settings = load_settings(decoders=2, time_scale=0.1)
        assert cli_run.run_here(settings, [spec], json_output=True, strict=False) == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return [
        record
        for file in sorted((out / "data").glob("*.parquet"))
        for record in pq.read_table(file).to_pylist()
    ]


def _check(found: list[Case], records: list[dict[str, Any]]) -> None:
    assert sorted(record["row_id"] for record in records) == sorted(
        f"r{number}" for number in range(len(found))
    )
    for record in records:
        case = found[int(record["row_id"][1:])]
        kind = record["error"]["kind"] if record["status"] == "error" else record["status"]
        assert kind in case.expected, (case.id, record["error"])


def test_a_job_over_some_of_them_has_a_record_for_each(
    cases: dict[str, Case], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [cases[name] for name in sorted(_SAMPLE)]
    _check(found, _run(found, tmp_path, monkeypatch))
    assert server.knocks == 0


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_job_over_all_of_them_has_a_record_for_each(
    cases: dict[str, Case], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [case for case in cases.values() if not case.slow]
    _check(found, _run(found, tmp_path, monkeypatch))
    assert server.knocks == 0
