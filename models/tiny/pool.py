"""Workers that keep drawing training data into shared memory, chunk by chunk.

Started before the GPU is touched, since they are forked. A chunk is drawn anew only
after it was taken, so that nobody reads what is being written.
"""

from __future__ import annotations

import mmap
import multiprocessing as mp
import os
import random
import traceback
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.tiny import architecture as arch
from models.tiny import films, pictures
from models.tiny.rows import Writer
from models.tiny.voices import LONGEST_S, Voices

_PIXELS = 3 * arch.PATCH**2
_PATCHES = arch.POOLING**2
SAMPLES = LONGEST_S * 16_000


@dataclass(frozen=True, slots=True)
class Stock:
    """A kind of data: `items` of them are held, drawn `chunk` at a time.

    `kind` is "picture", "film" or "speech"; `budget` counts a picture's soft tokens;
    of pictures, `texts` and `signs` are the shares of written ones; `questions` are
    asked of each scene. `held` is drawn once, from seeds of its own.
    """

    name: str
    kind: str
    items: int
    chunk: int
    budget: int = 70
    texts: float = 0.0
    signs: float = 0.0
    questions: int = 1
    held: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one item."""
        if self.kind == "speech":
            return (SAMPLES,)
        picture = (self.budget * _PATCHES, _PIXELS)
        return (films.MOST_FRAMES, *picture) if self.kind == "film" else picture

    @property
    def dtype(self) -> type[np.generic]:
        """Of one number of an item."""
        return np.int16 if self.kind == "speech" else np.uint8


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a worker made: items `start` and on of stock `name`, and what is asked of each."""

    name: str
    start: int
    facts: list[dict[str, Any]]


#: Chunks that may be lost to crashes of the native libraries before training stops.
MOST_LOST = 50
#: Tasks a worker has at hand, so that it never waits for the trainer.
AHEAD = 2


class Pool:
    """`workers` processes that fill the stocks over and over.

    Each chunk is drawn in a fork of its worker: espeak-ng reads past its text now and
    then, and what crashes costs one chunk, which is drawn anew from another seed.
    """

    def __init__(
        self, stocks: list[Stock], folder: Path, seed: int, workers: int, *, people: bool = True
    ) -> None:
        self.stocks = {stock.name: stock for stock in stocks}
        self.arrays = {stock.name: _shared(stock) for stock in stocks}
        self.lost = 0
        self._rounds = 0
        self._seed = seed
        self._people = people
        self._tasks = deque(self._task(stock, start) for stock, start in _interleaved(stocks))
        self._workers: list[Any] = []
        self._pipes: list[Connection] = []
        context = mp.get_context("fork")
        for _ in range(workers):
            ours, theirs = context.Pipe()
            self._pipes.append(ours)
            worker = context.Process(target=self._work, args=(folder, theirs), daemon=True)
            worker.start()
            theirs.close()
            self._workers.append(worker)
        for pipe in self._pipes * AHEAD:
            self._send(pipe)

    def take(self, timeout: float = 0.0) -> Chunk | None:
        """A finished chunk, or None if there is none within `timeout` seconds."""
        for pipe in wait(self._pipes, timeout):
            assert isinstance(pipe, Connection)
            chunk: Chunk = pipe.recv()
            self._send(pipe)
            if chunk.facts:
                return chunk
            self.lost += 1
            if self.lost > MOST_LOST:
                raise RuntimeError(f"{self.lost} chunks of training data crashed; see the traces")
            self._tasks.append(self._task(self.stocks[chunk.name], chunk.start))
        return None

    def give_back(self, chunk: Chunk) -> None:
        """Say that the chunk's items were copied, so that they can be drawn anew."""
        stock = self.stocks[chunk.name]
        if not stock.held:
            self._tasks.append(self._task(stock, chunk.start))

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.terminate()
            worker.join()

    def _send(self, pipe: Connection) -> None:
        # Never empty but in trials with fewer chunks than workers: then this one rests.
        if self._tasks:
            pipe.send(self._tasks.popleft())

    def _task(self, stock: Stock, start: int) -> tuple[str, int, int]:
        self._rounds += 1
        held = 10**9 + start + 10**6 * self.lost
        return stock.name, start, held if stock.held else self._seed * 10**6 + self._rounds

    def _work(self, folder: Path, pipe: Connection) -> None:
        os.nice(10)
        # Held by nobody but the trainer, so that its end is seen.
        for inherited in self._pipes:
            inherited.close()
        writer = Writer()
        speaks = any(stock.kind == "speech" for stock in self.stocks.values())
        voices = Voices(folder, writer, human=self._people) if speaks else None
        while True:
            try:
                name, start, seed = pipe.recv()
            except EOFError:
                return
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    pipe.send(self._draw(name, start, seed, writer, voices, folder))
                    status = 0
                except Exception:
                    traceback.print_exc()
                finally:
                    os._exit(status)
            if os.waitpid(child, 0)[1] != 0:
                pipe.send(Chunk(name, start, []))

    def _draw(
        self, name: str, start: int, seed: int, writer: Writer, voices: Voices | None, folder: Path
    ) -> Chunk:
        stock = self.stocks[name]
        rng = random.Random(f"{name}-{seed}")  # noqa: S311
        out = self.arrays[name][start : start + stock.chunk]
        return Chunk(name, start, [_fill(stock, rng, writer, voices, folder, at) for at in out])


