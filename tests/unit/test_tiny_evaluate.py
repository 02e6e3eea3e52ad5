"""The evaluation's command: which kinds, in what folder, asked how, and what it reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jobs.pieces import Clip, Piece, Span
from jobs.spec import check_options
from jobs.tasks import get_task
from jobs.tasks.base import Row
from models.tiny import evaluate, questions, rows
from models.tiny.evaluation import report, running
from models.tiny.evaluation.items import Item, Score
from models.tiny.evaluation.kinds import KINDS, Kind, Measure
from models.tiny.evaluation.sabotage import SABOTAGED
from models.tiny.evaluation.sources import Sources
from workers.prompts import messages

TEMPLATE = Path(rows.__file__).with_name("template.jinja")
SILENCE = np.zeros(1600, np.float32)
BLACK = np.zeros((8, 8, 3), np.uint8)


def piece(kind: Kind) -> Piece:
    """What is decoded of a kind's medium, in form alone."""
    if kind.task == "transcribe":
        return Piece(Span(0, 0, 1), sounds=(SILENCE,))
    if kind.name == "several":
        return Piece(Span(0, 0, 1), images=(BLACK, BLACK))
    if kind.name in ("video", "narrated"):
        sounds = (SILENCE,) if kind.name == "narrated" else ()
        return Piece(Span(0, 0, 1), clip=Clip(BLACK[None], (0,), 1.0, 1), sounds=sounds)
    return Piece(Span(0, 0, 1), images=(BLACK,))


@pytest.mark.parametrize("name", KINDS)
def test_what_is_asked_is_what_is_trained(name: str) -> None:
    """Through task and template, letter for letter."""
    kind = KINDS[name]
    own = {
        "ocr": questions.REWORDED["ocr"][0],
        "ocr-faces": questions.REWORDED["ocr"][1],
        "tool": questions.REWORDED["weather"][0],
        "language": questions.REWORDED["language"][0],
        "point": questions.ELEMENT.format(label="red star"),
        "detect": "detect red star and blue ring, output only ```json",
        "several": questions.CAPTION_SEVERAL,
        "video": questions.CAPTION_VIDEO,
        "narrated": questions.CAPTION_VIDEO,
        "long": questions.TRANSCRIBE.format(language="English"),
    }
    usual = questions.TRANSCRIBE_ORIGINAL if kind.task == "transcribe" else questions.CAPTION
    columns: dict[str, Any] = {
        "prompt": own.get(name),
        "element": "red star",
        "labels": "red star,blue ring",
        "language": "English" if name == "long" else None,
    }
    asked = {key: columns[key] for key in kind.from_columns if columns[key] is not None}
    task, decoded = get_task(kind.task), piece(kind)
    options = check_options(task, {**kind.options, **asked}, ())
    prompt = task.prompt(Row("1", ("x",), {}), decoded, options)
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text()
    )
    rendered = template.render(
        messages=messages(prompt, decoded),
        tools=[dict(tool) for tool in prompt.tools] or None,
        bos_token="<bos>",
        add_generation_prompt=True,
        enable_thinking=prompt.thinking,
    )
    before = "<|image|>" * len(decoded.images) + "<|video|>" * (decoded.clip is not None)
    user = before + own.get(name, usual) + "<|audio|>" * bool(decoded.sounds)
    tools = rows.WEATHER if name == "tool" else ""
    assert rendered == rows.prompt(user, thinking=name == "thought", tools=tools)


def test_kinds_are_chosen_by_name() -> None:
    assert evaluate.chosen(None, few=False) == list(KINDS.values())
    assert all(kind.few for kind in evaluate.chosen(None, few=True))
    assert [kind.name for kind in evaluate.chosen("video, flipped,video", few=False)] == [
        "video",
        "flipped",
    ]
    with pytest.raises(SystemExit, match="unknown kind cats"):
        evaluate.chosen("video,cats", few=False)


def test_what_is_sabotaged_is_measured_as_the_whole() -> None:
    for broken, whole in SABOTAGED.values():
        assert (broken.task, broken.few > 0) == (KINDS[whole].task, KINDS[whole].few > 0)
        assert broken.measures[0].name in {line.name for line in KINDS[whole].measures}


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate.renew(out)
    (out / "old").touch()
    evaluate.renew(out)
    assert {path.name for path in out.iterdir()} == {evaluate.STAMP}
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit, match="files of others"):
        evaluate.renew(tmp_path)
    assert (tmp_path / "mine.txt").exists()


def a_kind(folder_items: int) -> Kind:
    def draw(seed: int, sources: Sources, folder: Path, count: int) -> list[Item]:
        files = [folder / f"{n}.png" for n in range(count)]
        return [Item(file, {"n": n}, {"prompt": "Look."}) for n, file in enumerate(files)]

    return Kind("some", "caption", draw, (), folder_items, from_columns=("prompt",))


def test_a_manifest_is_what_a_user_would_write(tmp_path: Path) -> None:
    kind = a_kind(2)
    running.draw(kind, 0, 2, Sources(tmp_path), tmp_path)
    lines = (tmp_path / "some/manifest.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": f"000{n}", "uris": [f"media/{n}.png"], "reference": f'{{"n": {n}}}',
         "prompt": "Look."} for n in range(2)
    ]  # fmt: skip
    spec = running.job(kind, "tiny", tmp_path)
    assert (spec.task, spec.from_columns) == ("caption", ("prompt",))


def test_every_row_must_have_its_record(tmp_path: Path) -> None:
    kind = a_kind(2)
    running.draw(kind, 0, 2, Sources(tmp_path), tmp_path)
    data = tmp_path / "some/records/data"
    data.mkdir(parents=True)
    fields = {"row_id": ["0001", "0000"], "reference": ['{"n": 1}', '{"n": 0}']}
    pq.write_table(pa.table(fields), data / "0.parquet")
    assert [a.reference for a in running.answered(tmp_path, kind)] == [{"n": 0}, {"n": 1}]
    pq.write_table(pa.table(fields).slice(1), data / "0.parquet")
    with pytest.raises(SystemExit, match="2 rows were asked, 1 have a record"):
        running.answered(tmp_path, kind)


def test_the_report_says_what_was_reached(tmp_path: Path) -> None:
    higher = Measure("share", lambda _: Score(0, 0), 0.9)
    lower = Measure("errors", lambda _: Score(0, 0), 0.1, "lower")
    free = Measure("loose", lambda _: Score(0, 0))
    lines = [
        report.Line("a", higher, Score(0.9, 10)),
        report.Line("b", lower, Score(0.2, 5, {"more": 3})),
        report.Line("c", free, Score(0.5, 1)),
    ]
    assert [line.reached for line in lines] == [True, False, None]
    console = Console(record=True, width=100)
    report.show(console, lines)
    shown = console.export_text()
    assert "≥ 90.0%" in shown
    assert "≤ 10.0%" in shown
    assert "more 3" in shown
    report.write(tmp_path / "scores.json", lines, {"seed": 7, "dtype": "float32"})
    written = json.loads((tmp_path / "scores.json").read_text())
    assert (written["seed"], written["dtype"]) == (7, "float32")
    assert {"jiwer", "pycocotools", "torch"} <= set(written["versions"])
    assert [score["reached"] for score in written["scores"]] == [True, False, None]
