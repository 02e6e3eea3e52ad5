"""Let the model choose functions to call; the calls come back as data and are never executed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import pyarrow as pa
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BeforeValidator, Field, model_validator

from jobs.pieces import Piece
from jobs.tasks.asking import ask, given, media_cost
from jobs.tasks.base import Answer, Cost, Parsed, Prompt, Row, Task, TaskOptions
from jobs.tasks.structured import as_json

PROMPT = "Call the functions that this calls for."


def _declared(value: Any) -> Any:
    if isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError("tools are a JSON list of function declarations")
    return tuple(_declaration(tool) for tool in value)


def _declaration(tool: Any) -> dict[str, Any]:
    """One function, in the form `{"type": "function", "function": {name, …}}` or its inside."""
    inner = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise ValueError("each tool is an object with a name, a description and parameters")
    parameters = inner.get("parameters", {"type": "object", "properties": {}})
    try:
        Draft202012Validator.check_schema(parameters)
    except SchemaError as error:
        raise ValueError(
            f"tool {inner['name']}: its parameters are no JSON schema: {error.message}"
        ) from None
    return {"type": "function", "function": {"description": "", **inner, "parameters": parameters}}


Tools = Annotated[tuple[dict[str, Any], ...], BeforeValidator(_declared)]


class CallToolsOptions(TaskOptions):
    """Options of `call-tools`."""

    tools: Tools = Field((), description="functions as JSON schemas: a JSON list, or @FILE")

    @model_validator(mode="after")
    def _in_a_template(self) -> Self:
        if self.prompt_format == "raw":
            raise ValueError("prompt_format: raw prompts have no turn for tools; leave it out")
        return self


class CallTools(Task):
    """The calls that the model would make of the functions declared.

    `tool_calls` holds them in order, arguments as JSON text; what the model says besides
    is `text`.
    """

    name = "call-tools"
    summary = "calls of declared functions, as data"
    kinds = frozenset({"image", "video", "audio"})
    together = True
    Options = CallToolsOptions
    required = ("tools",)
    columns = (
        pa.field(
            "tool_calls",
            pa.list_(pa.struct([("name", pa.string()), ("arguments", pa.string())])),
        ),
    )

    def cost(self, options: CallToolsOptions) -> Cost:
        """Some 100 tokens a declaration, 40 a call."""
        return media_cost(options, 100 + 100 * max(1, len(options.tools)))

    def prompt(self, row: Row, piece: Piece, options: CallToolsOptions) -> Prompt:
        """Ask greedily, with the functions declared in the system turn."""
        tools = given(options.tools, "tools")
        return ask(PROMPT, row, piece, options, greedy=True, tools=tools)

    def parse(self, row: Row, answers: Sequence[Answer], options: CallToolsOptions) -> Parsed:
        """All calls; those that were not declared so are kept and warned of."""
        declared = {tool["function"]["name"]: tool["function"] for tool in options.tools}
        calls = [call for answer in answers for call in answer.tool_calls]
        unknown = sum(call.name not in declared for call in calls)
        wrong = sum(
            not Draft202012Validator(declared[call.name]["parameters"]).is_valid(call.arguments)
            for call in calls
            if call.name in declared
        )
        counts = {
            "undeclared_tools": unknown,
            "invalid_arguments": wrong,
            "broken_calls": sum(answer.broken_calls for answer in answers),
        }
        return Parsed(
            text="\n".join(answer.text.strip() for answer in answers).strip(),
            columns={
                "tool_calls": [
                    {"name": call.name, "arguments": as_json(call.arguments)} for call in calls
                ]
            },
            warnings=tuple(f"{name}:{count}" for name, count in counts.items() if count),
        )
