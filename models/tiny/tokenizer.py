"""The tiny model's tokenizer: a byte-fallback BPE with Gemma 4's special tokens.

It lies beside this file, for a checkpoint fits none but the tokenizer that it was trained
with, and what the generators write may change. `python -m models.tiny.tokenizer` makes it
anew from their seeded text; a checkpoint trained before is then worth nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers.models import BPE

from models.tiny import answers, questions, scenes, sentences, signs
from models.tiny.words import VOCABULARY

#: Ids 0 to 3 are those of Gemma 4; the rest follow in this order.
SPECIAL: tuple[str, ...] = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>",
    "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>",
    "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>",
    '<|"|>',
    "<|image>", "<|image|>", "<image|>", "<|audio>", "<|audio|>", "<audio|>", "<|video|>",
)  # fmt: skip
IDS: dict[str, int] = {token: i for i, token in enumerate(SPECIAL)}
#: Generation ends on any of these.
STOP: tuple[str, ...] = ("<eos>", "<turn|>", "<|tool_response>")
#: Placeholders that only a prompt may hold; a model that generates one can't be fed back.
NEVER: tuple[str, ...] = (
    "<pad>", "<bos>", "<unk>", "<mask>", "<|turn>", "<|tool>", "<tool|>", "<|think|>",
    "<|image>", "<|image|>", "<image|>", "<|audio>", "<|audio|>", "<audio|>", "<|video|>",
)  # fmt: skip
VOCAB_SIZE = 1280
FILE = Path(__file__).with_name("tokenizer.json")
_SEED = 20261124

# What BPE may join: the frame of a box as one piece, single digits, a separator before
# a digit, a word with the space before it, and runs of marks.
_PIECES = Regex(
    r"```json\n\[|\n▁▁\{\"box_2d\":▁\[|\],▁\"label\":▁\"|\"\},?|\n?\]\n```"
    r"|\d|,▁(?=\d)|▁?[\p{L}']+|▁|\n+|[^\s\p{L}\d▁]+"
)


def load() -> Tokenizer:
    """The tiny model's tokenizer."""
    return Tokenizer.from_file(str(FILE))


def make() -> Tokenizer:
    """Train a tokenizer: 1,280 entries, of which 256 are bytes."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(_PIECES, "isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        show_progress=False,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=[chr(code) for code in range(33, 127)] + ["▁", "\n"],
        limit_alphabet=140,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    # Bytes were reserved as special entries to fix their ids; they are ordinary ones.
    fields = _plain_bytes(tokenizer)
    tokenizer = Tokenizer.from_str(fields)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", IDS["<bos>"])]
    )
    return tokenizer


def _plain_bytes(tokenizer: Tokenizer) -> str:
    fields: dict[str, Any] = json.loads(tokenizer.to_str())
    fields["added_tokens"] = [t for t in fields["added_tokens"] if t["content"] in IDS]
    return json.dumps(fields, ensure_ascii=False)


def config() -> dict[str, Any]:
    """What `tokenizer_config.json` says of it: which token is which."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 131072,
        "extra_special_tokens": {
            "image_token": "<|image|>",
            "boi_token": "<|image>",
            "eoi_token": "<image|>",
            "audio_token": "<|audio|>",
            "boa_token": "<|audio>",
            "eoa_token": "<audio|>",
            "video_token": "<|video|>",
            "sot_token": "<|turn>",
            "eot_token": "<turn|>",
            "soc_token": "<|channel>",
            "eoc_token": "<channel|>",
            "think_token": "<|think|>",
            "std_token": "<|tool>",
            "etd_token": "<tool|>",
            "stc_token": "<|tool_call>",
            "etc_token": "<tool_call|>",
            "str_token": "<|tool_response>",
            "etr_token": "<tool_response|>",
            "escape_token": '<|"|>',
        },
    }


def _corpus() -> Iterator[str]:
    """Seeded text of everything the model reads and writes, answers most of all."""
    rng = random.Random(_SEED)  # noqa: S311
    prompts = [
        questions.CAPTION,
        questions.CAPTION_SEVERAL,
        questions.CAPTION_VIDEO,
        questions.TRANSCRIBE.format(language="English"),
        questions.TRANSCRIBE_ORIGINAL,
        questions.ELEMENT.format(label="red circle"),
        *(text for texts in questions.REWORDED.values() for text in texts),
        "system\nuser\nmodel\nthought\n",
        "declaration:get_weather{description:,parameters:{properties:{city:{description:"
        "Name of the city,type:STRING}},required:[city],type:OBJECT}}",
        "call:get_weather{city:",
    ]
    for text in prompts:
        yield from [text] * 60
    for word in VOCABULARY:
        yield from (word, *[" " + word] * 3)
    for _ in range(6000):
        scene = scenes.draw_scene(rng)
        yield scenes.caption(scene)
        found = [
            (thing.label, answers.to_grid(thing.x, thing.y, thing.x + 9, thing.y + 9, 999, 999))
            for thing in scene.things
        ]
        yield answers.boxes(found[:3])
        yield questions.detect(rng, [label for label, _ in found[:2]])
        yield sentences.sentence(rng)
        yield signs.draw_text(rng)


if __name__ == "__main__":
    make().save(str(FILE), pretty=False)
