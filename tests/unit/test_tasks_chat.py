"""Prompts made of a row's columns, and rows of text alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.pieces import Piece, Span
from jobs.plan import PlanReader
from jobs.spec import make_spec
from jobs.submit import submit
from jobs.tasks import get_task
from jobs.tasks.base import Answer, Row
from jobs.tasks.chat import Chat, fill
from storage.errors import InvalidJob, InvalidManifest, RowError
from storage.objects import open_store

NOTHING = Piece(Span(0, 0, 0))
ROW = Row("r", (), {"title": "Moby Dick", "year": 1851, "tags": ["whale"], "note": None})


def options(**values: Any) -> Any:
    return Chat.Options(**values)


def test_columns_stand_in_the_prompt_and_in_the_system_turn() -> None:
    asked = Chat().prompt(
        ROW,
        NOTHING,
        options(prompt="Who wrote {title} in { year }? {note}{tags} {{x}}", system="On {title}."),
    )
    assert asked.text == 'Who wrote Moby Dick in 1851? ["whale"] {x}'
    assert asked.system == "On Moby Dick."
    assert asked.temperature is None


def test_what_a_column_holds_is_no_template() -> None:
    row = Row("r", (), {"text": "{secret} {{", "secret": "s"})
    assert Chat().prompt(row, NOTHING, options(prompt="Say {text}")).text == "Say {secret} {{"
    concluding = Chat().conclude(row, SEVERAL, options(prompt="Say {text}"))
    assert concluding is not None
    assert concluding.text.startswith("Say {secret} {{\n\n")


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text()))
def test_any_template_is_filled_or_refused(template: str, values: dict[str, str]) -> None:
    try:
        filled = fill(template, values)
    except RowError:
        assert "{" in template
    else:
        assert filled == template or set(template) & set("{}")


@given(st.text())
def test_doubled_braces_stand_for_themselves(text: str) -> None:
    assert fill(text.replace("{", "{{").replace("}", "}}"), {}) == text


def test_a_name_that_is_no_column_is_refused() -> None:
    with pytest.raises(RowError, match=r"\{titel\} is no column .* note, tags, title, year"):
        fill("{titel}", ROW.columns)
    task = get_task("chat")
    with pytest.raises(InvalidJob, match=r"\{titel\} is no column"):
        task.check(options(prompt="{titel}"), {"title"})
    with pytest.raises(InvalidJob, match=r"\{lang\} is no column"):
        task.check(options(prompt="{title}", system="{lang}"), {"title"})
    task.check(options(prompt="{title} {{x}}"), {"title"})
    task.check(options(), {"prompt"})


SEVERAL = [
    Answer(Span(0, 30 * n, 30 * n + 30, 30.0 * n, 30.0 * n + 30), f"part {n}", "", "stop")
    for n in range(2)
]


@pytest.mark.parametrize("name", ["caption", "ask", "chat", "describe-audio"])
def test_answers_about_parts_are_asked_over(name: str) -> None:
    task: Any = get_task(name)
    required: dict[str, Any] = {"ask": {"question": "Why?"}, "chat": {"prompt": "Why?"}}
    own = required.get(name, {})
    row = Row("r", ("a.mp4",))
    piece = Piece(Span(0, 0, 1, 0.0, 1.0), sounds=(np.zeros(1600, np.float32),))
    first = task.prompt(row, piece, task.Options(**own))
    asked = task.conclude(row, SEVERAL, task.Options(**own, max_tokens=77))
    assert asked is not None
    assert asked.text.startswith(f"{first.text}\n\n")
    assert "[00:00-00:30] part 0\n[00:30-01:00] part 1" in asked.text
    assert (asked.max_tokens, asked.temperature) == (77, None)
    assert task.conclude(row, SEVERAL, task.Options(**own, summary=False)) is None
    other = task.conclude(row, SEVERAL, task.Options(**(own | {"prompt": "Be short."})))
    assert other is not None
    assert other.text.startswith("Be short.\n\n")


def test_the_answer_over_all_is_the_rows_and_those_of_the_parts_are_kept() -> None:
    over_all = Answer(Span(-1, 0, 1), "in all", "", "stop")
    parsed = Chat().parse(ROW, [*SEVERAL, over_all], options(prompt="Why?"))
    assert parsed.text == parsed.columns["answer"] == "in all"
    assert parsed.columns["segments"] == [
        {"start_s": 0.0, "end_s": 30.0, "text": "part 0"},
        {"start_s": 30.0, "end_s": 60.0, "text": "part 1"},
    ]


def test_where_nobody_speaks_there_is_no_answer() -> None:
    parsed = get_task("describe-audio").parse(ROW, [], None)
    assert (parsed.text, parsed.columns["segments"], parsed.warnings) == ("", [], ("no_speech",))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_rows_may_be_of_text_alone(tmp_path: Path, kind: str) -> None:
    """Each form of having no medium, beside a row that has one."""
    rows: list[dict[str, Any]] = [
        {"id": "a", "title": "A", "uri": "a.png"},
        {"id": "b", "title": "B", "uri": None},
        {"id": "c", "title": "C", "uri": ""},
    ]
    path = tmp_path / f"m.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with path.open("a") as file:
            file.write('{"id": "d", "title": "D"}\n{"id": "e", "title": "E", "uris": []}\n')
    elif kind == "csv":
        path.write_text("id,title,uri\na,A,a.png\nb,B,\nc,C,\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    spec = make_spec(
        {
            "manifest": str(path),
            "task": "chat",
            "out": str(tmp_path / "out"),
            "model": "tiny",
            "options": {"prompt": "{title}?"},
        }
    )
    plan = submit(spec).job.plan
    found = PlanReader(open_store(str(tmp_path / "out")), plan).shard(0).rows
    assert [row.uris for row in found] == [("a.png",)] + [()] * (len(found) - 1)
    assert [row.columns["title"] for row in found] == list("ABCDE")[: len(found)]
    with pytest.raises(InvalidManifest, match="no 'uri'"):
        submit(
            spec.model_copy(
                update={"task": "caption", "options": {}, "out": str(tmp_path / "other")}
            )
        )


def test_a_manifest_may_have_no_media_at_all(tmp_path: Path) -> None:
    pq.write_table(pa.table({"title": ["A", "B"]}), tmp_path / "m.parquet")
    (tmp_path / "m.csv").write_text("title\nA\nB\n")
    for name in ("m.parquet", "m.csv"):
        spec = make_spec(
            {
                "manifest": str(tmp_path / name),
                "task": "chat",
                "out": str(tmp_path / name[2:]),
                "model": "tiny",
                "options": {"prompt": "{title}?"},
            }
        )
        made = submit(spec).job
        assert (made.plan.rows, made.plan.shards) == (2, 1)
        assert made.plan.tokens >= 2
