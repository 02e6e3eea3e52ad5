"""Media to pieces, in processes of their own: a file that kills its decoder costs one row.

The pool hands a process to each medium for as long as its pieces are taken. The next
piece is decoded while the last one is used, and no further: a film never lies in
memory whole.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from jobs.pieces import MediaInfo, Piece, Reading
from storage.errors import RowError, WorkerUnfit
from workers import wire
from workers.decode_process import DecodeProcess

if TYPE_CHECKING:
    from storage.media import Media

#: Seconds that a decoder may take to finish the piece it was at when nobody wants it.
_STOP_S = 1.0


class Decoders:
    """A pool of decoder processes, started when they are needed. Thread-safe.

    `processes` media are decoded at once; a further one waits. `timeout_s` is the
    longest time for one piece (a page, or a window of at most 30 s). `memory` bounds the address
    space of each process, in bytes: the largest image that `Reading.max_pixels` allows
    by default takes about 2.5 GiB.
    """

    def __init__(self, processes: int, *, timeout_s: float = 600.0, memory: int = 4 << 30) -> None:
        self._timeout_s = timeout_s
        self._memory = memory
        self._free = threading.BoundedSemaphore(processes)
        self._lock = threading.Lock()
        self._idle: list[DecodeProcess] = []
        self._busy: set[DecodeProcess] = set()
        self._closed = threading.Event()
        # A child that asked for PR_SET_PDEATHSIG dies with the *thread* that started it.
        # This one lives until the pool is closed or the process ends.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="decoders")

    def decode(self, media: Media, reading: Reading, media_index: int) -> Decoding:
        """The medium's MediaInfo, its pieces in order of time, and its final MediaInfo.

        Waits for a free process and holds it until the iterator is used up or closed.
        Raises RowError: `empty`, `wrong_kind`, `corrupt`, `no_audio`, `forbidden`,
        `too_large`, `timeout`, `decoder_died`; at the medium's start or after some of its pieces.
        Raises WorkerUnfit if no process can be started, or none can cut video by scenes.
        """
        return Decoding(self, media, reading, media_index)

    def _decode(
        self, decoding: Decoding, media: Media, reading: Reading, media_index: int
    ) -> Generator[MediaInfo | Piece, None, None]:
        if media.size == 0:
            raise RowError("empty", "the file has no bytes")
        # Of sound and video the streams tell, not the first bytes.
        if media.kind in ("image", "document") and media.kind not in reading.kinds:
            raise RowError("wrong_kind", f"{media.mime}: the task takes {_listed(reading)}")
        if reading.windows == "scenes" and reading.video == "clip" and not _sees_scenes():
            raise WorkerUnfit(
                "windows=scenes needs PySceneDetect, which this worker lacks: install "
                "mediamill[scenes], or submit with windows=time"
            )
        with self._free:
            process = self._take()
            decoding.hold(process)
            try:
                yield from self._items(process, media, reading, media_index)
            finally:
                decoding.hold(None)
                self._give_back(process)

    def close(self) -> None:
        """End all processes. Media being decoded get `decoder_died`."""
        with self._lock:
            self._closed.set()
            idle, self._idle = self._idle, []
            for process in self._busy:
                process.end()
        for process in idle:
            process.kill()
        self._starter.shutdown()

    def _items(
        self, process: DecodeProcess, media: Media, reading: Reading, media_index: int
    ) -> Iterator[MediaInfo | Piece]:
        in_memory = isinstance(media.source, bytes)
        message = {
            "kind": media.kind,
            "path": None if in_memory else str(media.source),
            "reading": wire.pack_reading(reading),
            "media_index": media_index,
        }
        arrays = [np.frombuffer(media.source, np.uint8)] if isinstance(media.source, bytes) else []
        process.ask(message, arrays)
        process.ask({"do": "next"})
        taken = False
        try:
            while (item := process.answer(self._timeout_s)) is not None:
                # Asked for before this one is used: the decoder stays one piece ahead.
                process.ask({"do": "next"})
                taken = True
                yield item
                taken = False
                del item
        finally:
            if taken:  # closed in the middle, and the next item is under way
                self._stop(process)

    def _stop(self, process: DecodeProcess) -> None:
        """Bring the process back from the middle of a medium, or end it."""
        try:
            if process.answer(_STOP_S, _STOP_S) is not None:
                process.ask({"do": "stop"})
                process.answer(_STOP_S, _STOP_S)
        except RowError:  # nobody wants this medium any more, nor its error
            return

    def _take(self) -> DecodeProcess:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    self._busy.add(process)
                    return process
                process.kill()
            if self._closed.is_set():
                raise RuntimeError("the decoders are closed")
            starting = self._starter.submit(DecodeProcess, self._memory)
        process = starting.result()
        with self._lock:
            self._busy.add(process)
            if self._closed.is_set():
                process.end()
        return process

    def _give_back(self, process: DecodeProcess) -> None:
        with self._lock:
            self._busy.discard(process)
            if process.alive and not self._closed.is_set():
                self._idle.append(process)
                return
        process.kill()


class Decoding(Iterator[MediaInfo | Piece]):
    """One medium on its way through a decoder: an iterator to be used up or closed."""

    def __init__(
        self, decoders: Decoders, media: Media, reading: Reading, media_index: int
    ) -> None:
        self._items = decoders._decode(self, media, reading, media_index)
        self._process: DecodeProcess | None = None
        self._interrupted = False
        self._lock = threading.Lock()

    def __next__(self) -> MediaInfo | Piece:
        """The next item; the caller's thread waits for it."""
        return next(self._items)

    def close(self) -> None:
        """Give the process back; in the middle of a medium this takes a moment."""
        self._items.close()

    def interrupt(self) -> None:
        """End the process: a thread that waits for an item is told `decoder_died` at once.

        From any thread.
        """
        with self._lock:
            self._interrupted = True
            if self._process is not None:
                self._process.end()

    def hold(self, process: DecodeProcess | None) -> None:
        """Note the process that works on the medium now."""
        with self._lock:
            self._process = process
            if process is not None and self._interrupted:
                process.end()


def _sees_scenes() -> bool:
    return find_spec("scenedetect") is not None


def _listed(reading: Reading) -> str:
    return " and ".join(sorted(reading.kinds)) or "no media"
