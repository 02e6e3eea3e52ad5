"""The tiny model's answers through the pipeline: a small evaluation, and broken ones beside it.

One engine answers all that has a mark. The figures to reach are lower than those of
the model card, since few items are drawn: a broken pipeline falls far below them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from models.tiny.build import CHECKPOINT
from models.tiny.evaluation.kinds import KINDS
from models.tiny.evaluation.packages import ROOT
from models.tiny.evaluation.running import answered
from models.tiny.evaluation.sabotage import SABOTAGED, swapped_axes

#: Seconds, where other tests take their share of the cores.
pytestmark = pytest.mark.timeout(900)

#: What the few items of each kind must reach, shares of 1: at least, or of errors at most.
MARKS: dict[tuple[str, str], float] = {
    ("caption", "exactly the reference"): 0.85,
    ("detect", "mAP at IoU 0.5"): 0.80,
    ("point", "centre inside the object"): 0.85,
    ("speech", "word error rate"): 0.12,
    ("video", "exactly the reference"): 0.80,
}
#: The same of speech by telephone, which a sabotaged kind is held against.
TELEPHONE = 0.20
#: Of which the quick tests ask.
QUICK = ("caption", "detect", "speech")
#: How far a sabotaged kind falls short of the whole one, shares of 1.
SHORT = 0.3

Figures = Mapping[tuple[str, str], float]


def evaluate(out: Path, *arguments: str) -> Figures:
    """Figures by kind and measure of the command's scores.json."""
    command = [sys.executable, "-W", "ignore", "-m", "models.tiny.evaluate", "--few"]
    done = subprocess.run(
        [*command, "--out", str(out), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads((out / "scores.json").read_text())["scores"]
    return {(score["kind"], score["measure"]): score["value"] for score in scores}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small evaluation leaves its records."""
    return tmp_path_factory.mktemp("few") / "out"


@pytest.fixture(scope="module")
def figures(folder: Path) -> Figures:
    """The small evaluation, of some of the kinds that have a mark."""
    return evaluate(folder, "--kinds", ",".join(QUICK))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """All that have a mark, and how many are answered by transformers in the same way."""
    kinds = ",".join(kind for kind, _ in MARKS)
    return evaluate(tmp_path_factory.mktemp("compared") / "out", "--kinds", kinds, "--same", "60")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """The sabotaged kinds, beside the whole ones that they are held against."""
    kinds = [*SABOTAGED, *(whole for _, whole in SABOTAGED.values())]
    return evaluate(tmp_path_factory.mktemp("spoilt") / "out", "--kinds", ",".join(kinds))


def good(figures: Figures, kind: str, measure: str) -> bool:
    """Whether a kind reaches its mark."""
    [line] = [m for m in KINDS[kind].measures if m.name == measure]
    value, mark = figures[kind, measure], MARKS[kind, measure]
    return value >= mark if line.better == "higher" else value <= mark


@pytest.mark.parametrize(("kind", "measure"), [mark for mark in MARKS if mark[0] in QUICK])
def test_answers_are_good(figures: Figures, kind: str, measure: str) -> None:
    assert good(figures, kind, measure)


@pytest.mark.full
@pytest.mark.parametrize(("kind", "measure"), MARKS)
def test_all_answers_are_good(compared: Figures, kind: str, measure: str) -> None:
    assert good(compared, kind, measure)


@pytest.mark.full
@pytest.mark.parametrize("name", SABOTAGED)
def test_sabotage_shows(spoilt: Figures, name: str) -> None:
    """Mirrored pictures; 8 kHz read as 16 kHz."""
    broken, whole = SABOTAGED[name]
    [line] = broken.measures
    # Errors beyond 100% are noise of either.
    bad, good = (min(1.0, spoilt[kind, line.name]) for kind in (name, whole))
    assert good - bad > SHORT if line.better == "higher" else bad - good > SHORT


@pytest.mark.full
def test_speech_by_telephone_is_understood(spoilt: Figures) -> None:
    assert spoilt["telephone", "word error rate"] <= TELEPHONE


def test_swapped_axes_show(figures: Figures, folder: Path) -> None:
    spoilt = swapped_axes(answered(folder, KINDS["detect"])).value
    assert figures["detect", "mAP at IoU 0.5"] - spoilt > SHORT


@pytest.mark.full
def test_an_empty_thought_shows(figures: Figures, tmp_path: Path) -> None:
    """The larger sizes' prompts end with one; models of this size must not be given it."""
    spoilt = tmp_path / "model"
    shutil.copytree(CHECKPOINT, spoilt)
    template = spoilt / "chat_template.jinja"
    template.write_text(
        template.read_text() + "{{- '<|channel>thought\\n<channel|>' if add_generation_prompt -}}"
    )
    found = evaluate(tmp_path / "out", "--model", str(spoilt), "--kinds", "caption,detect")
    falls = [figures[key] - found[key] for key in found]
    assert max(falls) > SHORT


@pytest.mark.full
def test_vllm_answers_as_transformers_does(compared: Figures) -> None:
    assert compared["same", "the same greedy answer from transformers"] >= 0.98
