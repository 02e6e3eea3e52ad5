"""The pages' text: tables made from the tasks, and an example with its outcome."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pydantic.fields import FieldInfo

from docs.example import Example, Outcome
from docs.words import WORDS, tips
from jobs.tasks import TASKS
from jobs.tasks.base import Prompt, Task, TaskOptions

BY_HAND = (
    "The tiny model was not taught this: the answer below is **written by hand**, to show the"
    " form. It went through the task's own prompt and parser."
)
BY_MODEL = (
    "Everything below is what the tiny model gave (`--model tiny`, the default), in float32, for"
    " media drawn from the seeds 1, 2, … and taken as they came."
)
MADE = "<!-- made by `python -m docs.pages`; edit docs/*.py instead -->"
_WRONG = "**This answer has a mistake.** Right would be: {truth}"
#: Options of a model's sampling that have no description of their own.
_UNDESCRIBED = {
    "top_p": "sample from the likeliest tokens that make up this share",
    "top_k": "sample from so many of the likeliest tokens",
}


def page(task: Task, example: Example, outcomes: Sequence[Outcome], pictures: Sequence[str]) -> str:
    """A task's page; `pictures` are the places of the rows' pictures, empty for rows of none."""
    parts = [
        MADE,
        f"# {task.name}",
        f"*{task.summary}*",
        WORDS[task.name].purpose,
        takes(task),
        "## An example",
        BY_HAND if example.by_hand else BY_MODEL,
        *_asked(example),
    ]
    for outcome, picture in zip(outcomes, pictures, strict=True):
        parts += [*_outcome(outcome, picture)]
    parts += ["## Options", options_table(task), "## Columns", columns_table(task)]
    parts += ["Those of every record, such as `text`, `status` and `warnings`, are in the"
              " [README](../../README.md#a-record)."]  # fmt: skip
    parts += ["## Good to know", tips_list(task)]
    parts += ["[All tasks](README.md)"]
    return "\n\n".join(parts) + "\n"


def small(name: str) -> str:
    """The place of a task's thumbnail."""
    return f"media/{name}-small.png"


def overview(made: Collection[str]) -> str:
    """The page of all tasks whose pages were made; `made` are the places of all files."""
    rows = [
        f"| ![]({small(name)}) | [`{name}`]({name}.md) | {task.summary} |"
        for name, task in TASKS.items()
        if small(name) in made
    ]
    return "\n".join(
        [
            MADE,
            "",
            "# What can be asked",
            "",
            "A page for each task: an example with its input and output, all options and columns.",
            "",
            "| | task | what comes back |",
            "| --- | --- | --- |",
            *rows,
            "",
            "[Back to the README](../../README.md)",
            "",
        ]
    )


def options_table(task: Task) -> str:
    """Name, default and meaning of every option; the task's own first."""
    fields = task.Options.model_fields
    common = TaskOptions.model_fields
    own = [name for name in fields if name not in common]
    changed = [n for n in fields if n in common and _default(fields[n]) != _default(common[n])]
    rest = [name for name in fields if name not in own and name not in changed]
    lines = ["| option | default | what |", "| --- | --- | --- |"]
    for name in [*own, *changed, *rest]:
        default = "**needed**" if name in task.required else _default(fields[name])
        what = fields[name].description or _UNDESCRIBED.get(name, "")
        lines.append(f"| `{name}` | {default} | {_cell(what)} |")
    return "\n".join(lines)


def columns_table(task: Task) -> str:
    """Name and type of the columns that the task adds to a record."""
    if not task.columns:
        return "It adds none of its own: the answer is in the column `text`."
    lines = ["| column | type |", "| --- | --- |"]
    lines += [f"| `{column.name}` | `{type_name(column.type)}` |" for column in task.columns]
    return "\n".join(lines)


def tips_list(task: Task) -> str:
    """What a user should know, a line each."""
    return "\n".join(f"* {tip}" for tip in tips(task))


def type_name(of: pa.DataType) -> str:
    """A type in short: `list<{label: string, box: {x0: double}}>`."""
    if pa.types.is_list(of):
        return f"list<{type_name(of.value_type)}>"
    if pa.types.is_struct(of):
        inner = ", ".join(f"{field.name}: {type_name(field.type)}" for field in of)
        return f"{{{inner}}}"
    return str(of)


def takes(task: Task) -> str:
    """What media the task takes, and what the model must be able to take."""
    kinds = ", ".join(sorted(task.kinds)) + (", or no media" if task.text_alone else "")
    needs = (
        f" The model must be able to take {', '.join(sorted(task.needs))}." if task.needs else ""
    )
    return f"Takes: {kinds}.{needs}"


def _asked(example: Example) -> list[str]:
    lines = [json.dumps(line.manifest(), ensure_ascii=False) for line in example.lines]
    parts = [f"`{example.task}.jsonl`", _code("json", "\n".join(lines))]
    for name, text in example.files.items():
        parts += [f"`{name}.json`", _code("json", text)]
    parts.append(_code("bash", example.command))
    return [*parts, example.remark] if example.remark else parts


def _outcome(outcome: Outcome, picture: str) -> list[str]:
    line, columns = outcome.line, outcome.columns
    parts = [f"### {line.id}"]
    if picture:
        parts.append(f"![{line.id}]({picture})")
    if said := _said(columns):
        parts.append("\n".join(f"> {text}  " for text in said.splitlines()))
    if outcome.wrong:
        parts.append(_WRONG.format(truth=line.truth))
    if outcome.warnings:
        parts.append("Warnings: " + ", ".join(f"`{warning}`" for warning in outcome.warnings))
    asked = _question(outcome.prompt)
    return [
        *parts,
        _code("json", _tight(columns)),
        _folded("What the model was asked", asked),
    ]


def _said(columns: Mapping[str, Any]) -> str:
    """The answer in words, to stand under the picture."""
    for name in ("caption", "text", "description", "answer", "label"):
        if isinstance(columns.get(name), str):
            return str(columns[name])
    if "tool_calls" in columns:
        calls = [f"`{call['name']}({call['arguments']})`" for call in columns["tool_calls"]]
        return "\n".join(calls)
    return ""


def _tight(columns: Mapping[str, Any]) -> str:
    """JSON with a line for each thing of a list, so that long lists stay readable."""
    members = []
    for name, value in columns.items():
        shown = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            each = ",\n    ".join(json.dumps(thing, ensure_ascii=False) for thing in value)
            shown = f"[\n    {each}\n  ]"
        members.append(f"  {json.dumps(name)}: {shown}")
    return "{\n" + ",\n".join(members) + "\n}"


def _question(prompt: Prompt) -> str:
    parts = [prompt.text]
    if prompt.system:
        parts.insert(0, f"[system] {prompt.system}")
    if prompt.tools:
        parts.append("[the functions are declared in the system turn]")
    if prompt.json_schema is not None:
        schema = json.dumps(prompt.json_schema, ensure_ascii=False, separators=(",", ":"))
        told = "this schema" if schema in prompt.text else schema
        parts.append(f"[a grammar holds the answer to {told}]")
    return "\n".join(parts)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{_code('text', text)}\n\n</details>"


def _code(language: str, text: str) -> str:
    # Answers may hold a fence of their own.
    fence = "````" if "```" in text else "```"
    return f"{fence}{language}\n{text}\n{fence}"


def _default(field: FieldInfo) -> str:
    value = field.get_default()
    if value is None or value == ():
        return ""
    return f"`{json.dumps(value) if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
