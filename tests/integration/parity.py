"""What vLLM is handed for a request, and what transformers' own processor makes of the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from PIL import Image

from workers.engine import Request
from workers.vllm_engine import VllmEngine

#: One rounding of a float32 below 1.
ROUNDING = 2**-24
#: As transformers' `mm_token_type_ids` tell soft tokens of each medium apart.
TYPES = {"image": 1, "video": 2, "audio": 3}


@dataclass(frozen=True)
class Handed:
    """A request as a model is given it.

    `ids` are the prompt's tokens, `types` the medium of each soft token (0: none). By kind
    of medium, `media` has each one's tensors by name, in the order of the placeholders.
    """

    ids: list[int]
    types: list[int]
    media: dict[str, list[dict[str, torch.Tensor]]] = field(default_factory=dict)


class _Recorder:
    """A runtime that keeps what it is handed, and answers at once with nothing."""

    def __init__(self, engine: VllmEngine) -> None:
        self.engine = engine._runtime.engine
        self.prepared: dict[str, Any] = {}
        self._in_flight = engine._in_flight

    def add(self, key: str, prepared: Any, params: Any) -> None:
        self.prepared[key.partition(":")[2]] = prepared
        nothing = SimpleNamespace(finish_reason="length", text="", token_ids=[])
        told = SimpleNamespace(prompt_token_ids=prepared["prompt_token_ids"], outputs=[nothing])
        self._in_flight.finished(key, told)

    def abort(self, key: str) -> None:
        raise AssertionError("nothing is taken back here")

    def close(self) -> None:
        raise AssertionError("the engine outlives the recorder")


@contextmanager
def recording(engine: VllmEngine) -> Iterator[dict[str, Any]]:
    """What the engine hands to vLLM meanwhile, by the request's id. No token is generated.

    vLLM ends with rounding media to the model's own type, which might be half of float32;
    here every bit is kept.
    """
    recorder, runtime = _Recorder(engine), engine._runtime
    config = recorder.engine.vllm_config.model_config
    with mock.patch.object(config, "dtype", torch.float32):
        engine._runtime = recorder
        try:
            yield recorder.prepared
        finally:
            engine._runtime = runtime


def handed(engine: VllmEngine, request: Request) -> Handed:
    """What vLLM is handed for this request. Asserts that `measure` foretold its tokens."""
    foretold = engine.measure(request) - request.prompt.max_tokens
    with recording(engine) as prepared:
        completion = engine.submit(request).result(120)
    assert completion.prompt_tokens == foretold
    [made] = prepared.values()
    return taken_apart(made)


def taken_apart(made: Any) -> Handed:
    """What vLLM's renderer made, as a model is given it."""
    ids = list(made["prompt_token_ids"])
    types = [0] * len(ids)
    for kind, places in made.get("mm_placeholders", {}).items():
        assert places == sorted(places, key=lambda place: place.offset)
        for place in places:
            mask = [True] * place.length if place.is_embed is None else place.is_embed.tolist()
            for at, soft in enumerate(mask, place.offset):
                types[at] = TYPES[kind] if soft else types[at]
    media = {
        kind: [{name: _tensor(part.data) for name, part in item.items()} for item in items]
        for kind, items in made.get("mm_kwargs", {}).items()
    }
    return Handed(ids, types, media)


def expected(processor: Any, request: Request) -> Handed:
    """What transformers' processor makes of the same conversation.

    The conversation is put together here, as Google's documentation has it: images and
    films before the text, sounds after it. A film with one sound is given as
    `load_audio_from_video` takes it. A raw prompt is all media, then the text.
    """
    prompt, piece = request.prompt, request.piece
    asked = _asked(request)
    images = [Image.fromarray(image) for image in piece.images]
    films = [] if piece.clip is None else [piece.clip.frames]
    if prompt.raw:
        media: dict[str, list[Any]] = {"image": images, "video": films, "audio": list(piece.sounds)}
        places = "".join(f"<|{kind}|>" * len(items) for kind, items in media.items())
        given = {f"{kind}s": [media[kind]] for kind in ("image", "video") if media[kind]}
        made = processor(
            text=[places + prompt.text], audio=media["audio"] or None, **given, **asked
        )
        return _made(made)
    of_film = len(films) == len(piece.sounds) == 1
    content: list[dict[str, Any]] = [
        *({"type": "image", "image": image} for image in images),
        *({"type": "video", "video": frames} for frames in films),
        {"type": "text", "text": prompt.text},
        *({"type": "audio", "audio": sound} for sound in piece.sounds if not of_film),
    ]
    turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if prompt.system is not None:
        turns.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    with mock.patch("transformers.processing_utils.load_audio") as load:
        # Sounds are samples already, a film's too: its frames stand for the file.
        load.side_effect = lambda audio, **_: piece.sounds[0] if of_film else audio
        made = processor.apply_chat_template(
            turns,
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            enable_thinking=prompt.thinking,
            tools=[dict(tool) for tool in prompt.tools] or None,
            load_audio_from_video=of_film,
            processor_kwargs=asked,
        )
    return _made(made)


