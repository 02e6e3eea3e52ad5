"""`mediamill models` and `mediamill models pull`: the real command against a hub served here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from jobs.catalog import KNOWN, published_config
from orchestration.cli import app
from tests.unit.small_hub import NEW, OLD, Hub, serving

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, list(arguments))


def test_the_table_has_every_model_in_eighty_columns() -> None:
    said = call("models").stdout
    assert max(len(line) for line in said.splitlines()) <= 80
    assert "tiny" in said
    row = next(line for line in said.splitlines() if "gemma-4-31B-it " in line)
    assert row.split() == [
        "google/gemma-4-31B-it",
        *("31.3", "B", "no", "256K", "62.5", "GB", "80", "GB", "(141)", "empty"),
    ]
    assert "70, 140, 280, 560, 1120 soft tokens" in said


def test_the_json_has_what_programs_ask_for() -> None:
    listed = json.loads(call("models", "--json").stdout)
    assert [row["name"] for row in listed] == ["tiny", *(known.name for known in KNOWN)]
    rows = {row["name"]: row for row in listed}
    assert rows["tiny"]["revision"]
    small, large = rows["google/gemma-4-E2B-it"], rows["RedHatAI/gemma-4-26B-A4B-it-FP8-dynamic"]
    assert (small["takes"], small["empty_thought"]) == (["audio", "image", "video"], False)
    assert (large["takes"], large["empty_thought"]) == (["image", "video"], True)
    assert (large["format"], large["least_gpu_gb"], large["gpu_gb"]) == ("fp8", 40, 48)
    assert large["active_parameters"] < 4e9 < large["parameters"]
    assert small["image_tokens"] == [70, 140, 280, 560, 1120]


def test_a_folder_is_told_by_its_config(tmp_path: Path) -> None:
    folder = tmp_path / "my-captions"
    folder.mkdir()
    config = published_config("E4B") | {"quantization_config": {"quant_method": "awq"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (row,) = json.loads(call("models", "--model", str(folder), "--json").stdout)
    assert (row["name"], row["size"], row["format"]) == ("my-captions", "E4B", "awq")
    assert "my-captions" in call("models", "--model", str(folder)).stdout


# --- pull --------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as server:
        yield server


def pull(
    hub: Hub, home: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as the library reads its variables once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    hidden = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = "import sys; from orchestration.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", command, "models", "pull", *arguments],
        cwd=ROOT,
        env=kept | hidden | {"COLUMNS": "500"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert process.returncode == 0, process.stderr
    document: dict[str, Any] = json.loads(process.stdout)
    return document


def test_a_model_is_fetched_once_at_a_commit_that_is_told(hub: Hub, tmp_path: Path) -> None:
    first = pull(hub, tmp_path, "o/model", HF_TOKEN="hf_secret")
    assert (first.returncode, first.stdout) == (0, f"o/model@{NEW}\n"), first.stderr
    assert "hf_secret" not in first.stdout + first.stderr
    assert "Bearer hf_secret" in hub.tokens
    fetched = [path for path in hub.asked if "/resolve/" in path]
    assert {path.rsplit("/", 1)[1] for path in fetched} == {"config.json", "model.safetensors"}
    assert any(f"/resolve/{NEW}/model.safetensors" in path for path in fetched)

    hub.asked.clear()
    document = said(pull(hub, tmp_path, "o/model", "--json", HF_HUB_OFFLINE="1"))
    assert hub.asked == []
    folder = Path(document["path"])
    assert (document["model"], document["revision"]) == (f"o/model@{NEW}", NEW)
    assert (folder.name, document["files"]) == (NEW, 2)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert document["bytes"] == len(b"weights") + len(hub.files["config.json"])


def test_a_revision_that_was_asked_for_is_the_one_that_comes(hub: Hub, tmp_path: Path) -> None:
    document = said(pull(hub, tmp_path, f"o/model@{OLD}", "--json"))
    assert (document["revision"], Path(document["path"]).name) == (OLD, OLD)


@pytest.mark.parametrize(
    ("name", "variables", "error", "words"),
    [
        ("o/gated", {}, "InvalidJob", "is gated; accept its terms on its page and set HF_TOKEN"),
        ("o/none", {}, "InvalidJob", "the hub knows no such model"),
        ("o/model", {"HF_HUB_OFFLINE": "1"}, "InvalidJob", "HF_HUB_OFFLINE is set"),
        ("o/model", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "Transient", "does not answer"),
    ],
)
def test_what_cannot_be_fetched_is_explained(
    hub: Hub, tmp_path: Path, name: str, variables: dict[str, str], error: str, words: str
) -> None:
    process = pull(hub, tmp_path, name, "--json", **variables)
    assert process.returncode == 1
    document = json.loads(process.stdout)["error"]
    assert document["type"] == error
    assert words in document["message"]
    assert "Traceback" not in process.stderr


def test_a_folder_is_here_already(hub: Hub, tmp_path: Path) -> None:
    document = said(pull(hub, tmp_path, "tiny", "--json"))
    assert document["name"] == "tiny"
    assert hub.asked == []


def test_the_commands_need_no_model_library() -> None:
    heavy = ("torch", "transformers", "vllm", "huggingface_hub")
    code = (
        "import sys; import orchestration.cli; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"