def _fill(
    stock: Stock,
    rng: random.Random,
    writer: Writer,
    voices: Voices | None,
    folder: Path,
    out: npt.NDArray[Any],
) -> dict[str, Any]:
    """Draw one item into `out`; what is returned goes through a pipe, so it is small."""
    if voices is not None and stock.kind == "speech":
        said = voices.draw(rng, held_out=stock.held)
        out[: len(said.samples)] = said.samples
        out[len(said.samples) :] = 0
        return {
            "samples": len(said.samples),
            "answer": said.answer,
            "letters": said.letters,
            # Where each begins, and which it is.
            "phones": np.array(said.phones, np.int32).reshape(-1, 2).T,
            "language": said.language,
            "human": said.human,
        }
    fonts, photos = folder / "fonts", folder / "photos"
    if stock.kind == "film":
        film = films.draw_film(rng)
        cut = [pictures.patches(pictures.as_image(f), stock.budget) for f in films.frames(film)]
        for i in range(len(out)):
            out[i] = cut[min(i, len(cut) - 1)][0]
        return {"grid": cut[0][1], "frames": len(cut), "caption": films.caption(film)}
    kind = rng.random()
    if kind < stock.texts:
        # Small pictures hold fewer letters.
        lines = 4 if stock.budget >= 280 else 2 if stock.budget >= 140 else 1
        picture = pictures.text_picture(rng, writer, fonts, photos, most_lines=lines)
    elif kind < stock.texts + stock.signs:
        picture = pictures.sign_picture(rng, writer, fonts, photos)
    else:
        picture = pictures.scene_picture(rng, writer, photos, stock.questions)
    out[:], grid = pictures.patches(picture.image, stock.budget)
    return {
        "grid": grid,
        "asked": picture.asked,
        "caption": picture.caption,
        "things": picture.things,
        "ground": picture.ground,
        "marks": picture.marks,
    }


def _shared(stock: Stock) -> npt.NDArray[Any]:
    """Memory that forked processes share, without a file."""
    shape = (stock.items, *stock.shape)
    size = int(np.prod(shape)) * np.dtype(stock.dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, size), stock.dtype).reshape(shape)


def _interleaved(stocks: list[Stock]) -> list[tuple[Stock, int]]:
    """All chunks, each stock's spread evenly, so that the first moments hold some of each."""
    chunks = [
        (start / stock.items, stock, start)
        for stock in stocks
        for start in range(0, stock.items, stock.chunk)
    ]
    # Held-out ones first: they are drawn once and small.
    chunks.sort(key=lambda c: (not c[1].held, c[0], c[1].name))
    return [(stock, start) for _, stock, start in chunks]
