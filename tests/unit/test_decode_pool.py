"""The pool: real decoder processes that crash, hang, bloat and go, while rows go on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.pieces import MediaInfo, Piece, Reading
from storage.errors import RowError, WorkerUnfit
from storage.media import Media
from tests.media import as_media, evenly, grey, speech, told, tone, write_sound, write_video
from workers import wire
from workers.decode import Decoders
from workers.decoder import _serve_one

ALL = Reading(frozenset({"image", "audio", "video"}))


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1, timeout_s=30)
    yield pool
    pool.close()


def picture(colour: tuple[int, int, int] = (1, 2, 3), size: tuple[int, int] = (8, 6)) -> Media:
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return as_media(buffer.getvalue(), "image", "image/png")


def film(folder: Path, count: int = 600) -> Media:
    """Two minutes in four windows or 120 frames."""
    path = folder / "film.mp4"
    return as_media(write_video(path, evenly(count, 5), grey, rate=5), "video", "video/mp4")


def pid_of(pool: Decoders) -> int:
    """The one process of a pool, idle or at work."""
    (process,) = [*pool._idle, *pool._busy]
    return process.pid


def eventually(condition: Callable[[], bool], within_s: float = 20.0) -> bool:
    """Wait until something happens that another process does in its own time."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def failure(items: Iterator[Any]) -> RowError:
    with pytest.raises(RowError) as caught:
        list(items)
    return caught.value


def test_an_image_from_memory_and_from_a_file(decoders: Decoders, tmp_path: Path) -> None:
    in_memory = picture((10, 20, 30))
    assert isinstance(in_memory.source, bytes)
    path = tmp_path / "a"
    path.write_bytes(in_memory.source)
    for media in (in_memory, as_media(path, "image")):
        first, piece, last = decoders.decode(media, ALL, 4)
        assert first == last == MediaInfo("image", 8, 6)
        assert isinstance(piece, Piece)
        assert piece.span.media_index == 4
        assert piece.images[0].shape == (6, 8, 3)
        assert piece.images[0][3, 3].tolist() == [10, 20, 30]


def test_sound_and_film_from_memory_and_from_a_file(decoders: Decoders, tmp_path: Path) -> None:
    spoken = write_sound(tmp_path / "a.wav", speech("She sells sea shells by the sea shore."))
    shown = film(tmp_path, 60)
    assert isinstance(shown.source, Path)
    for source in (spoken, spoken.read_bytes()):
        first, piece, last = decoders.decode(as_media(source, "audio"), ALL, 0)
        assert isinstance(first, MediaInfo)
        assert isinstance(last, MediaInfo)
        assert isinstance(piece, Piece)
        assert piece.sounds
        assert piece.sounds[0].dtype == np.float32
    for film_source in (shown.source, shown.source.read_bytes()):
        _, piece, _ = decoders.decode(as_media(film_source, "video"), ALL, 0)
        assert isinstance(piece, Piece)
        assert piece.clip is not None
        assert [told(frame) for frame in piece.clip.frames] == [
            number % 50 for number in piece.clip.indices
        ]


def test_what_needs_no_decoder(decoders: Decoders) -> None:
    assert failure(decoders.decode(as_media(b"", "image"), ALL, 0)).kind == "empty"
    paper = as_media(b"%PDF-1.7", "document", "application/pdf")
    assert failure(decoders.decode(paper, ALL, 0)).kind == "wrong_kind"
    error = failure(decoders.decode(picture(), Reading(frozenset({"audio"})), 0))
    assert error.kind == "wrong_kind"
    assert "audio" in error.message
    assert not decoders._idle


def test_a_bad_medium_leaves_the_process_as_it_is(decoders: Decoders) -> None:
    list(decoders.decode(picture(), ALL, 0))
    pid = pid_of(decoders)
    assert failure(decoders.decode(as_media(b"GIF89a", "image"), ALL, 0)).kind == "corrupt"
    assert failure(decoders.decode(as_media(b"RIFFxxxxWAVE", "audio"), ALL, 0)).kind == "corrupt"
    assert len(list(decoders.decode(picture(), ALL, 0))) == 3
    assert pid_of(decoders) == pid


