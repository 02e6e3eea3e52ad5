"""An example of each task: a command, the files that it names, and what a record then has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """`command` as typed, `record` what is worth showing of one that it made, and the content
    of the `files` that the command names, by name."""

    command: str
    record: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)


def _object(label: str, box_1000: list[int], *box: float) -> dict[str, Any]:
    corners = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
    return {
        "label": label,
        "box": corners,
        "box_1000": box_1000,
        "media_index": 0,
        "time_s": None,
    }


#: By task. What Gemma 4 says differs from size to size; the form is that of every answer.
EXAMPLES: Mapping[str, Example] = {
    "caption": Example(
        "mediamill run photos/ --task caption --out captions --set length=short",
        {"caption": "A ginger cat sleeps on a red sofa beside a window."},
    ),
    "transcribe": Example(
        "mediamill run talks/ --task transcribe --out talks-text --set language=en",
        {
            "segments": [
                {"start_s": 0.0, "end_s": 6.2, "text": "Good morning, and welcome to the harbor."}
            ],
            "language": "en",
        },
    ),
    "translate-speech": Example(
        "mediamill run talks/ --task translate-speech --out french --set target=French",
        {
            "segments": [
                {
                    "start_s": 0.0,
                    "end_s": 6.2,
                    "text": "Good morning, and welcome to the harbor.",
                    "translation": "Bonjour et bienvenue au port.",
                }
            ],
            "language": None,
            "target": "French",
        },
    ),
    "detect": Example(
        "mediamill run photos/ --task detect --out boxes --set labels=person,dog",
        {"objects": [_object("dog", [350, 100, 800, 450], 64.0, 168.0, 288.0, 384.0)]},
    ),
    "point": Example(
        "mediamill run screens/ --task point --out points --set element=Send",
        {
            "points": [
                _object("Send", [900, 800, 950, 900], 512.0, 432.0, 576.0, 456.0)
                | {"x": 544.0, "y": 444.0}
            ]
        },
    ),
    "ocr": Example(
        "mediamill run scans/ --task ocr --out pages --set form=markdown",
        {"text": "# Receipt\n\n| item | price |\n| --- | --- |\n| Tea | 2.40 |"},
    ),
    "describe-audio": Example(
        "mediamill run recordings/ --task describe-audio --out heard",
        {
            "description": "A woman reads the weather forecast in a calm voice; rain is to come.",
        },
    ),
    "ask": Example(
        "mediamill run photos/ --task ask --out answers --set 'question=How many dogs are there?'",
        {"answer": "There are two dogs."},
    ),
    "chat": Example(
        "mediamill run reviews.jsonl --task chat --out moods"
        " --set 'prompt=In one word, is this review kind or angry? {review}'",
        {"answer": "Kind."},
    ),
    "classify": Example(
        "mediamill run photos/ --task classify --out kinds --set labels=indoors,outdoors",
        {"label": "indoors", "labels": ["indoors"]},
    ),
    "extract": Example(
        "mediamill run receipts/ --task extract --out totals --set json_schema=@receipt.json",
        {"data": '{"shop":"Corner Tea","total":2.4}'},
        {
            "receipt.json": '{"type": "object", "required": ["shop", "total"], "properties":'
            ' {"shop": {"type": "string"}, "total": {"type": ["number", "null"]}}}'
        },
    ),
    "call-tools": Example(
        "mediamill run screens/ --task call-tools --out calls --set tools=@tools.json",
        {"tool_calls": [{"name": "book_table", "arguments": '{"people":4,"time":"19:30"}'}]},
        {
            "tools.json": '[{"name": "book_table", "description": "Book a table", "parameters":'
            ' {"type": "object", "properties": {"people": {"type": "integer"},'
            ' "time": {"type": "string"}}}}]'
        },
    ),
    "to-html": Example(
        "mediamill run screens/ --task to-html --out html",
        {"html": "<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>"},
    ),
}
