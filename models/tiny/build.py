"""Make a checkpoint folder of the tiny model untrained: `python -m models.tiny.build FOLDER`.

The folder loads like any Gemma 4 checkpoint. Its parameters are seeded and random;
training (`models.tiny.train`) starts from the same files and fills them in.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.tiny import architecture, tokenizer

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).parent
#: The trained one.
CHECKPOINT = HERE / "checkpoint"
#: Bytes of the larger shard at most, so that no file is over 15 MiB.
SHARD_BYTES = 14 * 2**20
SEED = 4


def build(folder: Path) -> Path:
    """Write the whole checkpoint with random parameters into `folder` and return it."""
    import torch

    from models.tiny.network import TinyGemma

    torch.manual_seed(SEED)
    write_files(folder)
    write_parameters(folder, TinyGemma().checkpoint())
    return folder


def write_files(folder: Path) -> None:
    """Write everything but the parameters: configs, tokenizer and chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    _json(folder / "config.json", architecture.config())
    _json(folder / "generation_config.json", architecture.generation_config())
    _json(folder / "processor_config.json", architecture.processor_config())
    _json(folder / "tokenizer_config.json", tokenizer.config())
    shutil.copyfile(tokenizer.FILE, folder / "tokenizer.json")
    shutil.copyfile(HERE / "template.jinja", folder / "chat_template.jinja")


def write_parameters(folder: Path, parameters: Mapping[str, torch.Tensor]) -> None:
    """Write the parameters as bfloat16 safetensors in two shards with an index."""
    import torch
    from safetensors.torch import save_file

    shards: list[dict[str, torch.Tensor]] = [{}, {}]
    sizes = [0, 0]
    index: dict[str, str] = {}
    for name, parameter in sorted(parameters.items(), key=lambda item: -item[1].numel()):
        tensor = parameter.detach().to("cpu", torch.bfloat16).contiguous()
        target = sizes.index(min(sizes))
        shards[target][name] = tensor
        sizes[target] += tensor.nbytes
        index[name] = f"model-{target + 1:05d}-of-00002.safetensors"
    if max(sizes) > SHARD_BYTES:
        raise ValueError(
            f"a shard of {max(sizes)} bytes is over {SHARD_BYTES}: make the model smaller"
        )
    for number, shard in enumerate(shards, 1):
        path = folder / f"model-{number:05d}-of-00002.safetensors"
        save_file(dict(sorted(shard.items())), path, metadata={"format": "pt"})
    _json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": sum(sizes)}, "weight_map": dict(sorted(index.items()))},
    )


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m models.tiny.build FOLDER")
    print(build(Path(sys.argv[1])))
