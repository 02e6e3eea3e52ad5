"""Batches of fixed shapes from the stocks, which lie on the GPU."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.tiny import films, questions
from models.tiny.pool import SAMPLES, Chunk, Pool, Stock
from models.tiny.rows import Asked, Writer, lay_out
from models.tiny.sound import soft_tokens

#: Things and characters a picture's helper targets hold at most.
THINGS, MARKS = 8, 72
#: Seconds of the longest window of speech.
LONG_S = 30
FRAME = "<|image><|video|><image|>"
SOUND = "<|audio><|audio|><audio|>"


@dataclass(frozen=True, slots=True)
class Shape:
    """Fixed sizes of a batch: media, rows of tokens, tokens a row, answer tokens in all."""

    media: int
    rows: int
    length: int
    answers: int


@dataclass(slots=True)
class Batch:
    """One forward's tensors. `index` [rows, length] says which soft row stands at a place."""

    ids: torch.Tensor
    index: torch.Tensor
    is_soft: torch.Tensor
    pick: torch.Tensor
    labels: torch.Tensor
    row_of: torch.Tensor
    pixels: torch.Tensor | None = None
    grid: torch.Tensor | None = None
    things: torch.Tensor | None = None
    marks: torch.Tensor | None = None
    waves: torch.Tensor | None = None
    lengths: torch.Tensor | None = None
    letters: torch.Tensor | None = None
    #: On the CPU, where CTC wants them: soft tokens of each wave, and its letters.
    heard: torch.Tensor | None = None
    letter_counts: torch.Tensor | None = None


