"""Full-size Gemma 4 folders without weights: `python -m benchmarks.dummies E2B FOLDER`.

The network is the published one; vLLM fills it with random numbers (`load_format=dummy`),
so that speed can be measured where no weights are. The tokenizer is a stand-in with
all ids of the real one: prompts are of another length than with the real one, the same for
everybody who is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from jobs.catalog import published_config
from models.tiny.build import CHECKPOINT

VOCABULARY = 262_144
#: Where the model's special tokens lie.
SPECIAL = {
    "<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3,
    "<|tool>": 46, "<tool|>": 47, "<|tool_call>": 48, "<tool_call|>": 49,
    "<|tool_response>": 50, "<tool_response|>": 51, '<|"|>': 52,
    "<|think|>": 98, "<|channel>": 100, "<channel|>": 101, "<|turn>": 105, "<turn|>": 106,
    "<|image>": 255_999, "<|audio>": 256_000, "<|image|>": 258_880, "<|audio|>": 258_881,
    "<image|>": 258_882, "<audio|>": 258_883, "<|video|>": 258_884,
}  # fmt: skip
_STOPS = [1, 106, 50]


def shared_folder(size: str) -> Path:
    """The folder of a size for all who measure on this machine, made by whoever comes first.

    In the same place each time: compiled graphs are kept under the path of their model.
    """
    folder = Path(tempfile.gettempdir()) / "mediamill-dummies" / size
    if not folder.exists():
        made = make_folder(size, folder.with_name(f"{size}.{os.getpid()}"))
        with contextlib.suppress(OSError):  # another was first
            made.rename(folder)
    return folder


def make_folder(size: str, folder: Path) -> Path:
    """Write the files of a size ("E2B", "E4B", "12B", "26B-A4B", "31B") into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _json(folder / "config.json", config(size))
    _json(folder / "generation_config.json", {"eos_token_id": _STOPS, "bos_token_id": 2})
    for name in ("processor_config.json", "chat_template.jinja"):
        shutil.copyfile(CHECKPOINT / name, folder / name)
    names = {
        "image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>",
        "audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>",
        "video_token": "<|video|>", "bos_token": "<bos>", "eos_token": "<eos>",
        "pad_token": "<pad>", "unk_token": "<unk>",
    }  # fmt: skip
    _json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "left", **names},
    )
    (folder / "tokenizer.json").write_text(_tokenizer())
    return folder


def config(size: str) -> dict[str, Any]:
    """The config.json of a size, with what engines read of it."""
    known = published_config(size)
    tokens = {
        "image_token_id": SPECIAL["<|image|>"], "boi_token_id": SPECIAL["<|image>"],
        "eoi_token_id": SPECIAL["<image|>"], "audio_token_id": SPECIAL["<|audio|>"],
        "boa_token_id": SPECIAL["<|audio>"], "eoa_token_id": SPECIAL["<audio|>"],
        "eoa_token_index": SPECIAL["<audio|>"], "video_token_id": SPECIAL["<|video|>"],
    }  # fmt: skip
    unified = known["model_type"] == "gemma4_unified"
    whole = known | tokens | {
        "architectures": [
            "Gemma4UnifiedForConditionalGeneration" if unified else "Gemma4ForConditionalGeneration"
        ],
        "dtype": "bfloat16",
        "eos_token_id": _STOPS,
        "tie_word_embeddings": True,
    }  # fmt: skip
    if known.get("vision_config"):
        whole["vision_config"] = known["vision_config"] | {"default_output_length": 280}
    return whole


def _tokenizer() -> str:
    """Words in a table, as many as the model has ids; what is not in it is `<unk>`."""
    words = dict(SPECIAL)
    taken = set(words.values())
    common = iter(_common())
    vocabulary = dict(words)
    for number in range(VOCABULARY):
        if number not in taken:
            vocabulary[next(common, f"w{number}")] = number
    added = [
        {"id": number, "content": name, "special": True, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}
        for name, number in sorted(words.items(), key=lambda item: item[1])
    ]  # fmt: skip
    return json.dumps(
        {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": None, "post_processor": None, "decoder": None,
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"\w+|\W"},
                              "behavior": "Isolated", "invert": False},
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
        }
    )  # fmt: skip


def _common() -> list[str]:
    """Words of the tasks' prompts, so that they are not all unknown."""
    from jobs.tasks.caption import IMAGE_PROMPT

    return sorted({*IMAGE_PROMPT.split(), *map(chr, range(32, 127)), "\n", "user", "model"})


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.dummies SIZE FOLDER")
    print(make_folder(sys.argv[1], Path(sys.argv[2])))
