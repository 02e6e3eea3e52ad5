"""The training network against transformers: one set of weights, the same logits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoProcessor, Gemma4ForConditionalGeneration

from models.tiny import build, films
from models.tiny.network import TinyGemma
from models.tiny.pictures import as_image, patches
from models.tiny.sound import Features, soft_tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return AutoProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def judge(folder: Path) -> Any:
    model, info = Gemma4ForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model.eval()


@pytest.fixture(scope="module")
def network(folder: Path) -> TinyGemma:
    tensors: dict[str, torch.Tensor] = {}
    for path in folder.glob("model-*.safetensors"):
        tensors.update(load_file(path))
    model = TinyGemma()
    model.load_checkpoint({k: v.float() for k, v in tensors.items()})
    return model.eval()


def chat(processor: Any, part: dict[str, Any]) -> Any:
    content = [{"type": "text", "text": "what"}, part]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
    )


def read(network: TinyGemma, ids: torch.Tensor, soft: torch.Tensor, token: int) -> torch.Tensor:
    mask = ids == token
    return network.read(ids, soft, torch.where(mask, mask.cumsum(1) - 1, -1))


def test_files_stay_small(folder: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sum(sizes.values()) <= 28_000_000
    assert max(sizes.values()) <= 15 * 2**20


def test_pictures_give_the_same_logits(judge: Any, network: TinyGemma, processor: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 500, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    x = chat(processor, {"type": "image", "image": image})
    cut, grid = patches(image, 280)
    assert grid[0] * grid[1] == int((x["input_ids"] == processor.image_token_id).sum())
    theirs = x["pixel_values"][0, : grid[0] * grid[1] * 9].view(grid[1], 3, grid[0], 3, -1)
    theirs = theirs.permute(0, 2, 1, 3, 4).flatten(0, 3)
    ours = torch.from_numpy(cut[: len(theirs)]).float() / 255
    # Pillow and torchvision round differently while resizing.
    assert (ours - theirs).abs().max() < 2.5 / 255
    padded = torch.zeros(1, len(cut), ours.shape[1])
    padded[0, : len(theirs)] = theirs
    with torch.no_grad():
        soft = network.see(padded, torch.tensor([grid]))
        got = read(network, x["input_ids"], soft, processor.image_token_id)
        assert (got - judge(**x).logits).abs().max() < 1e-4


@pytest.mark.parametrize("seconds", [0.31, 3.05, 30.0])
def test_sound_gives_the_same_logits(
    judge: Any, network: TinyGemma, processor: Any, seconds: float
) -> None:
    samples = round(seconds * 16_000)
    wave = (np.random.default_rng(1).standard_normal(samples) * 0.1).astype(np.float32)
    x = chat(processor, {"type": "audio", "audio": wave})
    features, counts = Features(torch.device("cpu"))(
        torch.from_numpy(wave)[None], torch.tensor([samples])
    )
    count = int(counts)
    assert count == int(x["input_features_mask"].sum())
    assert (features[0, :count] - x["input_features"][0, :count]).abs().max() < 1e-4
    assert int((x["input_ids"] == processor.audio_token_id).sum()) == soft_tokens(samples)
    with torch.no_grad():
        soft = network.hear(features, counts)
        got = read(network, x["input_ids"], soft, processor.audio_token_id)
        assert (got - judge(**x).logits).abs().max() < 1e-4


def test_films_are_cut_up_as_the_processor_does(processor: Any) -> None:
    for seed in range(3):
        frames = films.frames(films.draw_film(random.Random(seed)))
        cut, grid = patches(as_image(frames[1]), films.BUDGET)
        count = grid[0] * grid[1] * 9
        x = processor.video_processor(
            [torch.from_numpy(frames).permute(0, 3, 1, 2)],
            do_sample_frames=False,
            return_tensors="pt",
        )
        assert int((x["video_position_ids"][1, :, 0] >= 0).sum()) == count
        theirs = x["pixel_values_videos"][1, :count].view(grid[1], 3, grid[0], 3, -1)
        theirs = theirs.permute(0, 2, 1, 3, 4).flatten(0, 3)
        ours = torch.from_numpy(cut[:count]).float() / 255
        assert (ours - theirs).abs().max() < 2.5 / 255
