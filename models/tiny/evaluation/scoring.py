"""Records against references: the measures of the table, as pure functions."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jiwer
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.tiny.evaluation.items import Answered, Score
from models.tiny.voices import plain

#: Seconds that a segment may begin early or late.
START_S = 0.5
#: What stands between a film's caption and the words spoken over it.
VOICE = " A voice says: "

_WORDS = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


def exact_captions(answered: Sequence[Answered]) -> Score:
    """Share of texts that are the reference's caption, character for character."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for answer in answered:
        ground = answer.reference.get("background", "all")
        asked[ground] += 1
        right[ground] += answer.text == answer.reference["caption"]
    shares = {ground: right[ground] / asked[ground] for ground in sorted(asked)}
    details = shares if len(shares) > 1 else {}
    return _share(sum(right.values()), answered, details)


def thoughts(answered: Sequence[Answered]) -> Score:
    """Share of captions that are right; details: of thoughts that are."""
    told = sum(a.record["thought"] == a.reference["thought"] for a in answered)
    right = sum(a.text == a.reference["caption"] for a in answered)
    return _share(right, answered, {"thought": told / max(1, len(answered))})


def centres_inside(answered: Sequence[Answered]) -> Score:
    """Share of answers of one point that lies in the thing's own box."""
    right = 0
    for answer in answered:
        found = answer.record["points"] or []
        if len(found) == 1:
            x0, y0, x1, y1 = answer.reference["pixels"]
            right += x0 <= found[0]["x"] <= x1 and y0 <= found[0]["y"] <= y1
    return _share(right, answered)


def mean_average_precision(answered: Sequence[Answered]) -> Score:
    """COCO's mAP at IoU 0.5 over labels; details: boxes whose label no picture has."""
    names = sorted({box["label"] for a in answered for box in a.reference["boxes"]})
    ids = {name: number for number, name in enumerate(names, 1)}
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    stray = 0
    for number, answer in enumerate(answered, 1):
        width, height = answer.reference["size"]
        for box in answer.reference["boxes"]:
            corners = _corners(box["box_1000"], width, height)
            truth.append(
                {"id": len(truth) + 1, "image_id": number, "category_id": ids[box["label"]],
                 "bbox": corners, "area": corners[2] * corners[3], "iscrowd": 0}
            )  # fmt: skip
        for box in answer.record["objects"] or []:
            if box["label"] not in ids:
                stray += 1
                continue
            corners = _corners(box["box_1000"], width, height)
            found.append(
                {"image_id": number, "category_id": ids[box["label"]], "bbox": corners, "score": 1}
            )
    details: dict[str, float | int] = {"boxes": len(truth), "stray": stray}
    if not truth or not found:
        return Score(float(not truth and not found), len(answered), details)
    images = [
        {"id": number, "width": a.reference["size"][0], "height": a.reference["size"][1]}
        for number, a in enumerate(answered, 1)
    ]
    # It prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = [{"id": number, "name": name} for name, number in ids.items()]
        coco.dataset = {"images": images, "annotations": truth, "categories": categories}
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return Score(float(judge.stats[1]), len(answered), details)


def character_errors(answered: Sequence[Answered]) -> Score:
    """Characters wrong, missing or too many, as a share of those to be read."""
    out = jiwer.process_characters([a.reference for a in answered], [a.text for a in answered])
    exact = sum(a.text == a.reference for a in answered) / max(1, len(answered))
    return Score(float(out.cer), len(answered), {"exact": exact})


def word_errors(answered: Sequence[Answered]) -> Score:
    """Words wrong, missing or too many, as a share of those said."""
    said = [a.reference["text"] for a in answered]
    return Score(_words(said, [a.text for a in answered]), len(answered))


def recordings(answered: Sequence[Answered]) -> Score:
    """Word errors; details: of recordings that say what no recording of training says."""
    whole = word_errors(answered)
    new = [a for a in answered if not a.reference["known"]]
    details = {"new texts": word_errors(new).value} if new else {}
    return Score(whole.value, whole.items, details)


