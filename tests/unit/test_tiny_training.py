"""What training reads: batches point where they should, and crashes cost one chunk."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.tiny import films, pool
from models.tiny.batches import ALONE, Batch, Batches, Shape
from models.tiny.helpers import spelling
from models.tiny.losses import Trainee
from models.tiny.pictures import MARKS
from models.tiny.pool import Chunk, Pool, Stock
from models.tiny.rows import Writer
from models.tiny.store import Store
from models.tiny.voices import LETTERS

CPU = torch.device("cpu")
SPEECH = ALONE // 640


class Drawn:
    """Stands for the pool: all stocks, drawn once and at once."""

    def __init__(self, photos: Path) -> None:
        stocks = [Stock("p70", "picture", 6, 6, 70, questions=2), Stock("film", "film", 2, 2)]
        stocks.append(Stock("speech", "speech", 6, 6))
        self.stocks = {stock.name: stock for stock in stocks}
        self.arrays = {s.name: np.zeros((s.items, *s.shape), s.dtype) for s in stocks}
        rng, writer = random.Random(5), Writer()
        self._chunks = []
        for stock in stocks[:2]:
            items = self.arrays[stock.name]
            facts = [pool._fill(stock, rng, writer, None, photos, item) for item in items]
            self._chunks.append(Chunk(stock.name, 0, facts))
        facts = []
        for i, item in enumerate(self.arrays["speech"]):
            samples = 16_000 * (i + 1)
            item[:samples] = np.random.default_rng(i).integers(-3000, 3000, samples)
            text = f"word {i} is said"
            letters = [LETTERS.index(c) + 1 for c in text]
            fact = {"samples": samples, "answer": writer.ids(text), "letters": letters}
            fact["phones"] = np.array([[0, 8000], [7, 9]] if i % 2 else [[], []], np.int32)
            facts.append({**fact, "language": "English", "human": False})
        self._chunks.append(Chunk("speech", 0, facts))

    def take(self, _timeout: float = 0.0) -> Chunk | None:
        return self._chunks.pop() if self._chunks else None

    def give_back(self, chunk: Chunk) -> None:
        pass


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photos" / "noise.png")
    return folder


@pytest.fixture(scope="module")
def store(photos: Path) -> Store:
    drawn: Any = Drawn(photos)
    store = Store(drawn, CPU)
    store.refill()
    assert store.share("p70") == store.share("speech") == 1
    return store


def rows(batch: Batch) -> list[tuple[str, list[int]]]:
    """Of each row: the answer's text, and the soft rows it reads in order."""
    writer, out = Writer(), []
    length = batch.ids.shape[1]
    for row in range(int(batch.row_of.max()) + 1):
        mine = batch.row_of == row
        labels = batch.labels[mine].tolist()
        line = int(batch.pick[mine][0]) // length
        beside = batch.is_soft[line]
        if batch.segments is not None:
            here = batch.segments[line] == row
            beside = beside & here
            # A row is one stretch, and its answer ends it.
            first, end = int(here.nonzero()[0]), int(here.nonzero()[-1]) + 1
            assert here[first:end].all()
            assert batch.ids[line, end - len(labels) : end].tolist() == labels
        out.append((writer.text(labels), batch.index[line][beside].tolist()))
        # Each label is the token after the place that predicts it.
        after = batch.ids.flatten()[batch.pick[mine] + 1]
        assert after.tolist() == labels
        assert batch.weights[mine].tolist() == pytest.approx([len(labels) ** -0.5] * len(labels))
    return out