def _asked(request: Request) -> dict[str, Any]:
    """How media are to be processed, by the processor's names."""
    asked: dict[str, Any] = {}
    if request.piece.images:
        asked["images_kwargs"] = {"max_soft_tokens": request.prompt.image_tokens}
    clip = request.piece.clip
    if clip is not None:
        metadata = {
            "fps": clip.fps,
            "frames_indices": list(clip.indices),
            "total_num_frames": clip.total_frames,
        }
        asked["videos_kwargs"] = {"do_sample_frames": False, "video_metadata": [metadata]}
    return asked


def _made(made: Any) -> Handed:
    [ids], [types] = made["input_ids"], made["mm_token_type_ids"]
    return Handed(list(ids), list(types), _media(made))


def _media(made: Any) -> dict[str, list[dict[str, torch.Tensor]]]:
    """By the names that vLLM gives the same tensors; all without their padding."""
    media: dict[str, list[dict[str, torch.Tensor]]] = {}
    if "pixel_values" in made:
        media["image"] = [
            {
                "pixel_values": _tensor(pixels)[_real(places)],
                "pixel_position_ids": _tensor(places)[_real(places)],
            }
            for pixels, places in zip(made["pixel_values"], made["image_position_ids"], strict=True)
        ]
    if "pixel_values_videos" in made:
        media["video"] = [
            {
                "pixel_values_videos": _frames(made["pixel_values_videos"], made),
                "pixel_position_ids_videos": _frames(made["video_position_ids"], made),
                "video_frame_counts": _tensor(made["num_frames_per_video"][0]),
            }
        ]
    if "input_features" in made:
        media["audio"] = [
            {
                "input_features_padded": _tensor(features)[_tensor(mask)],
                "input_features_mask": _tensor(mask)[_tensor(mask)],
            }
            for features, mask in zip(
                made["input_features"], made["input_features_mask"], strict=True
            )
        ]
    return media


def differences(ours: Handed, theirs: Handed) -> list[str]:
    """What is not equal, in words; nothing if the model is given the same."""
    found = []
    if ours.ids != theirs.ids:
        pairs = enumerate(zip(ours.ids, theirs.ids, strict=False))
        at = next((n for n, (mine, other) in pairs if mine != other), "the shorter's end")
        found.append(f"ids from {at} of {len(ours.ids)} and {len(theirs.ids)}")
    elif ours.types != theirs.types:
        found.append("soft tokens")
    counts = [{kind: len(items) for kind, items in side.media.items()} for side in (ours, theirs)]
    if counts[0] != counts[1]:
        return [*found, f"media {counts[0]} and {counts[1]}"]
    for kind, items in theirs.media.items():
        for number, item in enumerate(items):
            mine = ours.media[kind][number]
            found += [
                f"{name} of {kind} {number}"
                for name, tensor in item.items()
                if not _equal(name, mine.get(name), tensor)
            ]
    return found


def _equal(name: str, mine: torch.Tensor | None, other: torch.Tensor) -> bool:
    if mine is None or mine.shape != other.shape or mine.dtype != other.dtype:
        return False
    if name == "pixel_values_videos":
        # vLLM gives frames to the image processor, which divides by 255; the video processor
        # does so in two steps, for means of 0 and deviations of 1. They round differently.
        return bool(torch.allclose(mine, other, rtol=0, atol=ROUNDING))
    return bool(torch.equal(mine, other))


def _frames(value: Any, made: Any) -> torch.Tensor:
    """A film's frames, all of one size, without their padding."""
    places = _tensor(made["video_position_ids"])
    [count] = {int(_real(frame).sum()) for frame in places.flatten(0, -3)}
    return _tensor(value)[..., :count, :]


def _real(places: Any) -> torch.Tensor:
    """Which patches are an image's own: those of its padding are nowhere."""
    return (_tensor(places) >= 0).all(-1)


def _tensor(value: Any) -> torch.Tensor:
    return torch.as_tensor(value)
