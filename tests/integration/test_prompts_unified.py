"""The 12B has no encoders, a processor of its own, and a template that closes the thought: its
prompts are transformers' own too. No parameters are needed for that, and no engine."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.tiny import build
from tests.integration.conversations import KINDS, conversations
from tests.integration.parity import Handed, differences, expected, taken_apart
from workers.engine import Request
from workers.prompts import Prompts
from workers.towers import without_padding

SEED = 12
NO_THOUGHT = "<|channel>thought\n<channel|>"


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's files as the 12B's are, but for parameters."""
    folder = tmp_path_factory.mktemp("unified")
    build.write_files(folder)

    def config(value: dict[str, Any]) -> None:
        value["architectures"] = ["Gemma4UnifiedForConditionalGeneration"]
        value["model_type"] = "gemma4_unified"
        text = value["text_config"]
        text |= {"model_type": "gemma4_unified_text", "num_kv_shared_layers": 0}
        text["use_double_wide_mlp"] = False
        for name in ("hidden_size_per_layer_input", "vocab_size_per_layer_input"):
            del text[name]
        value["vision_config"] = {
            "model_type": "gemma4_unified_vision",
            "patch_size": 16,
            "pooling_kernel_size": 3,
            "num_soft_tokens": 280,
        }
        value["audio_config"] = {"model_type": "gemma4_unified_audio"}

    def processor(value: dict[str, Any]) -> None:
        value["processor_class"] = "Gemma4UnifiedProcessor"
        value["image_processor"]["image_processor_type"] = "Gemma4UnifiedImageProcessor"
        value["video_processor"]["video_processor_type"] = "Gemma4UnifiedVideoProcessor"
        kind = "Gemma4UnifiedAudioFeatureExtractor"
        value["feature_extractor"] = {"feature_extractor_type": kind}

    edit(folder / "config.json", config)
    edit(folder / "processor_config.json", processor)
    template = folder / "chat_template.jinja"
    opening = "{{- '<|turn>model\\n' -}}"
    closed = "{%- if not thinking -%}{{- '<|channel>thought\\n<channel|>' -}}{%- endif -%}"
    text = template.read_text()
    assert text.count(opening) == 1
    template.write_text(text.replace(opening, opening + closed))
    return folder


@pytest.fixture(scope="module")
def hand(folder: Path) -> Iterator[Callable[[Request], Handed]]:
    """Gives what vLLM's renderer makes of a request of ours. Asserts that its tokens were told."""
    before = dict(os.environ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's and PyTorch's own, while they are imported
        from vllm.engine.arg_utils import EngineArgs
        from vllm.renderers import renderer_from_config

        limit = {"image": 32, "audio": 20, "video": 1}
        arguments = {"dtype": "float32", "mm_processor_cache_gb": 0, "limit_mm_per_prompt": limit}
        renderer = renderer_from_config(
            EngineArgs(
                model=str(folder), max_model_len=8192, enforce_eager=True, **arguments
            ).create_engine_config()
        )
    prompts = Prompts(str(folder))
    assert prompts.unified
    tokenize = renderer.default_cmpl_tok_params.with_kwargs(add_special_tokens=False)

    def hand(request: Request) -> Handed:
        [made] = renderer.render_cmpl([prompts.inputs(request.prompt, request.piece)], tokenize)
        without_padding(made)
        handed = taken_apart(made)
        assert len(handed.ids) == prompts.count(request.prompt, request.piece)
        rendered = prompts.render(request.prompt, request.piece)
        closed = not (request.prompt.thinking or request.prompt.raw)
        assert rendered.endswith(NO_THOUGHT) == closed
        return handed

    yield hand
    renderer.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(folder)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_conversation_is_to_vllm_what_it_is_to_transformers(
    hand: Callable[[Request], Handed], processor: Any, kind: str
) -> None:
    unequal = {}
    for request in conversations(kind, 10, SEED):
        found = differences(hand(request), expected(processor, request))
        if found:
            unequal[request.id] = found
    assert unequal == {}
