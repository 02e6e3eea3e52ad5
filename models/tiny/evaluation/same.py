"""Whether transformers gives the very answers that vLLM gave, both greedy and in float32."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from jobs.pieces import MediaInfo, Piece
from jobs.spec import check_options
from jobs.tasks import get_task
from jobs.tasks.base import Prompt, Row
from models.tiny.evaluation.items import Answered, Score
from models.tiny.evaluation.kinds import Kind, Measure
from models.tiny.tokenizer import STOP
from workers.images import decode_image
from workers.prompts import messages
from workers.streams import decode_streams

#: Kinds whose rows hold several media or windows.
SEVERAL = ("several", "long")
SAME = Measure("the same greedy answer from transformers", lambda _: Score(0.0, 0), 0.98)


def compare(
    model: str, asked: Sequence[tuple[Kind, Path, Sequence[Answered]]], count: int, seed: int
) -> Score:
    """The share of `count` answers, of all kinds alike, that transformers gives too.

    `asked` has each kind, the folder of its media, and its records, made in float32.
    Rows of several media or windows are left out.
    Details: the share by task.
    """
    judge = Judge(model)
    # On so small a model the threads of two cores wait for each other: one is thrice as fast.
    torch.set_num_threads(1)
    right: dict[str, list[bool]] = {}
    for kind, folder, answer in _chosen(asked, count, seed):
        pieces = _pieces(kind, folder, answer)
        if len(pieces) == 1:
            given = judge.answer(*pieces[0])
            right.setdefault(kind.task, []).append(given == answer.raw)
    every = [same for task in right.values() for same in task]
    shares = {task: sum(found) / len(found) for task, found in sorted(right.items())}
    return Score(sum(every) / max(1, len(every)), len(every), {**shares})


def _chosen(
    asked: Sequence[tuple[Kind, Path, Sequence[Answered]]], count: int, seed: int
) -> Iterator[tuple[Kind, Path, Answered]]:
    """Items taken from each kind in turn, so that a small kind gives all it has."""
    rng = random.Random(f"same/{seed}")  # noqa: S311
    piles = [(k, f, rng.sample(list(a), len(a))) for k, f, a in asked if k.name not in SEVERAL]
    left = count
    while left and any(pile for _, _, pile in piles):
        for kind, folder, pile in piles:
            if pile and left:
                left -= 1
                yield kind, folder, pile.pop()


def _pieces(kind: Kind, folder: Path, answer: Answered) -> list[tuple[Piece, Prompt]]:
    """What the pipeline decoded of the row's medium, and what it asked."""
    task = get_task(kind.task)
    columns = {
        name: answer.record[name]
        for name in kind.from_columns
        if answer.record.get(name) is not None
    }
    options = check_options(task, {**kind.options, **columns}, ())
    path = folder / Path(answer.record["uri"]).name
    reading = task.reading(options, frozenset({"image", "video", "audio"}))
    picture = path.suffix in (".png", ".jpg")
    items = decode_image(path, reading, 0) if picture else decode_streams(str(path), reading, 0)
    row = Row(answer.record["row_id"], (str(path),), {})
    return [
        (item, task.prompt(row, item, options)) for item in items if not isinstance(item, MediaInfo)
    ]


class Judge:
    """transformers' own model and processor of the checkpoint, in float32 on the CPU."""

    def __init__(self, model: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, while they are imported
            from transformers import AutoProcessor, Gemma4ForConditionalGeneration
            from transformers.utils import logging

            logging.set_verbosity_error()
            logging.disable_progress_bar()
            self._processor: Any = AutoProcessor.from_pretrained(model)
            self._model: Any = Gemma4ForConditionalGeneration.from_pretrained(
                model, dtype=torch.float32
            ).eval()
        tokenizer = self._processor.tokenizer
        self._stops = set(tokenizer.convert_tokens_to_ids(list(STOP)))

    def answer(self, piece: Piece, prompt: Prompt) -> str:
        """The greedy answer with its special tokens, but for the one that ends it."""
        inputs = self._inputs(piece, prompt)
        length = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            ids = self._model.generate(**inputs, do_sample=False, max_new_tokens=prompt.max_tokens)
        given = ids[0, length:].tolist()
        end = next((i for i, token in enumerate(given) if token in self._stops), len(given))
        return str(self._processor.tokenizer.decode(given[:end], skip_special_tokens=False))

    def _inputs(self, piece: Piece, prompt: Prompt) -> Any:
        turns = messages(prompt, piece)
        images, sounds = iter(piece.images), iter(piece.sounds)
        for part in turns[-1]["content"]:
            if part["type"] == "image":
                part["image"] = Image.fromarray(next(images))
            elif part["type"] == "video" and piece.clip is not None:
                part["video"] = piece.clip.frames
            elif part["type"] == "audio":
                part["audio"] = next(sounds)
        options: dict[str, Any] = {}
        if piece.images:
            options["images_kwargs"] = {"max_soft_tokens": prompt.image_tokens}
        if piece.clip is not None:
            facts = {
                "fps": piece.clip.fps,
                "frames_indices": list(piece.clip.indices),
                "total_num_frames": piece.clip.total_frames,
            }
            options["videos_kwargs"] = {"do_sample_frames": False, "video_metadata": [facts]}
        return self._processor.apply_chat_template(
            turns,
            tools=[dict(tool) for tool in prompt.tools] or None,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            enable_thinking=prompt.thinking,
            processor_kwargs=options,
        )