def long_speech(answered: Sequence[Answered]) -> Score:
    """Word errors of whole recordings; details: segments, and the share that begins on time.

    A segment begins on time if its first word, found in the reference by aligning the
    two texts, was begun within half a second of `start_s`.
    """
    said = [" ".join(part["text"] for part in a.reference) for a in answered]
    segments = sum(len(a.record["segments"] or []) for a in answered)
    on_time = sum(_on_time(a) for a in answered)
    details = {"segments": segments, "starts": on_time / max(1, segments)}
    return Score(_words(said, [a.text for a in answered]), len(answered), details)


def starts(answered: Sequence[Answered]) -> Score:
    """Share of segments that begin within half a second of what they begin with."""
    score = long_speech(answered)
    return Score(score.details["starts"], int(score.details["segments"]))


def languages(answered: Sequence[Answered]) -> Score:
    """Share of answers that name the language."""
    return _share(sum(a.text.strip(" .") == a.reference for a in answered), answered)


def calls(answered: Sequence[Answered]) -> Score:
    """Share of answers that are one whole call, its name and arguments right."""
    right = 0
    for answer in answered:
        made = [
            {"name": call["name"], "arguments": json.loads(call["arguments"])}
            for call in answer.record["tool_calls"] or []
        ]
        # Its pictures are small, which says nothing of the call.
        faults = set(answer.record["warnings"]) - {"upscaled"}
        right += made == [answer.reference] and not faults
    return _share(right, answered)


def narrations(answered: Sequence[Answered]) -> Score:
    """Share of captions that are right; details: errors in the words spoken over the film."""
    heard = [a.text.partition(VOICE) for a in answered]
    right = sum(
        caption == a.reference["caption"]
        for a, (caption, _, _) in zip(answered, heard, strict=True)
    )
    words = _words([a.reference["said"] for a in answered], [voice for _, _, voice in heard])
    return _share(right, answered, {"word_errors": words})


def _share(right: int, answered: Sequence[Answered], details: Any = None) -> Score:
    return Score(right / max(1, len(answered)), len(answered), details or {})


def _corners(box: Sequence[float], width: int, height: int) -> list[float]:
    """COCO's x, y, width and height in pixels of a box [y0, x0, y1, x1] on the grid."""
    y0, x0, y1, x1 = box
    across, down = width / 1000, height / 1000
    return [x0 * across, y0 * down, (x1 - x0) * across, (y1 - y0) * down]


def _words(said: list[str], heard: list[str]) -> float:
    # Both sides go through what training's texts went through: "one" and "1" are one word.
    output = jiwer.process_words(
        [plain(text) for text in said],
        [plain(text) for text in heard],
        reference_transform=_WORDS,
        hypothesis_transform=_WORDS,
    )
    return float(output.wer)


def _on_time(answer: Answered) -> int:
    """How many segments begin on time."""
    words: list[str] = []
    begun: list[float] = []
    for part in answer.reference:
        spoken = _WORDS(plain(part["text"]))[0]
        share = (part["end_s"] - part["start_s"]) / max(1, sum(map(len, spoken)))
        moment = part["start_s"]
        for word in spoken:
            words.append(word)
            begun.append(moment)
            moment += share * len(word)
    segments = answer.record["segments"] or []
    texts = [_WORDS(plain(segment["text"]))[0] for segment in segments]
    heard = [word for text in texts for word in text]
    if not words or not heard:
        return 0
    [aligned] = jiwer.process_words(" ".join(words), " ".join(heard)).alignments
    place: dict[int, int] = {}
    for chunk in aligned:
        if chunk.type in ("equal", "substitute"):
            for step in range(chunk.hyp_end_idx - chunk.hyp_start_idx):
                place[chunk.hyp_start_idx + step] = chunk.ref_start_idx + step
    count = first = 0
    for segment, text in zip(segments, texts, strict=True):
        if first in place and text:
            count += abs(begun[place[first]] - segment["start_s"]) <= START_S
        first += len(text)
    return count
