"""Read facts off media into a shape that the user gives."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import ask, given, media_cost
from jobs.tasks.base import Answer, Cost, DetailOptions, Parsed, Prompt, Row, Task
from jobs.tasks.structured import Constrained, Schema, as_json, read_structured, with_schema

PROMPT = "Extract the information that the schema asks for. Use null for what is not there."


class ExtractOptions(DetailOptions, Constrained):
    """Options of `extract`."""

    max_tokens: int = Field(1024, ge=1, le=32768, description="longest answer, in tokens")
    json_schema: Schema = Field(None, description="of the answer: JSON, or @FILE")


class Extract(Task):
    """A JSON value of the given schema for each row, by a grammar and checked afterwards.

    A medium of several windows gives a list of values, one a window.
    """

    name = "extract"
    summary = "facts in a given JSON schema"
    kinds = frozenset({"image", "video", "audio"})
    together = True
    Options = ExtractOptions
    required = ("json_schema",)
    columns = (pa.field("data", pa.string()),)

    def cost(self, options: ExtractOptions) -> Cost:
        """Some 200 tokens of schema and as many of answer."""
        return media_cost(options, 400)

    def prompt(self, row: Row, piece: Piece, options: ExtractOptions) -> Prompt:
        """The question with the schema told, and the answer held to it."""
        schema = given(options.json_schema, "json_schema")
        text = with_schema(options.prompt or PROMPT, schema)
        asked = options.model_copy(update={"prompt": None})
        return ask(text, row, piece, asked, greedy=True, json_schema=schema)

    def parse(self, row: Row, answers: Sequence[Answer], options: ExtractOptions) -> Parsed:
        """`data` is the value as JSON text; what breaks the schema all the same is warned of."""
        schema = given(options.json_schema, "json_schema")
        read = [read_structured(answer, schema) for answer in answers]
        data = as_json(read[0][0] if len(read) == 1 else [value for value, _ in read])
        warnings = dict.fromkeys(warning for _, found in read for warning in found)
        return Parsed(text=data, columns={"data": data}, warnings=tuple(warnings))