@pytest.mark.parametrize("death", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_costs_one_row(decoders: Decoders, tmp_path: Path, death: signal.Signals) -> None:
    items = decoders.decode(film(tmp_path), ALL, 0)
    next(items)
    pid = pid_of(decoders)
    os.kill(pid, death)
    error = failure(items)
    assert error.kind == "decoder_died"
    assert death.name in error.message
    assert len(list(decoders.decode(picture(), ALL, 0))) == 3
    assert pid_of(decoders) != pid
    assert gone(pid)


def test_a_process_that_died_while_idle_costs_nothing(decoders: Decoders) -> None:
    list(decoders.decode(picture(), ALL, 0))
    pid = pid_of(decoders)
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: gone(pid))
    assert len(list(decoders.decode(picture(), ALL, 0))) == 3


def test_a_hang_is_a_timeout(tmp_path: Path) -> None:
    pool = Decoders(1, timeout_s=0.2)
    try:
        items = pool.decode(film(tmp_path), ALL, 0)
        next(items)
        pid = pid_of(pool)
        os.kill(pid, signal.SIGSTOP)
        error = failure(items)
        assert (error.kind, error.retryable) == ("timeout", True)
        assert gone(pid)
        assert len(list(pool.decode(picture(), ALL, 0))) == 3
    finally:
        pool.close()


def test_a_decoder_that_hangs_can_be_ended_from_another_thread(tmp_path: Path) -> None:
    pool = Decoders(1)
    try:
        items = pool.decode(film(tmp_path), ALL, 0)
        next(items)
        os.kill(pid_of(pool), signal.SIGSTOP)
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(lambda: failure(items).kind)
            items.interrupt()
            assert waiting.result(20) == "decoder_died"
        assert len(list(pool.decode(picture(), ALL, 0))) == 3
    finally:
        pool.close()


def test_one_that_is_interrupted_before_it_begins_ends(tmp_path: Path) -> None:
    pool = Decoders(1)
    try:
        items = pool.decode(film(tmp_path), ALL, 0)
        items.interrupt()
        assert failure(items).kind == "decoder_died"
    finally:
        pool.close()


def test_decoders_that_do_not_start_are_no_rows_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Decoders(1)
    monkeypatch.setattr("workers.child.sys.executable", "/nowhere/python")
    with pytest.raises(WorkerUnfit, match="MEDIAMILL_DECODERS"):
        list(pool.decode(picture(), ALL, 0))
    monkeypatch.setattr("workers.child.sys.executable", "/bin/false")
    with pytest.raises(WorkerUnfit, match="status 1"):
        list(pool.decode(picture(), ALL, 0))
    pool.close()


def test_too_much_memory_costs_one_row() -> None:
    pool = Decoders(1, memory=512 << 20)
    try:
        error = failure(pool.decode(picture(size=(16_000, 8_000)), ALL, 0))
        assert error.kind == "decoder_died"
        assert "512 MiB" in error.message
        assert len(list(pool.decode(picture(), ALL, 0))) == 3
    finally:
        pool.close()


@pytest.mark.full
def test_the_largest_image_fits() -> None:
    """200 megapixels with transparency: the most that Reading allows by default."""
    pool = Decoders(1)
    try:
        buffer = BytesIO()
        Image.new("LA", (20_000, 10_000), (7, 255)).save(buffer, "PNG", compress_level=1)
        media = as_media(buffer.getvalue(), "image")
        _, piece, _ = pool.decode(media, ALL, 0)
        assert isinstance(piece, Piece)
        assert piece.images[0].shape == (10_000, 20_000, 3)
        assert piece.images[0][9_999, 19_999].tolist() == [7, 7, 7]
    finally:
        pool.close()


def test_closing_early_keeps_the_process(decoders: Decoders, tmp_path: Path) -> None:
    media = film(tmp_path)
    pids = set()
    for taken in range(4):
        items = decoders.decode(media, ALL, 0)
        for _ in range(taken):
            next(items)
        items.close()  # type: ignore[attr-defined]
        list(decoders.decode(picture(), ALL, 0))
        pids.add(pid_of(decoders))
    assert len(pids) == 1


def test_a_decoder_is_at_most_one_item_ahead(tmp_path: Path) -> None:
    """Nothing is decoded that was not asked for: a film waits in the file, not in memory."""
    media = film(tmp_path)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        served = Thread(target=_serve_one, args=(theirs,))
        served.start()
        frames = Reading(frozenset({"video"}), video="frames")
        wire.send(
            ours,
            {
                "kind": "video",
                "path": str(media.source),
                "reading": wire.pack_reading(frames),
                "media_index": 0,
            },
        )
        ours.settimeout(10)
        for _ in range(3):
            wire.send(ours, {"do": "next"})
            wire.receive(ours)
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
        ours.settimeout(10)
        wire.send(ours, {"do": "stop"})
        assert wire.receive(ours)[0] == {"end": True}
        served.join(10)
        assert not served.is_alive()