def test_pictures_are_read_from_their_own_rows(store: Store) -> None:
    batch = Batches(store, 1).pictures("p70", Shape(6, 12, 640, 4000))
    assert batch.grid is not None
    assert batch.segments is not None
    # Several rows stand in a line.
    assert len(rows(batch)) > 12
    counts = (batch.grid[:, 0] * batch.grid[:, 1]).tolist()
    several = 0
    for answer, soft in rows(batch):
        slots = sorted({at // 70 for at in soft}, key=[at // 70 for at in soft].index)
        wanted = [slot * 70 + i for slot in slots for i in range(counts[slot])]
        assert soft == wanted
        several += len(slots) > 1
        assert answer.count("Image ") == (len(slots) if len(slots) > 1 else 0)
        assert answer.endswith(("<turn|>", "<|tool_response>"))
    assert several >= 3


def test_speech_is_read_from_its_own_sound(store: Store) -> None:
    batch = Batches(store, 2).speech("speech", Shape(5, 5, 400, 900))
    assert batch.waves is not None
    assert batch.lengths is not None
    assert batch.heard is not None
    assert batch.heard.phones is not None
    found = rows(batch)
    assert len(found) == 5
    for slot, (_, soft) in enumerate(found):
        assert soft == [slot * SPEECH + i for i in range(int(batch.heard.counts[slot]))]
        # The second phoneme starts half a second after the first: 12 or 13 soft tokens.
        phones = batch.heard.phones[slot].tolist()
        assert set(phones) in ({-1}, {-1, 7, 9})
        assert phones.count(7) in (0, 12, 13)
        assert batch.waves[slot].any()
        assert not batch.waves[slot][batch.lengths[slot] :].any()


def test_long_batches_hold_films_then_speech(store: Store) -> None:
    batch = Batches(store, 3).long("film", "speech", Shape(2, 5, 960, 2000))
    assert batch.lengths is not None
    assert batch.heard is not None
    found = rows(batch)
    frames = films.MOST_FRAMES * 70
    for slot, (answer, soft) in enumerate(found):
        sound = [at - 2 * frames for at in soft if at >= 2 * frames]
        seen = [at for at in soft if at < 2 * frames]
        if slot < 2:
            assert {at // frames for at in seen} == {slot}
            assert ("A voice says:" in answer) == bool(sound)
        else:
            assert not seen
        assert all(at // 750 == slot for at in sound)
        assert bool(sound) == bool(batch.lengths[slot])
    assert len(batch.heard.letters) == 3


def test_a_step_teaches_every_parameter_that_a_batch_touches(store: Store) -> None:
    trainee = Trainee(CPU, 1)
    draw = Batches(store, 4)
    made = [
        draw.pictures("p70", Shape(2, 4, 400, 800)),
        draw.speech("speech", Shape(2, 2, 400, 400)),
    ]
    for batch in made:
        parts = trainee(batch)
        assert all(torch.isfinite(value) for value in parts.values())
        sum(value for name, value in parts.items() if name != "exact").backward()
    unmoved = [
        name
        for name, parameter in trainee.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    # No text stands in these pictures.
    assert unmoved == ["helpers.marks.weight", "helpers.marks.bias"]


def test_rows_of_a_line_do_not_see_each_other(store: Store) -> None:
    trainee = Trainee(CPU, 3).eval()
    batch = Batches(store, 6).speech("speech", Shape(4, 2, 640, 400))
    assert batch.segments is not None
    read = trainee._plain.read
    with torch.no_grad():
        soft = torch.randn(*batch.ids.shape, 256)
        packed = read(batch.ids, soft, batch.is_soft, batch.segments)
        for row in range(4):
            line, at = (batch.segments == row).nonzero(as_tuple=True)
            alone = read(*(x[line, at][None] for x in (batch.ids, soft, batch.is_soft)))
            torch.testing.assert_close(packed[line, at], alone[0], atol=2e-4, rtol=2e-4)


def test_characters_of_a_token_stand_in_the_order_of_reading() -> None:
    # Four columns and two rows: two characters in the first token, six in the last.
    marks = [(0.05, 0.2, 5), (0.2, 0.2, 6), *((0.8 + i / 100, 0.9, i) for i in range(6))]
    there = torch.tensor([[*marks, (-1, -1, -1)]])
    found = spelling(there, torch.tensor([[4, 2]]), 10)
    none = len(MARKS)
    assert found[0, 0].tolist() == [5, 6, none, none]
    assert found[0, 7].tolist() == [0, 1, 2, 3]
    assert (found == none).sum() == 10 * 4 - 6


def test_a_crash_costs_one_chunk(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock = Stock("p70", "picture", 4, 2, 70)
    fill = pool._fill

    def deadly(stock: Stock, rng: random.Random, *rest: Any) -> dict[str, Any]:
        if rng.random() < 0.3:
            os._exit(9)
        return fill(stock, rng, *rest)

    monkeypatch.setattr(pool, "_fill", deadly)
    made = Pool([stock], photos, 1, 2)
    try:
        got = 0
        while got < 8:
            chunk = made.take(10.0)
            if chunk is not None:
                assert len(chunk.facts) == 2
                assert made.arrays["p70"][chunk.start].any()
                made.give_back(chunk)
                got += 1
        assert made.lost > 0
    finally:
        made.close()