class Store:
    """The stocks on the device, as far as they were drawn, and batches of them."""

    def __init__(self, pool: Pool, device: torch.device, seed: int) -> None:
        self._pool = pool
        self._device = device
        self._rng = random.Random(seed)  # noqa: S311
        self._writer = Writer()
        self._data: dict[str, torch.Tensor] = {}
        self._facts: dict[str, list[dict[str, Any]]] = {}
        self._ready: dict[str, list[int]] = {}
        for name, stock in pool.stocks.items():
            kind = torch.int16 if stock.kind == "speech" else torch.uint8
            self._data[name] = torch.zeros((stock.items, *stock.shape), dtype=kind, device=device)
            self._facts[name] = [{} for _ in range(stock.items)]
            self._ready[name] = []
        self.chunks = 0
        self._asked_before: dict[str, Asked] = {}
        self._leaving: list[tuple[torch.cuda.Event, Chunk]] = []
        if device.type == "cuda":
            # Page-locked, so that copies run in the GPU's own order and nobody waits.
            for array in pool.arrays.values():
                torch.cuda.cudart().cudaHostRegister(array.ctypes.data, array.nbytes, 0)

    def refill(self, timeout: float = 0.0, most: int = 8) -> None:
        """Copy up to `most` finished chunks to the device."""
        while self._leaving and self._leaving[0][0].query():
            self._pool.give_back(self._leaving.pop(0)[1])
        for _ in range(most):
            chunk = self._pool.take(timeout)
            if chunk is None:
                return
            self._put(chunk)

    def share(self, name: str) -> float:
        """How much of a stock was drawn at least once."""
        return len(self._ready[name]) / self._pool.stocks[name].items

    def _put(self, chunk: Chunk) -> None:
        end = chunk.start + len(chunk.facts)
        source = torch.from_numpy(self._pool.arrays[chunk.name][chunk.start : end])
        self._data[chunk.name][chunk.start : end].copy_(source, non_blocking=True)
        if not self._facts[chunk.name][chunk.start]:
            self._ready[chunk.name] += range(chunk.start, end)
        self._facts[chunk.name][chunk.start : end] = chunk.facts
        self.chunks += 1
        if self._device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record()
            self._leaving.append((copied, chunk))
        else:
            self._pool.give_back(chunk)

    def pictures(self, name: str, shape: Shape, rng: random.Random | None = None) -> Batch:
        """Pictures with several questions each; rows in no order, as many as fit."""
        rng = rng or self._rng
        chosen = self._choose(name, shape.media, rng)
        facts = [self._facts[name][i] for i in chosen]
        asked = [(slot, a) for slot, fact in enumerate(facts) for a in fact["asked"]]
        rng.shuffle(asked)
        width = self._pool.stocks[name].budget
        rows = [
            (slot, *lay_out(a, [(0, facts[slot]["grid"][0] * facts[slot]["grid"][1])]))
            for slot, a in asked
        ]
        batch = self._rows(rows, shape, width, shape.media)
        batch.pixels = self._data[name][torch.tensor(chosen, device=self._device)]
        batch.grid = self._to(np.array([fact["grid"] for fact in facts], np.int64))
        things = np.full((shape.media, THINGS, 5), -1, np.float32)
        marks = np.full((shape.media, MARKS, 3), -1, np.float32)
        for slot, fact in enumerate(facts):
            for j, (kind, box) in enumerate(fact["things"][:THINGS]):
                things[slot, j] = (kind, *box)
            for j, mark in enumerate(fact["marks"][:MARKS]):
                marks[slot, j] = mark
        batch.things, batch.marks = self._to(things), self._to(marks)
        return batch

    def films(
        self, name: str, speech: str, shape: Shape, rng: random.Random | None = None
    ) -> Batch:
        """Films, a part of them with a voice over them; soft rows are frames, then sound."""
        rng = rng or self._rng
        chosen = self._choose(name, shape.media, rng)
        budget = self._pool.stocks[name].budget
        seen = films.MOST_FRAMES * budget
        waves = torch.zeros((shape.media, SAMPLES), dtype=torch.int16, device=self._device)
        lengths, rows = [], []
        for slot, i in enumerate(chosen):
            fact = self._facts[name][i]
            count = fact["grid"][0] * fact["grid"][1]
            soft = [(f * budget, count) for f in range(fact["frames"])]
            said = self._facts[speech][voice := rng.choice(self._ready[speech])]
            # Voices of up to 5 s: more would not fit the row beside eight frames.
            spoken = rng.random() < 0.4 and said["samples"] < 80_000
            user = film_frames(fact["frames"]) + questions.ask(
                rng, "caption_video", questions.CAPTION_VIDEO
            )
            answer = self._writer.ids(fact["caption"])
            if spoken:
                waves[slot] = self._data[speech][voice]
                soft.append((seen, soft_tokens(said["samples"])))
                user += SOUND
                answer = np.concatenate(
                    [answer, self._writer.ids(" A voice says: "), said["answer"]]
                )
            lengths.append(said["samples"] if spoken else 0)
            rows.append((slot, *lay_out(self._asked(user, answer), soft)))
        batch = self._rows(rows, shape, seen + SAMPLES // 640, shape.media)
        pixels = self._data[name][torch.tensor(chosen, device=self._device)]
        batch.pixels = pixels.flatten(0, 1)
        grids = np.array([self._facts[name][i]["grid"] for i in chosen], np.int64)
        batch.grid = self._to(np.repeat(grids, films.MOST_FRAMES, 0))
        batch.waves, batch.lengths = waves, self._to(np.array(lengths, np.int64))
        return batch

    def speech(
        self, name: str, shape: Shape, *, long: bool = False, rng: random.Random | None = None
    ) -> Batch:
        """Utterances to be written down; `long`: several one after the other, up to 30 s."""
        rng = rng or self._rng
        limit = LONG_S * 16_000 if long else SAMPLES
        waves = torch.zeros((shape.media, limit), dtype=torch.int16, device=self._device)
        rows, lengths, letters = [], [], []
        for slot in range(shape.media):
            clips = self._clips(name, rng, limit, long)
            place = 0
            for index, gap in clips:
                count = self._facts[name][index]["samples"]
                waves[slot, place + gap : place + gap + count] = self._data[name][index, :count]
                place += gap + count
            facts = [self._facts[name][index] for index, _ in clips]
            length = min(limit, place + rng.randrange(0, 4800))
            rows.append((slot, *lay_out(self._heard(facts, rng), [(0, soft_tokens(length))])))
            lengths.append(length)
            letters.append([c for fact in facts for c in (*fact["letters"], 1)][:-1])
        batch = self._rows(rows, shape, limit // 640, shape.media)
        batch.waves, batch.lengths = waves, self._to(np.array(lengths, np.int64))
        widest = 400 if long else 160
        padded = np.zeros((shape.media, widest), np.int64)
        for slot, line in enumerate(letters):
            padded[slot, : len(line)] = line[:widest]
        batch.letters = self._to(padded)
        counts = [min(len(line), widest) for line in letters]
        batch.letter_counts = torch.tensor(counts)
        batch.heard = torch.tensor([soft_tokens(length) for length in lengths])
        return batch

    def _clips(
        self, name: str, rng: random.Random, limit: int, long: bool
    ) -> list[tuple[int, int]]:
        """Clips and the silence before each, in samples, that fit `limit` together."""
        gap = rng.randrange(0, 3200) if not long else rng.randrange(0, 8000)
        first = rng.choice(self._ready[name])
        if not long:
            return [(first, min(gap, limit - self._facts[name][first]["samples"]))]
        clips, place = [(first, gap)], gap + self._facts[name][first]["samples"]
        enough = rng.uniform(0.3, 1.0) * limit
        language = self._facts[name][first]["language"]
        while place < enough:
            index, gap = rng.choice(self._ready[name]), rng.randrange(1600, 12_000)
            fact = self._facts[name][index]
            if fact["language"] != language:
                continue
            if place + gap + fact["samples"] > limit:
                break
            clips.append((index, gap))
            place += gap + fact["samples"]
        return clips

    def _heard(self, facts: list[dict[str, Any]], rng: random.Random) -> Asked:
        language = facts[0]["language"]
        space = self._writer.ids(" ")
        kind = rng.random()
        if kind < (0.03 if language == "English" else 0.3):
            user = rng.choice(questions.REWORDED["language"])
            return self._asked(user + SOUND, self._writer.ids(language))
        if kind < 0.6:
            user = questions.TRANSCRIBE.format(language=language)
        else:
            user = questions.ask(rng, "transcribe", questions.TRANSCRIBE_ORIGINAL, own_share=0.6)
        if len(facts) == 1:
            return self._asked(user + SOUND, facts[0]["answer"])
        text = self._writer.text([t for f in facts for t in (*f["answer"].tolist(), *space)])
        return self._asked(user + SOUND, self._writer.ids(text.strip()))

    def _asked(self, user: str, answer: Any) -> Asked:
        asked = self._asked_before.get(user)
        if asked is None:
            asked = self._asked_before[user] = self._writer.ask(user, "")
        return Asked(asked.prompt, np.concatenate([answer, asked.answer]))

    def _choose(self, name: str, count: int, rng: random.Random) -> list[int]:
        ready = self._ready[name]
        return rng.sample(ready, count) if len(ready) >= count else rng.choices(ready, k=count)

    def _rows(
        self, rows: Iterable[tuple[int, Any, Any, int]], shape: Shape, width: int, media: int
    ) -> Batch:
        """Rows (slot, ids, where, start of the answer) into arrays of the batch's shape."""
        ids = np.zeros((shape.rows, shape.length), np.int64)
        where = np.full((shape.rows, shape.length), -1, np.int64)
        # What is not soft points anywhere, but everywhere else: gradients are added up
        # by atomics, which would queue at one place.
        spread = np.arange(shape.rows * shape.length) % (media * width)
        index = spread.reshape(shape.rows, shape.length).copy()
        pick = np.zeros(shape.answers, np.int64)
        labels = np.full(shape.answers, -100, np.int64)
        row_of = np.full(shape.answers, -1, np.int64)
        used = taken = 0
        for slot, tokens, soft, start in rows:
            count = len(tokens) - start
            if used == shape.rows or len(tokens) > shape.length or taken + count > shape.answers:
                continue
            ids[used, : len(tokens)] = tokens
            where[used, : len(tokens)] = soft
            here = where[used] >= 0
            index[used, here] = slot * width + where[used, here]
            places = used * shape.length + np.arange(start - 1, len(tokens) - 1)
            pick[taken : taken + count] = places
            labels[taken : taken + count] = tokens[start:]
            row_of[taken : taken + count] = used
            taken += count
            used += 1
        return Batch(*(self._to(a) for a in (ids, index, where >= 0, pick, labels, row_of)))

    def _to(self, array: Any) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)


def film_frames(count: int) -> str:
    """Frames at one a second, each after its time, as the processor writes them."""
    return " ".join(f"{i // 60:02d}:{i % 60:02d} {FRAME}" for i in range(count))


__all__ = ["Batch", "Shape", "Stock", "Store"]
