"""`mediamill run` on the embedded default, and what bad input gets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import duckdb
import polars
import pytest

from tests.acceptance.commands import Mill, make_media, write_manifest
from tests.services import ending, wait_for

QUICK = ("--set", "max_tokens=4", "--set", "image_tokens=70")
#: Answers that take a moment, so that a job can be interrupted.
SHORT = ("--set", "max_tokens=16", "--set", "image_tokens=70")


@pytest.fixture
def alone(tmp_path: Path) -> Mill:
    """The command with no service at all."""
    return Mill(tmp_path, {"MEDIAMILL_BROKER_URL": "redis://127.0.0.1:1/0"})


def _manifest(mill: Mill, rows: int = 12) -> Path:
    media = make_media(mill.folder / "media", images=rows, videos=0, sounds=0)
    return write_manifest(
        mill.folder / "rows.jsonl",
        [{"id": f"r{n}", "uri": str(m.path), "n": n} for n, m in enumerate(media)]
        + [{"id": "gone", "uri": "media/none.png", "n": 99}],
    )


@pytest.mark.timeout(600)
def test_an_interrupted_run_goes_on_and_its_records_open_everywhere(
    alone: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twice as many shards as are open at once: what waits cannot be done on the way out.
    manifest = _manifest(alone, rows=32)
    tasks = ("--task", "caption", "--task", "detect")
    command = ("run", manifest, *tasks, "--out", "out", "--slots", "2", *SHORT)
    process = alone.start(alone.folder / "run.log", *command)
    attempts = alone.folder / "out" / "caption" / "_job" / "attempts"
    with ending(process):
        wait_for("an attempt", lambda: attempts.is_dir() and any(attempts.rglob("*.json")), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert "goes on" in (alone.folder / "run.log").read_text()
    left = alone.json("status", "out/caption")["rows"]["remaining"]
    assert left > 0, "nothing was left to go on with"
    # Both tasks go on, on one engine.
    run = alone.run(*command, "--json")
    assert run.returncode == 0, run.stderr
    noise = [
        line for line in run.stderr.splitlines() if not line.startswith(("caption: ", "detect: "))
    ]
    assert noise == [], "progress alone is told, and nothing of the libraries"
    looks = json.loads(run.stdout)
    assert [look["state"] for look in looks] == ["done", "done"]
    assert [look["rows"]["total"] for look in looks] == [33, 33]
    assert all(look["broker"] is None and look["workers_alive"] is None for look in looks)
    # One line each in what people use.
    monkeypatch.chdir(alone.folder)
    files = "out/caption/data/*.parquet"
    rows = duckdb.sql(f"SELECT row_id, status, error.kind, n FROM '{files}' ORDER BY n").fetchall()
    assert [row[0] for row in rows] == [f"r{n}" for n in range(32)] + ["gone"]
    assert rows[-1][1:] == ("error", "not_found", 99)
    assert polars.read_parquet(files).height == 33
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir="cache")["train"]
    assert loaded.num_rows == 33
    # The same command again finds all of it done, and loads nothing: no GPU is missed. Status
    # needs no Redis and says so.
    caption = ("run", manifest, "--task", "caption", "--out", "out/caption")
    again = alone.json(*caption, *SHORT, "--device", "cuda")
    assert again["job_id"] == looks[0]["job_id"]
    status = alone.json("status", "out/caption")
    assert status["state"] == "done"
    assert "does not answer" in status["broker"]
    # Another job is refused, naming what differs.
    refused = alone.run(*caption)
    assert refused.returncode == 1
    assert "option max_tokens (16 there, 256 here)" in " ".join(refused.stderr.split())


@pytest.mark.full
def test_run_does_what_a_retry_left(alone: Mill) -> None:
    manifest = _manifest(alone, rows=2)
    command = ("run", manifest, "--task", "caption", "--out", "out", *QUICK)
    assert alone.json(*command)["rows"]["error"] == 1
    media = alone.folder / "media"
    (media / "none.png").write_bytes((media / "image-1.png").read_bytes())
    assert alone.json("retry", "out", "--kind", "not_found")["rows"] == 1
    assert alone.json("status", "out")["state"] == "running"
    assert alone.json(*command)["state"] == "done"
    files = alone.folder / "out" / "data" / "*.parquet"
    kinds = duckdb.sql(f"SELECT error.kind FROM '{files}' WHERE row_id = 'gone'").fetchall()
    assert kinds[0][0] in (None, "unparsable")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.jsonl", "--task", "caption", "--out", "out"), "none.jsonl"),
        (("bad.jsonl", "--task", "caption", "--out", "out"), "uri"),
        (("twice.jsonl", "--task", "caption", "--out", "out"), "unique"),
        (("rows.jsonl", "--task", "sing", "--out", "out"), "known: caption"),
        (("rows.jsonl", "--task", "caption", "--out", "out", "--set", "x=1"), "known: prompt"),
        (("rows.jsonl", "--task", "caption", "--out", "out", "--model", "./no"), "no such folder"),
        (
            ("rows.jsonl", "--task", "caption", "--out", "out", "--engine-option", "nonsense=1"),
            "max_model_len",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_and_leaves_nothing(
    alone: Mill, arguments: tuple[str, ...], said: str
) -> None:
    _manifest(alone, rows=2)
    write_manifest(alone.folder / "bad.jsonl", [{"id": "a"}, {"uri": "x.png"}])
    write_manifest(alone.folder / "twice.jsonl", [{"id": "a", "uri": "x"}] * 2)
    refused = alone.run("run", *arguments)
    assert refused.returncode == 1, refused.stderr
    assert said in " ".join(refused.stderr.split())
    assert not (alone.folder / "out").exists()


def test_without_redis_submit_says_so(alone: Mill) -> None:
    refused = alone.run(
        "submit", _manifest(alone, 2), "--task", "caption", "--out", "o", timeout=20
    )
    assert refused.returncode == 1
    assert "MEDIAMILL_BROKER_URL" in refused.stderr
    assert not (alone.folder / "o").exists()


def test_usage_errors_exit_2_and_lists_are_json(alone: Mill) -> None:
    assert alone.run("run", "rows.jsonl").returncode == 2
    assert {task["name"] for task in alone.json("tasks")} >= {"caption", "transcribe", "detect"}
    assert alone.json("models")[0]["name"] == "tiny"
    planned = alone.json("plan", _manifest(alone, 20), "--task", "caption")
    assert planned["rows"] == 21
    assert not (alone.folder / "mediamill-out").exists()
    printed = alone.ok("run", "m.jsonl", "--task", "caption", "--out", "o", "--print-job")
    assert "task: caption" in printed


@pytest.mark.parametrize("module", ["mediamill, orchestration.cli", "orchestration.worker"])
def test_client_and_worker_import_no_engine_and_no_codec(module: str) -> None:
    """An engine is loaded when it is known, and codecs in decode processes alone."""
    assert _loaded(module, "torch", "vllm", "transformers", "av", "PIL") == ""


@pytest.mark.parametrize("module", ["mediamill", "orchestration.cli"])
def test_who_asks_no_broker_loads_none(module: str) -> None:
    assert _loaded(module, "celery", "kombu", "redis") == ""


def _loaded(module: str, *others: str) -> str:
    """Which others a process has loaded once it has imported the module."""
    code = f"import sys, {module}; print(*sorted({set(others)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_status_json_is_one_document(alone: Mill) -> None:
    failed = alone.run("status", "nowhere", "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["error"]["type"] == "NoSuchJob"
