"""Kinds that are broken on purpose: each must fall visibly short of the whole one beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from models.tiny.evaluation import hearing, scoring, seeing
from models.tiny.evaluation.items import Answered, Item, Score
from models.tiny.evaluation.kinds import BOXES, WER, WORDS, Kind, Measure, each
from models.tiny.evaluation.sources import TELEPHONE_RATE, Sources


def _flipped(seed: int, sources: Sources, folder: Path, count: int) -> list[Item]:
    """The pictures of `detect`, mirrored, with the references of the unmirrored."""
    items = each("detect", seeing.detect)(seed, sources, folder, count)
    for item in items:
        with Image.open(item.file) as image:
            mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mirrored.save(item.file)
    return items


def swapped_axes(answered: Sequence[Answered]) -> Score:
    """mAP of the answers read as [x0, y0, x1, y1]."""
    return scoring.mean_average_precision([_swapped(a) for a in answered])


def _swapped(answer: Answered) -> Answered:
    objects = [
        {**found, "box_1000": [found["box_1000"][i] for i in (1, 0, 3, 2)]}
        for found in answer.record["objects"] or []
    ]
    return Answered(answer.reference, {**answer.record, "objects": objects})


#: Each with the kind it is held against.
SABOTAGED: dict[str, tuple[Kind, str]] = {
    kind.name: (kind, beside)
    for kind, beside in (
        (
            Kind(
                "flipped", "detect", _flipped,
                (Measure("mAP at IoU 0.5", scoring.mean_average_precision),),
                items=40, few=12, options=BOXES, from_columns=("labels",),
            ),
            "detect",
        ),
        (
            # The same sound under a header that says twice its rate.
            Kind(
                "mistaken", "transcribe",
                each("telephone", partial(hearing.telephone, header=2 * TELEPHONE_RATE)),
                (Measure(WER, scoring.word_errors, None, "lower"),),
                items=24, few=8, options=WORDS, from_columns=("language",),
            ),
            "telephone",
        ),
    )
}  # fmt: skip
