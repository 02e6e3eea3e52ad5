"""A model must be given exactly what transformers' own processor makes of the same input:
token ids, where each medium stands among them, and the media's tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.pieces import Clip, Piece, Span
from jobs.tasks.base import IMAGE_BUDGETS, Prompt
from tests.integration.conversations import KINDS, MANY, conversations, noise
from tests.integration.parity import differences, expected, handed
from workers.engine import Request
from workers.vllm_engine import VllmEngine

#: Conversations of each kind: 506 in all.
OF_EACH_KIND = 46
SEED = 5


@pytest.fixture(scope="module")
def processor(tiny_folder: Path) -> Any:
    from transformers import Gemma4Processor

    return Gemma4Processor.from_pretrained(tiny_folder)


@pytest.fixture
def seen(engine: VllmEngine) -> Iterator[dict[str, list[int]]]:
    """Token ids that vLLM says it was prompted with, by the request's id."""
    ids: dict[str, list[int]] = {}
    runtime: Any = engine._runtime
    reports = runtime._reports

    def finished(key: str, output: Any) -> None:
        ids[key.partition(":")[2]] = list(output.prompt_token_ids)
        reports.finished(key, output)

    runtime._reports = replace(reports, finished=finished)
    yield ids
    runtime._reports = reports


#: Of which the quick tests ask: with all others in one.
QUICK = ("text", "everything")


@pytest.mark.parametrize(
    "kind", [*QUICK, *(pytest.param(k, marks=pytest.mark.full) for k in KINDS if k not in QUICK)]
)
def test_a_conversation_is_to_vllm_what_it_is_to_transformers(
    engine: VllmEngine, processor: Any, kind: str
) -> None:
    unequal = {}
    for request in conversations(kind, OF_EACH_KIND, SEED):
        found = differences(handed(engine, request), expected(processor, request))
        if found:
            unequal[request.id] = found
    assert unequal == {}


def test_the_conversations_are_of_every_kind() -> None:
    """What the comparison above is worth depends on what it compares."""
    told: Counter[Any] = Counter()
    for kind in KINDS:
        for request in conversations(kind, OF_EACH_KIND, SEED):
            prompt, piece = request.prompt, request.piece
            media = (len(piece.images), piece.clip is not None, len(piece.sounds))
            told["all"] += 1
            told["media", sum(media)] += 1
            told["budget", prompt.image_tokens if piece.images else None] += 1
            told["frames", piece.clip and len(piece.clip.frames)] += 1
            for name in ("raw", "thinking", "tools", "system"):
                told[name, bool(getattr(prompt, name))] += 1
            told["system and thinking and tools"] += bool(
                prompt.system and prompt.thinking and prompt.tools
            )
            told["several of all"] += media[0] > 1 and media[1] and media[2] > 1
    assert told["all"] >= 500
    wanted = [
        *(("media", count) for count in (*range(7), MANY)),
        *(("budget", budget) for budget in IMAGE_BUDGETS),
        *(("frames", count) for count in (1, 2, 3, 4)),
        *((name, on) for name in ("raw", "thinking", "tools", "system") for on in (True, False)),
        "system and thinking and tools",
        "several of all",
    ]
    assert {what: told[what] for what in wanted if told[what] < 5} == {}


def extremes() -> Iterator[Request]:
    """Requests at the edges of what a request may hold, and one of each kind."""
    random = np.random.default_rng(SEED)
    span = Span(0, 0, 1)
    for budget, side in ((1120, 1500), (560, 8), (70, 1)):
        asked = Prompt("What is it?", image_tokens=budget, max_tokens=1)
        yield Request(f"{side} pixels", asked, Piece(span, (noise(random, side, side),)))
    # vLLM counts a soft token less of it than transformers, which both survive.
    strip = Piece(span, (noise(random, 17, 70 * 17),))
    yield Request("strip", Prompt("What is it?", image_tokens=70, max_tokens=1), strip)
    for samples in (321, 480_000):
        sound = random.normal(0, 0.1, samples).astype(np.float32)
        asked = Prompt("What is it?", max_tokens=1)
        yield Request(f"{samples} samples", asked, Piece(span, sounds=(sound,)))
    frames = np.stack([noise(random, 90, 160) for _ in range(32)])
    film = Clip(frames, tuple(range(0, 800, 25)), 25.0, 800)
    yield Request("32 frames", Prompt("What is it?", max_tokens=1), Piece(span, clip=film))
    for kind in KINDS:
        yield from conversations(kind, 1, SEED)


@pytest.mark.full
def test_what_vllm_is_handed_it_is_prompted_with(
    engine: VllmEngine, seen: dict[str, list[int]]
) -> None:
    """And answers, at the edges of what requests hold too."""
    for request in extremes():
        completion = engine.submit(request).result(120)
        assert completion.prompt_tokens == engine.measure(request) - 1
        assert seen[request.id] == handed(engine, request).ids
