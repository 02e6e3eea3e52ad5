"""What every task asks of every kind of row, as transformers' own processor would have it.

Rows go the worker's way, from fetching to the engine's door; only media are made up. A task
is asked with the options of its example, so that a new one is covered by having one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from jobs.pieces import SAMPLE_RATE, Clip, MediaInfo, Piece, Reading, Span
from jobs.spec import check_options
from jobs.tasks import TASKS
from jobs.tasks.base import Task
from storage.errors import InvalidJob
from tests.integration.conversations import noise
from tests.integration.parity import differences, expected, handed
from tests.unit.exampled import example_options
from tests.unit.row_bench import Build, benches
from tests.unit.scripted import ScriptedDecoders, ScriptedEngine
from workers.decode import Decoders
from workers.vllm_engine import VllmEngine

#: A row of one medium, by the kinds that tasks take.
ROWS = {"image": "image:a", "document": "document:3", "audio": "audio:65", "video": "video:65"}
#: What is given beside an example's own options.
MORE: dict[str, dict[str, Any]] = {
    "default": {},
    "system": {"system": "Be brief.\nNever guess."},
    "thinking": {"thinking": True},
    "detail": {"image_tokens": 1120},
    "own words": {"prompt": "  Say: {{é}}  \n", "temperature": 0.5, "max_tokens": 7},
    "raw": {"prompt_format": "raw"},
}
MORE_SLOWLY = [pytest.param(more, marks=pytest.mark.full) for more in MORE if more != "default"]
#: What tasks do not take: a grammar leaves no room for a thought, a raw prompt none for tools.
REFUSED = {("thinking", "classify"), ("thinking", "extract"), ("raw", "call-tools")}


class Decoded(ScriptedDecoders):
    """Media as decoders give them: pictures, windows of sound, and of film or its frames."""

    def _items(
        self, kind: str, what: str, reading: Reading, index: int
    ) -> Iterator[MediaInfo | Piece]:
        random = np.random.default_rng(index)
        if kind in ("image", "document"):
            for item in super()._items(kind, what, reading, index):
                if isinstance(item, Piece):
                    picture = noise(random, 220, 160)
                    item = Piece(replace(item.span, width=160, height=220), (picture,))
                yield item
            return
        for item in super()._items(kind, what, reading, index):
            if isinstance(item, Piece):
                item = self._heard_or_seen(random, kind, reading, item.span)
            yield item

    def _heard_or_seen(
        self, random: np.random.Generator, kind: str, reading: Reading, span: Span
    ) -> Piece:
        sounds = (random.normal(0, 0.1, SAMPLE_RATE).astype(np.float32),)
        if kind == "audio" or reading.video == "sound":
            return Piece(span, sounds=sounds)
        if reading.video == "frames":
            return Piece(replace(span, width=90, height=60), (noise(random, 60, 90),))
        frames = np.stack([noise(random, 60, 90) for _ in range(3)])
        at = int((span.start_s or 0) * 25)
        clip = Clip(frames, (at, at + 25, at + 50), 25.0, 65 * 25)
        return Piece(span, clip=clip, sounds=sounds if reading.sound else ())


@pytest.fixture
def bench() -> Iterator[Build]:
    with benches() as build:
        yield build


@pytest.fixture(scope="module")
def processor(tiny_folder: Path) -> Any:
    from transformers import Gemma4Processor

    return Gemma4Processor.from_pretrained(tiny_folder)


def rows_of(task: Task) -> list[Any]:
    """A row of each kind of medium, and of several where they are asked about together."""
    alone = [[ROWS[kind]] for kind in ROWS if kind in task.kinds]
    several = [uri for kind, uri in ROWS.items() if kind in task.kinds and kind != "document"]
    if task.together and len(several) > 1:
        short = [uri.replace("65", "9") for uri in several]
        alone += [short, [*reversed(short), short[0]]]
    return alone


@pytest.mark.parametrize("more", ["default", *MORE_SLOWLY])
@pytest.mark.parametrize("name", TASKS)
def test_a_row_is_asked_about_as_transformers_would(
    engine: VllmEngine,
    processor: Any,
    bench: Build,
    tmp_path: Path,
    name: str,
    more: str,
) -> None:
    task = TASKS[name]
    options = example_options(name, tmp_path) | MORE[more]
    named = re.findall(r"(?<!\{)\{(\w+)\}", str(options.get("prompt", "")))
    if (more, name) in REFUSED:
        with pytest.raises(InvalidJob, match="leave it out"):
            check_options(task, options, ())
        return
    uris = rows_of(task)
    columns = {column: pa.array(["It is {good}, 語."] * len(uris)) for column in named}
    asked = ScriptedEngine(capacity=engine.capacity)
    asked.tokens = engine.measure
    b = bench(*uris, engine=asked, task=name, options=options, columns=columns)
    b.services.decoders = cast("Decoders", Decoded())
    if task.text_alone:
        b.rows = [*b.rows, replace(b.rows[0], id="alone", uris=())]
    b.make_all()
    assert len(asked.asked) >= len(b.rows)
    unequal = {}
    for request in asked.asked:
        found = differences(handed(engine, request), expected(processor, request))
        if found:
            unequal[request.id] = found
    assert unequal == {}
