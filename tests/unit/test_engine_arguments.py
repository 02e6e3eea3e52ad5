"""What vLLM is started with, on CPUs and on GPUs; without vLLM and without GPUs."""

from __future__ import annotations

import json
import logging
import sys
import types
from pathlib import Path
from typing import Any, cast

import pytest

from jobs.catalog import published_config
from storage.errors import InvalidJob
from workers.arguments import engine_arguments
from workers.engine import engine_options
from workers.fitting import USUAL, Gpus
from workers.prompts import Prompts
from workers.vllm_engine import find_gpus


class SomePrompts:
    """What the arguments need of a checkpoint's prompts."""

    abilities = frozenset({"image", "video"})
    context = 262_144


def arguments(folder: Path, device: Any, gpus: Gpus | None = None, **given: Any) -> dict[str, Any]:
    prompts = cast("Prompts", SomePrompts())
    options = engine_options(given)
    found = find_gpus if gpus is None else lambda: gpus
    return engine_arguments(str(folder), prompts, options, device, model="m@r", gpus=found)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(published_config("31B")))
    return tmp_path


def test_a_gpu_decides_what_is_not_given(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = arguments(large, "cuda", Gpus(2, USUAL[80]))
    assert (found["tensor_parallel_size"], found["max_model_len"]) == (2, 32768)
    assert found["limit_mm_per_prompt"] == {"image": 32, "video": 1}
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        found = arguments(large, "cuda", Gpus(1, USUAL[80]))
    assert (found["tensor_parallel_size"], found["max_model_len"]) == (1, 8192)
    assert found["limit_mm_per_prompt"] == {"image": 16, "video": 1}
    assert "m@r is tight on 1 GPU of 80 GiB: max_model_len 8,192" in caplog.text


def test_what_was_given_stands(large: Path) -> None:
    given: dict[str, Any] = {
        "max_model_len": 4000,
        "limit_mm_per_prompt": {"image": 3},
        "seed": 5,
        "tensor_parallel_size": 4,
    }
    found = arguments(large, "cuda", Gpus(8, USUAL[80]), **given)
    assert {name: found[name] for name in given} == given | {
        "limit_mm_per_prompt": {"image": 3, "video": 1}
    }


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_ours_is_not_told_to_vllm(large: Path, device: Any) -> None:
    found = arguments(large, device, Gpus(8, USUAL[80]), together=16, renderer_num_workers=3)
    assert not {"together", "renderer_num_workers"} & set(found)


def test_what_does_not_fit_is_refused_before_anything_is_loaded(large: Path) -> None:
    with pytest.raises(InvalidJob, match=r"model m@r does not fit 1 GPU of 22 GiB"):
        arguments(large, "cuda", Gpus(1, USUAL[24]))


def test_cpus_are_not_asked_for_their_gpus(large: Path) -> None:
    found = arguments(large, "cpu", max_num_seqs=3)
    assert (found["max_model_len"], found["max_num_seqs"]) == (8192, 3)
    assert "tensor_parallel_size" not in found


def test_the_smallest_gpu_counts(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = [USUAL[80], USUAL[40], USUAL[80], USUAL[80]]
    platform = types.SimpleNamespace(
        device_count=lambda: len(memory), get_device_total_memory=memory.__getitem__
    )
    module = types.SimpleNamespace(current_platform=platform)
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.platforms", cast("types.ModuleType", module))
    assert arguments(large, "cuda")["tensor_parallel_size"] == 4
    memory.clear()
    with pytest.raises(InvalidJob, match="no GPU is to be seen here"):
        arguments(large, "cuda")
