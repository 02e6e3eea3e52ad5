"""Sort media into a closed set of labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import ask, given, media_cost
from jobs.tasks.base import Answer, Cost, Parsed, Prompt, Row, Task
from jobs.tasks.loose_json import read_loose
from jobs.tasks.structured import Constrained
from jobs.tasks.words import Words
from storage.errors import RowError

ONE = "Which of these describes it best: {labels}? Answer with that label alone, in double quotes."
SEVERAL = "Which of these apply: {labels}? Answer with a JSON list of labels, [] if none applies."


class ClassifyOptions(Constrained):
    """Options of `classify`."""

    max_tokens: int = Field(128, ge=1, le=32768, description="longest answer, in tokens")
    labels: Words = Field((), description="to choose from, separated by commas")
    multiple: bool = Field(False, description="any number of the labels may apply")


class Classify(Task):
    """One of the labels for each row, or with `multiple` those that apply, by a grammar.

    Of a medium with several windows, the label most of them have, or all that any has.
    """

    name = "classify"
    summary = "one of a closed set of labels, or several"
    kinds = frozenset({"image", "video", "audio"})
    together = True
    Options = ClassifyOptions
    required = ("labels",)
    columns = (pa.field("label", pa.string()), pa.field("labels", pa.list_(pa.string())))

    def cost(self, options: ClassifyOptions) -> Cost:
        """A question of some 60 tokens, an answer of few."""
        return media_cost(options, 80)

    def prompt(self, row: Row, piece: Piece, options: ClassifyOptions) -> Prompt:
        """Ask greedily for labels of the set, and for nothing else."""
        labels = given(options.labels, "labels")
        form = SEVERAL if options.multiple else ONE
        text = form.format(labels=", ".join(json.dumps(x, ensure_ascii=False) for x in labels))
        schema = _schema(labels, options.multiple)
        return ask(text, row, piece, options, greedy=True, json_schema=schema)

    def parse(self, row: Row, answers: Sequence[Answer], options: ClassifyOptions) -> Parsed:
        """Labels of the set, in its order; raises RowError for answers that are none."""
        labels = given(options.labels, "labels")
        said = [_labels(answer.text, labels, options.multiple) for answer in answers]
        counts = Counter(label for labels_of_one in said for label in labels_of_one)
        if options.multiple:
            chosen = [label for label in labels if counts[label]]
        else:
            chosen = [max(labels, key=lambda label: counts[label])]
        return Parsed(
            text=", ".join(chosen),
            columns={"label": chosen[0] if chosen else None, "labels": chosen},
        )


def _schema(labels: Sequence[str], multiple: bool) -> Mapping[str, Any]:
    one = {"type": "string", "enum": list(labels)}
    return {"type": "array", "items": one, "maxItems": len(labels)} if multiple else one


def _labels(text: str, labels: Sequence[str], multiple: bool) -> list[str]:
    """The labels that an answer names, whatever it has around them."""
    known = {_plain(label): label for label in labels}
    lists = [value for value in read_loose(text).values if isinstance(value, list)]
    words = lists[0] if lists else text.split(",") if multiple else [text]
    plain = [_plain(word) for word in words if isinstance(word, str)]
    found = [known[word] for word in plain if word in known]
    if len(found) < len(words) or (not multiple and len(found) != 1):
        shown = text.strip()[:80]
        raise RowError("unparsable", f"the answer {shown!r} is none of: {', '.join(labels)}")
    return list(dict.fromkeys(found))


def _plain(word: str) -> str:
    return word.strip().strip("\"'`.").strip().casefold()
