"""One tiny model on the real vLLM for all tests of a session: a process holds one engine."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.tiny import build
from workers.engine import EngineOptions
from workers.vllm_engine import VllmEngine, load_engine


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """The tiny model's checkpoint."""
    return build.CHECKPOINT


@pytest.fixture(scope="session")
def engine(tiny_folder: Path) -> Iterator[VllmEngine]:
    """The tiny model, loaded on the CPU."""
    before = dict(os.environ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's and PyTorch's own, while they are imported
        engine = load_engine(str(tiny_folder), "tiny", EngineOptions(), device="cpu")
    yield engine
    engine.close()
    # Commands that tests start must not inherit what vLLM set for this process.
    os.environ.clear()
    os.environ.update(before)
