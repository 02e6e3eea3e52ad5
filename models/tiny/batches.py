"""Batches of fixed shapes from the stocks."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.tiny import answers, films, questions
from models.tiny.pool import SAMPLES
from models.tiny.rows import Asked, Writer, lay_out
from models.tiny.sound import soft_tokens
from models.tiny.store import Store

#: Things and characters a picture's helper targets hold at most.
THINGS, MARKS = 8, 72
#: Samples of the longest utterance that is heard alone; longer ones are heard with others.
ALONE = 73_600
#: Seconds of the longest window of speech.
LONG_S = 30
FRAME = "<|image><|video|><image|>"
SOUND = "<|audio><|audio|><audio|>"
PICTURE = "<|image><|image|><image|>"
#: Lines that are looked at for room.
OPEN = 16
#: Questions about several pictures in a batch of them.
SEVERAL = 12
#: Token ids, which soft row stands at each (-1: none), and where the answer starts.
Row = tuple[Any, Any, int]
#: An utterance of a stock, and its place and length in samples.
Clip = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """Fixed sizes of a batch: media, lines of tokens, tokens a line, answer tokens in all.

    A line holds one row, or several beside each other.
    """

    media: int
    rows: int
    length: int
    answers: int


@dataclass(slots=True)
class Seen:
    """What helpers are told of pictures: see `pictures.Picture`; unused places hold -1.

    `things` [n, THINGS, 5], `grounds` [n], `marks` [n, MARKS, 3].
    """

    things: torch.Tensor
    grounds: torch.Tensor
    marks: torch.Tensor


@dataclass(slots=True)
class Heard:
    """What helpers are told of the last waves of a batch, which are nothing but speech.

    `letters` [n, longest]; `counts` and `letter_counts` [n], of soft tokens and letters,
    are on the CPU, where CTC wants them; `phones` [n, tokens], -1 where nobody knows.
    """

    letters: torch.Tensor
    counts: torch.Tensor
    letter_counts: torch.Tensor
    phones: torch.Tensor | None = None


@dataclass(slots=True)
class Batch:
    """One forward's tensors. `index` [lines, length] says which soft row stands at a place.

    Soft rows are those of all pictures, then those of all sounds. `weights` are those of
    `labels`: long answers count for less a token. `segments` [lines, length] tells the
    rows of a line apart, where there are several.
    """

    ids: torch.Tensor
    index: torch.Tensor
    is_soft: torch.Tensor
    pick: torch.Tensor
    labels: torch.Tensor
    row_of: torch.Tensor
    weights: torch.Tensor
    segments: torch.Tensor | None = None
    pixels: torch.Tensor | None = None
    grid: torch.Tensor | None = None
    waves: torch.Tensor | None = None
    lengths: torch.Tensor | None = None
    seen: Seen | None = None
    heard: Heard | None = None

    @property
    def packed(self) -> tuple[torch.Tensor, ...]:
        """`segments`, if there are any, as a last argument."""
        return () if self.segments is None else (self.segments,)


class Batches:
    """Draws batches from the stocks."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._rng = random.Random(seed)  # noqa: S311
        self._writer = Writer()
        self._asked_before: dict[str, Asked] = {}

    def pictures(self, name: str, shape: Shape, rng: random.Random | None = None) -> Batch:
        """Pictures with several questions each; rows in no order, as many as fit."""
        rng = rng or self._rng
        chosen = self._store.choose(name, shape.media, rng)
        facts = [self._store.facts[name][i] for i in chosen]
        width = self._store.stocks[name].budget
        soft = [(s * width, fact["grid"][0] * fact["grid"][1]) for s, fact in enumerate(facts)]
        rows = [
            lay_out(asked, [soft[slot]])
            for slot, fact in enumerate(facts)
            for asked in fact["asked"]
        ]
        rows += self._several(facts, soft, rng)
        rng.shuffle(rows)
        batch = self._rows(rows, shape, shape.media * width)
        batch.pixels = self._store.data[name][torch.tensor(chosen, device=self._store.device)]
        batch.grid = self._store.send(np.array([fact["grid"] for fact in facts], np.int64))
        things = np.full((shape.media, THINGS, 5), -1, np.float32)
        marks = np.full((shape.media, MARKS, 3), -1, np.float32)
        for slot, fact in enumerate(facts):
            for j, (kind, box) in enumerate(fact["things"][:THINGS]):
                things[slot, j] = (kind, *box)
            for j, mark in enumerate(fact["marks"][:MARKS]):
                marks[slot, j] = mark
        grounds = np.array([fact["ground"] for fact in facts], np.int64)
        batch.seen = Seen(*(self._store.send(a) for a in (things, grounds, marks)))
        return batch

    def _several(
        self, facts: list[dict[str, Any]], soft: list[tuple[int, int]], rng: random.Random
    ) -> list[Row]:
        """Two or three small pictures in one question, each told in turn."""
        told = [slot for slot, fact in enumerate(facts) if fact["caption"]]
        rows = []
        for _ in range(SEVERAL):
            slots = rng.sample(told, min(len(told), rng.choice((2, 2, 3))))
            user = questions.ask(rng, "caption_several", questions.CAPTION_SEVERAL)
            text = answers.several([facts[slot]["caption"] for slot in slots])
            asked = self._asked(PICTURE * len(slots) + user, self._writer.ids(text))
            rows.append(lay_out(asked, [soft[slot] for slot in slots]))
        return rows

    def long(self, film: str, speech: str, shape: Shape, rng: random.Random | None = None) -> Batch:
        """Films, a part of them with a voice over them, and speech of up to 30 s.

        The first `shape.media` rows are films; soft rows are all frames, then all sound.
        """
        rng = rng or self._rng
        chosen = self._store.choose(film, shape.media, rng)
        budget = self._store.stocks[film].budget
        limit, seen = LONG_S * 16_000, shape.media * films.MOST_FRAMES * budget
        waves = torch.zeros((shape.rows, limit), dtype=torch.int16, device=self._store.device)
        lengths, letters = [0] * shape.rows, []
        rows: list[Row] = []
        for slot in range(shape.rows):
            sound = seen + slot * (limit // 640)
            if slot >= shape.media:
                clips = self._clips(speech, rng, limit, True)
                for index, place, count in clips:
                    waves[slot, place : place + count] = self._store.data[speech][index, :count]
                asked, lengths[slot], said = self._said(speech, clips, limit, rng)
                letters.append(said)
                rows.append(lay_out(asked, [(sound, soft_tokens(lengths[slot]))]))
                continue
            fact = self._store.facts[film][chosen[slot]]
            count = fact["grid"][0] * fact["grid"][1]
            first = slot * films.MOST_FRAMES * budget
            soft = [(first + f * budget, count) for f in range(fact["frames"])]
            user = film_frames(fact["frames"]) + questions.ask(
                rng, "caption_video", questions.CAPTION_VIDEO
            )
            answer = self._writer.ids(fact["caption"])
            over = self._store.facts[speech][voice := rng.choice(self._store.ready[speech])]
            # A voice no longer than the film, whose sound goes on to its end.
            if rng.random() < 0.4 and over["samples"] < fact["frames"] * 16_000:
                waves[slot, :SAMPLES] = self._store.data[speech][voice]
                lengths[slot] = fact["frames"] * 16_000
                soft.append((sound, soft_tokens(lengths[slot])))
                user += SOUND
                answer = np.concatenate(
                    [answer, self._writer.ids(" A voice says: "), over["answer"]]
                )
            rows.append(lay_out(self._asked(user, answer), soft))
        batch = self._rows(rows, shape, seen + shape.rows * (limit // 640), pack=False)
        pixels = self._store.data[film][torch.tensor(chosen, device=self._store.device)]
        batch.pixels = pixels.flatten(0, 1)
        grids = np.array([self._store.facts[film][i]["grid"] for i in chosen], np.int64)
        batch.grid = self._store.send(np.repeat(grids, films.MOST_FRAMES, 0))
        self._sound(batch, waves, lengths, letters, 400)
        return batch

    def speech(self, name: str, shape: Shape, rng: random.Random | None = None) -> Batch:
        """Utterances to be written down, one a row."""
        rng = rng or self._rng
        rows, lengths, letters = [], [], []
        chosen = [self._clips(name, rng, ALONE, False) for _ in range(shape.media)]
        for slot, clips in enumerate(chosen):
            asked, length, said = self._said(name, clips, ALONE, rng)
            rows.append(lay_out(asked, [(slot * (ALONE // 640), soft_tokens(length))]))
            lengths.append(length)
            letters.append(said)
        batch = self._rows(rows, shape, shape.media * (ALONE // 640))
        # All in one go, each moved by the silence before it: a copy a clip would be slower.
        places = np.array([[place] for ((_, place, _),) in chosen], np.int64)
        source = torch.arange(ALONE, device=self._store.device) - self._store.send(places)
        indexes = self._store.send(np.array([index for ((index, _, _),) in chosen]))
        waves = self._store.data[name][indexes].gather(1, source.clamp(min=0)) * (source >= 0)
        self._sound(batch, waves, lengths, letters, 160)
        assert batch.heard is not None
        phones = np.stack([self._phones(name, clips[0]) for clips in chosen])
        batch.heard.phones = self._store.send(phones)
        return batch

    def _sound(
        self,
        batch: Batch,
        waves: torch.Tensor,
        lengths: list[int],
        letters: list[list[int]],
        widest: int,
    ) -> None:
        batch.waves, batch.lengths = waves, self._store.send(np.array(lengths, np.int64))
        padded = np.zeros((len(letters), widest), np.int64)
        for slot, line in enumerate(letters):
            padded[slot, : len(line)] = line[:widest]
        batch.heard = Heard(
            self._store.send(padded),
            torch.tensor([soft_tokens(length) for length in lengths[-len(letters) :]]),
            torch.tensor([min(len(line), widest) for line in letters]),
        )

    def _phones(self, name: str, clip: Clip) -> Any:
        """Of an utterance: the phoneme at the middle of each soft token; -1 outside."""
        index, place, count = clip
        starts, kinds = self._store.facts[name][index]["phones"]
        heard = np.full(ALONE // 640, -1, np.int64)
        at = np.arange(len(heard)) * 640 + 320 - place
        found = np.searchsorted(starts, at, "right") - 1
        inside = (found >= 0) & (at < count)
        heard[inside] = kinds[found[inside]]
        return heard

    def _said(
        self, name: str, clips: list[Clip], limit: int, rng: random.Random
    ) -> tuple[Asked, int, list[int]]:
        """Of an utterance, or several: the question, samples in all, and letters."""
        facts = [self._store.facts[name][index] for index, _, _ in clips]
        _, place, count = clips[-1]
        length = min(limit, place + count + rng.randrange(0, 4800))
        letters = [c for fact in facts for c in (*fact["letters"], 1)][:-1]
        return self._heard(facts, rng), length, letters

    def _clips(self, name: str, rng: random.Random, limit: int, long: bool) -> list[Clip]:
        """An utterance after some silence, or several with pauses, that fit `limit` together."""
        facts = self._store.facts[name]
        first = rng.choice(self._store.ready[name])
        while (count := facts[first]["samples"]) > limit:
            first = rng.choice(self._store.ready[name])
        place = min(rng.randrange(0, 8000 if long else 3200), limit - count)
        clips = [(first, place, count)]
        enough = rng.uniform(0.3, 1.0) * limit if long else 0
        while place + count < enough:
            index = rng.choice(self._store.ready[name])
            fact = facts[index]
            if fact["language"] != facts[first]["language"]:
                continue
            place, count = place + count + _pause(rng), fact["samples"]
            if place + count > limit:
                break
            clips.append((index, place, count))
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

    def _rows(self, rows: Iterable[Row], shape: Shape, soft: int, *, pack: bool = True) -> Batch:
        """Rows into arrays of the batch's shape; `soft` counts the soft rows there are.

        What does not fit is left out.
        """
        ids = np.zeros((shape.rows, shape.length), np.int64)
        where = np.full((shape.rows, shape.length), -1, np.int64)
        # What is not soft points anywhere, but everywhere else: gradients are added up
        # by atomics, which would queue at one place.
        index = (np.arange(shape.rows * shape.length) % soft).reshape(shape.rows, shape.length)
        pick = np.zeros(shape.answers, np.int64)
        labels = np.full(shape.answers, -100, np.int64)
        row_of = np.full(shape.answers, -1, np.int64)
        weights = np.zeros(shape.answers, np.float32)
        segments = np.full((shape.rows, shape.length), -1, np.int64)
        room = [shape.length] * shape.rows
        open_lines: list[int] = []
        used = taken = begun = 0
        for tokens, places, start in rows:
            count, size = len(tokens) - start, len(tokens)
            if size > shape.length or taken + count > shape.answers:
                continue
            line = next((i for i in open_lines if room[i] >= size), begun)
            if line == shape.rows:
                continue
            if line == begun:
                begun += 1
                if pack:
                    open_lines.append(line)
                if len(open_lines) > OPEN:
                    open_lines.remove(min(open_lines, key=room.__getitem__))
            left = shape.length - room[line]
            ids[line, left : left + size] = tokens
            where[line, left : left + size] = places
            segments[line, left : left + size] = used
            room[line] -= size
            first = line * shape.length + left + start - 1
            pick[taken : taken + count] = np.arange(first, first + count)
            labels[taken : taken + count] = tokens[start:]
            row_of[taken : taken + count] = used
            weights[taken : taken + count] = count**-0.5
            taken += count
            used += 1
        is_soft = where >= 0
        index = np.where(is_soft, where, index)
        return Batch(*(self._store.send(a) for a in (
            ids, index, is_soft, pick, labels, row_of, weights, *([segments] if pack else [])
        )))  # fmt: skip


def _pause(rng: random.Random) -> int:
    """Samples of silence between two utterances: a breath, now and then a long wait."""
    return rng.randrange(1600, 12_000) if rng.random() < 0.8 else rng.randrange(12_000, 40_000)


def film_frames(count: int) -> str:
    """Frames at one a second, each after its time, as the processor writes them."""
    return " ".join(f"{i // 60:02d}:{i % 60:02d} {FRAME}" for i in range(count))
