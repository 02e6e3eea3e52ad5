"""The peers of the GPU benchmark, as far as they need no model: what is asked, what is counted."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import naive, peers, ray_data, run_batch
from benchmarks.corpus import photograph
from benchmarks.engine import decode
from benchmarks.gpu import SIDES

ROWS = [{"id": f"{number:06}", "max_tokens": 32 + number} for number in range(40)]


def answered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "id": row["id"],
            "prompt_tokens": 10,
            "output_tokens": row["max_tokens"],
            "finished_at": 100.0 + number,
        }
        for number, row in enumerate(rows)
    ]


def spec(tmp_path: Path, **other: Any) -> dict[str, Any]:
    manifest = tmp_path / "manifest.jsonl"
    rows = [{"id": "a", "uri": "a.jpg", "max_tokens": 40}, {"id": "b", "uri": "b.flac"}]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"manifest": str(manifest), "model": "m", "text": "Say.", "image_tokens": 70} | other


def test_every_side_is_a_module() -> None:
    assert {"naive", "run-batch", "ray"} <= set(SIDES)
    assert all(importlib.util.find_spec(module) for module, _ in SIDES.values())


def test_a_side_that_answers_every_row_as_asked_is_counted() -> None:
    line = peers.figures(ROWS, answered(ROWS)[::-1], start=50.0, end=150.0, start_s=7.0)

    assert line["rows"] == 40
    assert line["seconds"] == 100.0
    assert line["prompt_tokens"] == 400
    assert line["output_tokens"] == sum(row["max_tokens"] for row in ROWS)
    assert line["start_s"] == 7.0
    assert line["tail"] == 0.02  # the last 2 of 40 finished within 2 of 100 s


def test_a_side_that_does_other_work_is_refused() -> None:
    short, lost, strange = answered(ROWS), answered(ROWS)[1:], answered(ROWS)
    short[3]["output_tokens"] -= 1
    strange[0]["id"] = "other"
    twice = [*answered(ROWS)[:-1], answered(ROWS)[0]]

    for answers in (short, lost, strange, twice):
        with pytest.raises(SystemExit, match="40 rows"):
            peers.figures(ROWS, answers, start=0.0, end=1.0, start_s=0.0)


def test_an_answer_is_held_to_its_length() -> None:
    asked = peers.sampling({"max_tokens": 77})

    assert asked["max_tokens"] == asked["min_tokens"] == 77
    assert asked["ignore_eos"] is True


def test_plain_arguments_are_only_what_was_given_on_a_gpu(tmp_path: Path) -> None:
    given = spec(tmp_path, device="cuda", arguments={"load_format": "dummy"})

    assert peers.plain_arguments(given) == {"load_format": "dummy"}


def test_plain_arguments_start_on_a_cpu(tmp_path: Path) -> None:
    given = spec(tmp_path, device="cpu", arguments={"max_num_seqs": 3})
    given["model"] = "models/tiny/checkpoint"

    found = peers.plain_arguments(given)

    assert found["enforce_eager"] is True
    assert found["max_num_seqs"] == 3


def test_a_batch_line_names_the_file_in_the_order_of_training(tmp_path: Path) -> None:
    given = spec(tmp_path)
    picture, sound = peers.read_rows(given)
    sound["max_tokens"] = 50

    lines = [run_batch.batch_line(row, given) for row in (picture, sound)]

    contents = [line["body"]["messages"][0]["content"] for line in lines]
    assert [part["type"] for part in contents[0]] == ["image_url", "text"]
    assert [part["type"] for part in contents[1]] == ["text", "audio_url"]
    assert contents[0][0]["image_url"]["url"] == f"file://{tmp_path / 'a.jpg'}"
    assert lines[1]["custom_id"] == "b"
    assert lines[1]["body"]["min_tokens"] == 50


def test_engine_arguments_become_flags() -> None:
    found = run_batch.flags(
        {"enforce_eager": True, "enable_prefix_caching": False, "load_format": "dummy",
         "kernel_config": {"enable_cutedsl_warmup": False}}
    )  # fmt: skip

    assert found == [
        "--enforce-eager",
        "--no-enable-prefix-caching",
        "--load-format=dummy",
        '--kernel-config={"enable_cutedsl_warmup": false}',
    ]


def test_a_request_that_failed_stops_the_batch_side() -> None:
    good = {
        "custom_id": "a",
        "error": None,
        "response": {
            "status_code": 200,
            "body": {"usage": {"prompt_tokens": 5, "completion_tokens": 40}},
        },
    }
    bad = {"custom_id": "b", "error": {"message": "no"}, "response": {"status_code": 500}}

    assert list(run_batch.answers(json.dumps(good))) == [
        {"id": "a", "prompt_tokens": 5, "output_tokens": 40}
    ]
    with pytest.raises(SystemExit, match="row b failed"):
        list(run_batch.answers(f"{json.dumps(good)}\n{json.dumps(bad)}\n"))


def test_the_gate_holds_all_but_what_warms_up(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    gate = ray_data.Gate(str(opened))

    async def through(warm: list[bool]) -> dict[str, Any]:
        return await anext(gate({"warm": warm}))

    async def both() -> None:
        held = asyncio.create_task(through([False, False]))
        assert await through([True, True]) == {"warm": [True, True]}
        await asyncio.sleep(0)
        assert not held.done()
        opened.touch()
        assert await asyncio.wait_for(held, 10) == {"warm": [False, False]}

    asyncio.run(both())


def test_what_warms_up_is_another_file_of_the_same_size(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    path = tmp_path / photograph(tmp_path, 4)

    copy = Path(ray_data.warm_copy(str(path), copies))

    with Image.open(path) as one, Image.open(copy) as other:
        before, after = (np.asarray(image, np.int16) for image in (one, other))
    assert np.abs(before - after).mean() > 10
    assert np.abs(before[:, ::-1] - after).mean() < 3


def test_a_sound_that_warms_up_is_as_long(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.arange(-8000, 8000, dtype=np.int16).tobytes())
    copies = tmp_path / "copies"
    copies.mkdir()

    copy = ray_data.warm_copy(str(path), copies)

    before, after = (decode(Path(p))["audio"][0][0] for p in (path, copy))
    assert len(before) == len(after) == 16_000
    np.testing.assert_allclose(before[::-1], after, atol=1e-4)


def test_ray_is_asked_with_the_same_pixels_and_lengths(tmp_path: Path) -> None:
    path = tmp_path / photograph(tmp_path, 4)
    row = {"id": "a", "path": str(path), "max_tokens": 60, "warm": False}

    asked = ray_data.preprocess(row, "Say.", 70)

    assert [part["type"] for part in asked["messages"][0]["content"]] == ["image", "text"]
    assert asked["multimodal_data"]["image"][0].size == (640, 480)
    assert asked["mm_processor_kwargs"] == {"images_kwargs": {"max_soft_tokens": 70}}
    assert asked["sampling_params"]["min_tokens"] == 60


def test_ray_tells_of_rows_that_warmed_up_alone(tmp_path: Path) -> None:
    row = {
        "id": "a", "uri": "a.jpg", "warm": True, "generated_text": "x",
        "num_input_tokens": 9, "num_generated_tokens": 40,
    }  # fmt: skip

    ray_data.postprocess(row, str(tmp_path))
    written = ray_data.postprocess({**row, "id": "b", "warm": False}, str(tmp_path))

    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (written["prompt_tokens"], written["output_tokens"]) == (9, 40)


def test_naive_tasks_reach_the_model_of_their_process() -> None:
    class Scripted(naive.Annotator):
        def __init__(self) -> None:
            self.asked: list[Any] = []

        def forget(self) -> None:
            self.asked.append("forget")

        def alone(self, started: float) -> list[dict[str, Any]]:
            return [{"start_s": started}]

        def annotate(self, rows: list[dict[str, Any]], out: str) -> int:
            self.asked.append((len(rows), out))
            return len(rows)

    model = Scripted()
    app = naive.make_app("redis://127.0.0.1:1/0", model)
    app.conf.update(task_always_eager=True)

    app.tasks["forget"].delay()
    # The engine of `raw+naive` is measured by itself as well.
    assert app.tasks["alone"].delay(7.0).result == [{"start_s": 7.0}]
    # Not `get`, which Celery forbids in a process that has been a worker, as other tests are.
    assert app.tasks["annotate"].delay(ROWS[:32], "out.parquet").result == 32

    assert model.asked == ["forget", (32, "out.parquet")]
