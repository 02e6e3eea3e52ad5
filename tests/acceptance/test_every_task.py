"""Every task through the real command on the tiny model, by the examples of its page.

Where the model was taught the ability its answers are right; where it was not, it was asked
what the task asks, and what it said is a record all the same.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from docs.by_hand import by_hand
from docs.drawn import drawn
from docs.example import Example, prompt_of
from jobs.tasks import TASKS
from tests.acceptance.commands import Mill


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Example]:
    """The examples by task; their media lie in `media` of one folder."""
    media = tmp_path_factory.mktemp("examples") / "media"
    media.mkdir()
    return {example.task: example for example in [*drawn(media), *by_hand(media)]}


@pytest.mark.full
@pytest.mark.parametrize("name", TASKS)
def test_a_task_through_the_command(
    examples: dict[str, Example], tmp_path: Path, name: str
) -> None:
    example = examples[name]
    mill = Mill(tmp_path, {"MEDIAMILL_BROKER_URL": "redis://127.0.0.1:1/0"})
    for line in example.lines:
        for file in line.files:
            (tmp_path / "media").mkdir(exist_ok=True)
            (tmp_path / "media" / file.name).write_bytes(file.read_bytes())
    rows = [json.dumps(line.manifest()) + "\n" for line in example.lines]
    (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    for option, text in example.files.items():
        (tmp_path / f"{option}.json").write_text(text)
    _, *words = shlex.split(example.command)
    # In float32, as the answers on the page were given.
    look = mill.json(*words, "--engine-option", "dtype=float32")
    assert (look["rows"]["total"], look["rows"]["remaining"]) == (len(rows), 0)
    found = pq.read_table(tmp_path / f"{name}-records" / "data").to_pylist()
    records = {record["row_id"]: record for record in found}
    assert len(found) == len(records) == len(rows)
    for line in example.lines:
        record = records[line.id]
        assert record["lineage"]["prompt_sha256"] == prompt_of(example, line)[0].sha256
        assert record["usage"]["prompt_tokens"] > 0
        if example.by_hand:
            assert record["status"] == "ok" or record["error"]["kind"] == "unparsable"
        else:
            assert record["status"] == "ok"
    if not example.by_hand:
        wrong = [
            line.id for line in example.lines if line.right and not line.right(records[line.id])
        ]
        assert len(wrong) <= 1, f"answered wrongly: {wrong}"
