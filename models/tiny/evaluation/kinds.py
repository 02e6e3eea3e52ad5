"""The table of what is measured: how each ability is asked, scored, and how well it must do."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.tiny.evaluation import hearing, scoring, seeing
from models.tiny.evaluation.items import Answered, Item, Score
from models.tiny.evaluation.sources import Sources
from models.tiny.questions import WEATHER_TOOL

DrawOne = Callable[[random.Random, Sources, Path], Item]
DrawAll = Callable[[int, Sources, Path, int], list[Item]]
Scorer = Callable[[Sequence[Answered]], Score]


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table: `asked` is the figure to reach, None where none is asked."""

    name: str
    score: Scorer
    asked: float | None = None
    better: Literal["higher", "lower"] = "higher"

    def reached(self, value: float) -> bool | None:
        """Whether a figure is as good as asked; None if nothing is."""
        if self.asked is None:
            return None
        return value >= self.asked if self.better == "higher" else value <= self.asked


@dataclass(frozen=True, slots=True)
class Kind:
    """One job: the media it is about (`draw`), how it is asked, and what is measured.

    `items` are drawn for the whole evaluation and `few` for the one among the tests;
    that one draws no kind with 0.
    """

    name: str
    task: str
    draw: DrawAll
    measures: tuple[Measure, ...]
    items: int
    few: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    from_columns: tuple[str, ...] = ()


def seeds(kind: str, seed: int, number: int) -> random.Random:
    """The generator of one item. Training's are seeded with the names of its stocks."""
    return random.Random(f"evaluation/{kind}/{seed}/{number}")  # noqa: S311


def each(kind: str, draw: DrawOne) -> DrawAll:
    """Draw items one by one, each from its own seed, so that more items keep the first."""

    def all_of(seed: int, sources: Sources, folder: Path, count: int) -> list[Item]:
        return [
            draw(seeds(kind, seed, number), sources, folder / f"{number:04}")
            for number in range(count)
        ]

    return all_of


def _asterisk(seed: int, sources: Sources, folder: Path, count: int) -> list[Item]:
    del seed  # they are what they are
    return hearing.asterisk(sources, folder, count)


#: Longest answers of each sort, in tokens; a model that goes on is cut, and wrong.
SHORT = {"max_tokens": 96}
#: The largest budget that was trained.
LETTERS = {**SHORT, "image_tokens": 280}
BOXES = {"max_tokens": 512}
WORDS = {"max_tokens": 256}
WER = "word error rate"

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "caption", "caption", each("caption", seeing.caption),
            (Measure("exactly the reference", scoring.exact_captions, 0.95),),
            items=250, few=20, options=SHORT,
        ),
        # At the budget of small pictures and frames.
        Kind(
            "caption-70", "caption", each("caption-70", seeing.caption),
            (Measure("exactly the reference", scoring.exact_captions),),
            items=60, options={**SHORT, "image_tokens": 70},
        ),
        Kind(
            "several", "caption", each("several", seeing.several),
            (Measure("exactly the reference", scoring.exact_captions),),
            items=40, options={**WORDS, "image_tokens": 70},
        ),
        Kind(
            "detect", "detect", each("detect", seeing.detect),
            (Measure("mAP at IoU 0.5", scoring.mean_average_precision, 0.90),),
            items=200, few=16, options=BOXES, from_columns=("labels",),
        ),
        Kind(
            "point", "point", each("point", seeing.point),
            (Measure("centre inside the object", scoring.centres_inside, 0.95),),
            items=150, few=12, options=SHORT, from_columns=("element",),
        ),
        Kind(
            "ocr", "ocr", each("ocr", seeing.ocr),
            (Measure("character error rate", scoring.character_errors, 0.03, "lower"),),
            items=150, options=LETTERS, from_columns=("prompt",),
        ),
        Kind(
            "ocr-faces", "ocr", each("ocr-faces", seeing.ocr_faces),
            (Measure("character error rate", scoring.character_errors, None, "lower"),),
            items=60, options=LETTERS, from_columns=("prompt",),
        ),
        Kind(
            "speech", "transcribe", each("speech", hearing.speech),
            (Measure(WER, scoring.word_errors, 0.06, "lower"),),
            items=200, few=16, options=WORDS, from_columns=("language",),
        ),
        Kind(
            "noisy", "transcribe", each("noisy", hearing.noisy),
            (Measure(WER, scoring.word_errors, None, "lower"),),
            items=60, options=WORDS, from_columns=("language",),
        ),
        # Clean, and nothing above 4 kHz: what a wrong rate of sampling is held against.
        Kind(
            "telephone", "transcribe", each("telephone", hearing.telephone),
            (Measure(WER, scoring.word_errors, None, "lower"),),
            items=40, few=10, options=WORDS, from_columns=("language",),
        ),
        Kind(
            "asterisk", "transcribe", _asterisk,
            (Measure(WER, scoring.recordings, 0.40, "lower"),),
            items=1000, options=WORDS,
        ),
        Kind(
            "long", "transcribe", each("long", hearing.long),
            (
                Measure(WER, scoring.long_speech, 0.08, "lower"),
                Measure("segments within 0.5 s", scoring.starts, 0.90),
            ),
            items=10, options={"max_tokens": 512}, from_columns=("language",),
        ),
        Kind(
            "video", "caption", each("video", seeing.video),
            (Measure("exactly the reference", scoring.exact_captions, 0.90),),
            items=120, few=10, options=SHORT,
        ),
        Kind(
            "narrated", "caption", each("narrated", seeing.narrated),
            (Measure("caption exactly the reference", scoring.narrations),),
            items=40, options=WORDS,
        ),
        Kind(
            "tool", "call-tools", each("tool", seeing.tool),
            (Measure("call and argument right", scoring.calls, 0.95),),
            items=100, options={**SHORT, "tools": [WEATHER_TOOL]}, from_columns=("prompt",),
        ),
        Kind(
            "language", "transcribe", each("language", hearing.language),
            (Measure("language right", scoring.languages),),
            items=80, options={"max_tokens": 16}, from_columns=("prompt",),
        ),
        Kind(
            "thought", "caption", each("thought", seeing.thought),
            (Measure("caption exactly the reference", scoring.thoughts),),
            items=60, options={"max_tokens": 192, "thinking": True},
        ),
    )
}  # fmt: skip
