"""The pages of the documentation say what the code says; no model is asked here."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from docs import judging, markdown
from docs.drawing import MOST_BYTES, draw_row, png, thumbnail
from docs.example import Example, Line, answered_by_hand
from docs.pages import TASKS_FOLDER
from docs.words import WORDS
from jobs.tasks import TASKS
from models.tiny.evaluation.media import write_wav

#: All pictures together, in bytes.
MOST_IN_ALL = 600_000
STALE = "docs/tasks/ is stale: python -m docs.pages"
ROOT = TASKS_FOLDER.parent.parent
NAMES = sorted(TASKS)


def text_of(name: str) -> str:
    return (TASKS_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Blocks of code of a language."""
    return [found[2] for found in re.finditer(rf"^(```+){language}\n(.*?)\n\1$", text, re.M | re.S)]


def test_every_task_has_a_page_and_no_page_is_left_over() -> None:
    assert sorted(path.stem for path in TASKS_FOLDER.glob("*.md")) == sorted([*NAMES, "README"])
    assert sorted(WORDS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_options_and_columns_are_those_of_the_class(name: str) -> None:
    text, task = text_of(name), TASKS[name]
    assert markdown.options_table(task) in text, STALE
    assert markdown.columns_table(task) in text, STALE
    for option in task.Options.model_fields:
        assert f"| `{option}` |" in text
    for column in task.columns:
        assert f"| `{column.name}` |" in text


@pytest.mark.parametrize("name", NAMES)
def test_words_are_those_of_the_source(name: str) -> None:
    text, task = text_of(name), TASKS[name]
    assert WORDS[name].purpose in text, STALE
    assert markdown.takes(task) in text, STALE
    assert f"*{task.summary}*" in text, STALE
    assert markdown.tips_list(task) in text, STALE


@pytest.mark.parametrize("name", NAMES)
def test_json_parses_and_has_the_columns(name: str) -> None:
    text, task = text_of(name), TASKS[name]
    example = text[text.index("## An example") : text.index("## Options")]
    head, *rows = re.split(r"^### ", example, flags=re.M)
    assert rows
    manifest = blocks(head, "json")[0].splitlines()
    assert [json.loads(line)["id"] for line in manifest] == [r.split("\n", 1)[0] for r in rows]
    for file in blocks(head, "json")[1:]:
        json.loads(file)
    for row in rows:
        [record] = [json.loads(block) for block in blocks(row, "json")]
        assert set(record) - {"text"} == {column.name for column in task.columns}, STALE
        for column in task.columns:
            pa.array([record[column.name]], column.type)


@pytest.mark.parametrize("name", [*NAMES, "README"])
def test_links_lead_somewhere(name: str) -> None:
    text = text_of(name)
    targets = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text)
    assert targets
    for target in targets:
        assert (TASKS_FOLDER / target).exists(), target


def test_pictures_are_small_and_all_of_use() -> None:
    pictures = sorted((TASKS_FOLDER / "media").iterdir())
    texts = "".join(text_of(name) for name in [*NAMES, "README"])
    sizes = [picture.stat().st_size for picture in pictures]
    assert max(sizes) <= MOST_BYTES
    assert sum(sizes) < MOST_IN_ALL
    assert all(f"(media/{picture.name})" in texts for picture in pictures)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_whose_its_answers_are(name: str) -> None:
    text = text_of(name)
    assert (markdown.BY_HAND in text) != (markdown.BY_MODEL in text)


def test_the_readme_links_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/tasks/README.md" in readme
    overview = text_of("README")
    assert all(f"]({name}.md)" in overview for name in NAMES)


def test_an_answer_by_hand_goes_through_the_task() -> None:
    line = Line("a", columns={"what": "tea"}, raw="<|channel>thought\nhm<channel|>Tea.<turn|>")
    example = Example("chat", (line,), {"prompt": "About {what}?"})
    outcome = answered_by_hand(example, line)
    assert outcome.prompt.text == "About tea?"
    assert outcome.columns == {"answer": "Tea.", "segments": []}
    assert example.command == (
        "mediamill run chat.jsonl --task chat --out chat-records --set 'prompt=About {what}?'"
    )


def test_a_mistake_is_told() -> None:
    line = Line("a", right=lambda _: False, truth="a cat")
    example = Example("chat", (line,), {"prompt": "?"})
    outcome = answered_by_hand(example, Line("a", raw="A dog."))
    told = "**This answer has a mistake.** Right would be: a cat"
    wrong = replace(outcome, line=line, wrong=True)
    assert told in markdown.page(TASKS["chat"], example, [wrong], [""])
    assert told not in markdown.page(TASKS["chat"], example, [outcome], [""])


def test_small_things_keep_their_color_and_boxes_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    image = Image.effect_noise((800, 400), 40).convert("RGB")
    image.paste((40, 160, 60), (100, 100, 130, 130))
    image.save(file)
    box = {"x0": 400, "y0": 200, "x1": 600, "y1": 300}
    thing = {"label": "thing", "box": box, "media_index": 0, "time_s": None}
    with Image.open(io.BytesIO(png(draw_row([file], {"objects": [thing]})))) as opened:
        drawn = opened.convert("RGB")
    assert drawn.size == (400, 200)
    red, green, blue = drawn.getpixel((57, 57))  # type: ignore[misc]
    assert green > red + 60
    assert green > blue + 60
    edge = drawn.getpixel((300, 125))
    assert edge[0] > 180 > 90 > edge[1]  # type: ignore[index]


def test_segments_are_marked_on_a_waveform(tmp_path: Path) -> None:
    file = write_wav(np.zeros(32_000, np.int16), 16_000, tmp_path / "a")
    segment = {"start_s": 0.5, "end_s": 1.5, "text": "word " * 40}
    bare, marked = draw_row([file], {}), draw_row([file], {"segments": [segment]})
    assert marked.height > bare.height
    middle, outside = marked.getpixel((380, 5)), marked.getpixel((60, 5))
    assert outside == (255, 255, 255) != middle
    assert thumbnail(marked).size == thumbnail(bare).size


BOX = (10.0, 10.0, 20.0, 20.0)


@pytest.mark.parametrize(
    ("label", "x1", "right"), [("cat", 20.0, True), ("dog", 20.0, False), ("cat", 40.0, False)]
)
def test_boxes_are_judged(label: str, x1: float, right: bool) -> None:
    found = {"label": label, "box": {"x0": 10.0, "y0": 10.0, "x1": x1, "y1": 20.0}}
    assert judging.detected([("cat", BOX)], {"objects": [found]}) is right
    assert not judging.detected([("cat", BOX)], {"objects": [found, found]})
    assert not judging.detected([("cat", BOX)], {"objects": []})


def test_films_are_judged_frame_by_frame() -> None:
    things = [{"label": "cat", "time_s": 0.0}, {"label": "dog", "time_s": 1.0}]
    assert judging.followed([["cat"], ["dog"]], {"objects": things})
    assert not judging.followed([["cat"], ["cat"]], {"objects": things})
    assert not judging.followed([["cat"], ["dog"], ["dog"]], {"objects": things})
