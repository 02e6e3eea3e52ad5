"""Answers in a shape that the user gives as a JSON schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BeforeValidator, model_validator

from jobs.tasks.base import Answer, TaskOptions
from jobs.tasks.loose_json import read_loose
from storage.errors import RowError

#: Complaints of the schema that a warning tells.
_TOLD = 3


def _schema(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        # As a manifest's column holds it.
        value = json.loads(value)
    if not isinstance(value, Mapping):
        raise ValueError("a JSON schema is an object")
    if not value:
        return None
    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        raise ValueError(f"no JSON schema: {where or 'top level'}: {error.message}") from None
    return dict(value)


#: A JSON schema as an object or as JSON text; None if there is none.
Schema = Annotated[dict[str, Any] | None, BeforeValidator(_schema)]


class Constrained(TaskOptions):
    """Options of tasks whose answers a grammar holds to their shape."""

    @model_validator(mode="after")
    def _without_thought(self) -> Self:
        if self.thinking:
            raise ValueError("thinking is cut off by the answer's grammar; leave it out")
        return self


def with_schema(text: str, schema: Mapping[str, Any]) -> str:
    """The question, and the schema told: the grammar alone would not say what fields mean."""
    shown = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return f"{text}\nAnswer with JSON that follows this schema:\n{shown}"


def read_structured(answer: Answer, schema: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """The value of an answer, and warnings where it breaks the schema all the same.

    Fences, prose around it, stray commas and single quotes are read over. Raises
    RowError("unparsable") if there is no value, or only a part of one.
    """
    value, mended = _value(answer)
    return value, (*(["mended_json"] if mended else []), *mismatches(value, schema))


def mismatches(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """Warnings that say where a value breaks the schema; the first few."""
    faults = list(Draft202012Validator(schema).iter_errors(value))
    return [
        f"schema_mismatch:{'/'.join(map(str, fault.absolute_path)) or 'top level'}: "
        f"{fault.validator}"
        for fault in faults[:_TOLD]
    ]


def as_json(value: Any) -> str:
    """The value as compact JSON text; numbers that JSON does not know become null."""
    return json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _value(answer: Answer) -> tuple[Any, bool]:
    text = answer.text.strip()
    try:
        return json.loads(text, parse_constant=_no_constant), False
    except (ValueError, RecursionError):
        loose = read_loose(text)
    if loose.cut or not loose.values:
        why = "is cut off" if loose.cut else "holds no JSON"
        shown = text[:80] + ("…" if len(text) > 80 else "")
        raise RowError(
            "unparsable", f"the answer {shown!r} {why}; raise max_tokens, or see column raw"
        )
    return loose.values[0], True


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
