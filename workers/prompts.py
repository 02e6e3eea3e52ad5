"""Requests in the form that Gemma 4 was trained on: the rendered prompt and its size in tokens.

The prompt comes from the checkpoint's own chat template; the size is computed with the
processor's formulas and without touching pixels, so that it can be asked of every request.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from jobs.pieces import (
    FRAME_TOKENS,
    MAX_AUDIO_S,
    MAX_FRAMES,
    SAMPLE_RATE,
    TOKEN_PIXELS,
    Clip,
    Piece,
)
from jobs.tasks.base import IMAGE_BUDGETS, Prompt
from storage.errors import InvalidJob, RowError

#: Samples in a soft token of the encoder-free models (40 ms). vLLM counts placeholders
#: wrongly for most other lengths (vllm#47652), so their sound is padded to a multiple.
UNIFIED_AUDIO_UNIT = 640
#: Samples of sound (20 ms) that make one frame at most: 10 ms make no token, and with a
#: single frame vLLM's audio tower loses a dimension, which ends the engine.
SHORTEST_SOUND = 320
#: An image is `upscaled` that was given more than so many times its own pixels: two steps
#: of budgets more than it is worth. Beyond, letters and edges are the scaler's invention.
UPSCALED = 4
#: What stands for a medium in a rendered prompt.
PLACEHOLDERS = ("<|image|>", "<|audio|>", "<|video|>")
#: How the format's own tokens are written, whatever a tokenizer says of them.
_MARK = re.compile(r"<\||\|>")


class Prompts:
    """Renders and measures requests for the checkpoint in folder `path`. Thread-safe."""

    def __init__(self, path: str) -> None:
        """Load tokenizer, template and configuration; raises InvalidJob if it is no Gemma 4."""
        # Here and not above: whoever only renders no prompts needs no transformers.
        from transformers import AutoConfig, AutoTokenizer

        try:
            config = AutoConfig.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise InvalidJob(f"model {path} cannot be read: {error}") from error
        self.unified = config.model_type == "gemma4_unified"
        if config.model_type not in ("gemma4", "gemma4_unified"):
            raise InvalidJob(f"model {path} is of type {config.model_type!r}, not a Gemma 4")
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        vision = config.vision_config
        self._patch: int = vision.patch_size
        self._pool: int = vision.pooling_kernel_size
        #: Longest prompt and answer that the model was made for, in tokens.
        self.context: int = config.text_config.max_position_embeddings
        self.abilities = frozenset(
            {"image", "video"} | ({"audio"} if config.audio_config else set())
        )
        # Not all added tokens: Gemma's are line breaks and HTML, too, which it reads as text.
        added = self._tokenizer.added_tokens_decoder.values()
        specials = {t.content for t in added if t.special or _MARK.search(t.content)}
        specials |= set(self._tokenizer.all_special_tokens)
        self._specials = re.compile("|".join(map(re.escape, sorted(specials, key=len)[::-1])))
        self._lock = threading.Lock()
        # Prompts repeat from row to row, timestamps from video to video.
        self._text_tokens: Callable[[str], int] = lru_cache(maxsize=4096)(self._count_text)

    def render(self, prompt: Prompt, piece: Piece) -> str:
        """The prompt with one placeholder a medium, and no special token out of its texts.

        Raises RowError("invalid_row") for a conversation with a checkpoint without a template.
        """
        prompt = replace(
            prompt,
            text=self._plain(prompt.text),
            system=self._plain(prompt.system),
            tools=self._plain(prompt.tools),
        )
        if prompt.raw:
            return f"{self._tokenizer.bos_token}{_placeholders(piece)}{prompt.text}"
        if not self._tokenizer.chat_template:
            raise RowError(
                "invalid_row",
                "the model has no chat template, as base checkpoints have none; "
                "it can be asked with prompt_format=raw alone",
            )
        with self._lock:
            rendered = self._tokenizer.apply_chat_template(
                messages(prompt, piece),
                tools=[dict(tool) for tool in prompt.tools] or None,
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=prompt.thinking,
            )
        return str(rendered)

    def inputs(self, prompt: Prompt, piece: Piece) -> dict[str, Any]:
        """The request as vLLM takes it: rendered prompt, media, and how to process them."""
        data: dict[str, Any] = {}
        inputs: dict[str, Any] = {"prompt": self.render(prompt, piece)}
        if piece.images:
            from PIL import Image

            data["image"] = [Image.fromarray(image) for image in piece.images]
            inputs["mm_processor_kwargs"] = {
                "images_kwargs": {"max_soft_tokens": prompt.image_tokens}
            }
        if piece.clip is not None:
            metadata = {
                "fps": piece.clip.fps,
                "frames_indices": list(piece.clip.indices),
                "total_num_frames": piece.clip.total_frames,
                "duration": piece.clip.total_frames / piece.clip.fps,
                "do_sample_frames": False,
            }
            data["video"] = [(piece.clip.frames, metadata)]
        if piece.sounds:
            data["audio"] = [(self.sound(sound), SAMPLE_RATE) for sound in piece.sounds]
        if data:
            inputs["multi_modal_data"] = data
        return inputs

    def count(self, prompt: Prompt, piece: Piece) -> int:
        """Tokens of the prompt with its media, exactly."""
        tokens = self._text_tokens(self.render(prompt, piece))
        # Each placeholder's one token becomes an opening, the soft tokens and a closing.
        for image in piece.images:
            height, width = image.shape[:2]
            tokens += 1 + self.image_tokens(width, height, prompt.image_tokens)
        if piece.clip is not None:
            tokens += self._clip_tokens(piece.clip) - 1
        for sound in piece.sounds:
            tokens += 1 + self.audio_tokens(len(self.sound(sound)))
        return tokens

    def image_tokens(self, width: int, height: int, budget: int) -> int:
        """Soft tokens of an image of these pixels under a budget of soft tokens."""
        return soft_tokens(width, height, budget, self._patch, self._pool)

    def audio_tokens(self, samples: int) -> int:
        """Soft tokens of this many samples at 16 kHz: 20 ms frames every 10 ms, halved twice."""
        hop, frame = SAMPLE_RATE // 100, SAMPLE_RATE // 50
        frames = (samples + frame // 2 - (frame + 1)) // hop + 1
        return max(0, (frames + 3) // 4)

    def sound(self, audio: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, Any]:
        """The samples as this model takes them. Raises RowError for too few or too many."""
        if len(audio) > MAX_AUDIO_S * SAMPLE_RATE:
            raise RowError(
                "too_long",
                f"{len(audio) / SAMPLE_RATE:.2f} s of sound in one request; the model hears "
                f"{MAX_AUDIO_S:.0f} s and would lose the rest",
            )
        if len(audio) <= SHORTEST_SOUND:
            raise RowError("empty", f"{len(audio)} samples of sound are too few to hear")
        short = -len(audio) % UNIFIED_AUDIO_UNIT
        return np.pad(audio, (0, short)) if self.unified and short else audio

    def _plain(self, text: Any) -> Any:
        """The text, or the values of a JSON document, with no special token of the tokenizer.

        Texts come from manifests, and `<turn|>` in one would end its turn. A character that
        nobody sees keeps its letters from becoming that token.
        """
        if isinstance(text, str):
            return self._specials.sub(lambda found: f"{found[0][0]}\u200b{found[0][1:]}", text)
        if isinstance(text, Mapping):
            return {self._plain(name): self._plain(value) for name, value in text.items()}
        if isinstance(text, list | tuple):
            return type(text)(self._plain(value) for value in text)
        return text

    def _clip_tokens(self, clip: Clip) -> int:
        frames, height, width = clip.frames.shape[:3]
        if frames > MAX_FRAMES:
            raise RowError("too_long", f"{frames} frames in one request; it holds {MAX_FRAMES}")
        soft = self.image_tokens(width, height, FRAME_TOKENS)
        text = sum(
            self._text_tokens(f"{' ' if number else ''}{timestamp(index / clip.fps)} ")
            for number, index in enumerate(clip.indices)
        )
        return int(text + frames * (soft + 2))

    def _count_text(self, text: str) -> int:
        with self._lock:
            return len(self._tokenizer.encode(text, add_special_tokens=False))


def soft_tokens(width: int, height: int, budget: int, patch: int = 16, pool: int = 3) -> int:
    """Soft tokens of an image of these pixels under a budget; patches and pooling are the
    same in all of Gemma 4.

    As in transformers and vLLM: scaled to the budget with its aspect ratio kept, each
    side down to a multiple of patch times pooling, at least one.
    """
    unit = patch * pool
    patches = (height / patch) * (width / patch)
    scale = math.sqrt(budget * pool * pool / patches)
    rows = max(1, math.floor(height * scale / unit))
    columns = max(1, math.floor(width * scale / unit))
    return min(rows * columns, budget)


def blown_up(width: int, height: int, budget: int) -> bool:
    """Whether the processor makes an image `UPSCALED` times as large, and less would do.

    The least budget makes small images larger still, and there is nothing to be done
    about that. So `auto` never blows one up.
    """
    if budget <= IMAGE_BUDGETS[0]:
        return False
    return soft_tokens(width, height, budget) * TOKEN_PIXELS > UPSCALED * width * height


def messages(prompt: Prompt, piece: Piece) -> list[dict[str, Any]]:
    """The conversation as chat templates take it: images and video, then text, then sound."""
    content: list[dict[str, str]] = [{"type": "image"} for _ in piece.images]
    if piece.clip is not None:
        content.append({"type": "video"})
    content.append({"type": "text", "text": prompt.text})
    content += [{"type": "audio"} for _ in piece.sounds]
    turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if prompt.system is not None:
        turns.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    return turns


def _placeholders(piece: Piece) -> str:
    """A placeholder for each medium: images, video, sounds."""
    image, audio, video = PLACEHOLDERS
    film = "" if piece.clip is None else video
    return image * len(piece.images) + film + audio * len(piece.sounds)


def timestamp(seconds: float) -> str:
    """`mm:ss`, cut to whole seconds, as it stands before each frame of a video."""
    return f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"