def test_slow_use_is_no_timeout(tmp_path: Path) -> None:
    """The time that the worker takes over a piece is not the decoder's."""
    pool = Decoders(1, timeout_s=0.5)
    try:
        items = pool.decode(film(tmp_path), ALL, 0)
        next(items)
        end = time.monotonic() + 1.0
        assert eventually(lambda: time.monotonic() > end)
        assert len(list(items)) == 5
    finally:
        pool.close()


def test_many_at_once_each_gets_its_own() -> None:
    pool = Decoders(2)
    colours = [(number, 255 - number, number // 2) for number in range(60)]

    def one(colour: tuple[int, int, int]) -> tuple[int, ...]:
        _, piece, _ = pool.decode(picture(colour), ALL, 0)
        assert isinstance(piece, Piece)
        return tuple(piece.images[0][0, 0].tolist())

    try:
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(one, colours)) == colours
        assert len(pool._idle) == 2
        assert not pool._busy
    finally:
        pool.close()


def test_a_decoder_outlives_the_thread_that_asked_first(decoders: Decoders) -> None:
    thread = Thread(target=lambda: list(decoders.decode(picture(), ALL, 0)))
    thread.start()
    thread.join()
    pid = pid_of(decoders)
    assert len(list(decoders.decode(picture(), ALL, 0))) == 3
    assert pid_of(decoders) == pid


def test_decoders_die_with_their_parent(tmp_path: Path) -> None:
    """Also one that hangs, and so cannot see that its pipe has closed."""
    program = """
import os, signal, sys, time
from tests.unit.test_decode_pool import ALL, Decoders, picture, pid_of
pool = Decoders(1)
list(pool.decode(picture(), ALL, 0))
os.kill(pid_of(pool), signal.SIGSTOP)
print(pid_of(pool), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
    assert eventually(lambda: gone(pid))


def test_a_process_holds_no_credentials_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    pool = Decoders(1)
    try:
        list(pool.decode(picture(), ALL, 0))
        process = Path(f"/proc/{pid_of(pool)}")
        assert b"hidden" not in (process / "environ").read_bytes()
        maps = (process / "maps").read_text()
        assert "libav" in maps
        assert "torch" not in maps
        assert "arrow" not in maps
        kilobytes = int((process / "status").read_text().partition("VmRSS:")[2].split()[0])
        assert kilobytes < 120_000
    finally:
        pool.close()


def test_close_ends_what_is_under_way(tmp_path: Path) -> None:
    pool = Decoders(2)
    items = pool.decode(film(tmp_path), ALL, 0)
    next(items)
    pid = pid_of(pool)
    list(pool.decode(picture(), ALL, 0))
    pids = [process.pid for process in pool._idle]
    pool.close()
    assert failure(items).kind == "decoder_died"
    assert eventually(lambda: all(gone(each) for each in [pid, *pids]))
    with pytest.raises(RuntimeError, match="closed"):
        list(pool.decode(picture(), ALL, 0))
    pool.close()


def test_a_long_sound_stays_small(decoders: Decoders, tmp_path: Path) -> None:
    """Ten minutes of sound goes through a decoder that never holds more than a window of it."""
    media = as_media(write_sound(tmp_path / "a.flac", tone(600.0), "flac"), "audio")
    *_, last = decoders.decode(media, ALL, 0)
    assert isinstance(last, MediaInfo)
    assert last.duration_s == pytest.approx(600.0)
    status = Path(f"/proc/{pid_of(decoders)}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < 150_000


def test_a_timeout_that_all_new_sockets_have_for_a_moment_is_not_its_decoders(
    decoders: Decoders,
) -> None:
    socket.setdefaulttimeout(5.0)
    try:
        assert len(list(decoders.decode(picture(), ALL, 0))) == 3
        pid = pid_of(decoders)
    finally:
        socket.setdefaulttimeout(None)
    time.sleep(0.05)  # it waits for its next medium
    assert len(list(decoders.decode(picture(), ALL, 0))) == 3
    assert pid_of(decoders) == pid
