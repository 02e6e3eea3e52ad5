"""vLLM must see exactly the tokens that transformers' own processor makes of the same input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.pieces import Clip, Piece, Span
from jobs.tasks.base import Prompt
from workers.engine import Request
from workers.vllm_engine import VllmEngine

SPAN = Span(0, 0, 1)
#: The large ones are rare, since the vision tower's time grows with their square.
BUDGETS = (70, 140, 280) * 7 + (560, 70, 560, 1120)


@pytest.fixture(scope="module")
def seen(engine: VllmEngine) -> Iterator[dict[str, list[int]]]:
    """Token ids that vLLM says it was prompted with, by the request's id."""
    ids: dict[str, list[int]] = {}
    runtime: Any = engine._runtime
    reports = runtime._reports

    def finished(key: str, output: Any) -> None:
        ids[key.partition(":")[2]] = list(output.prompt_token_ids)
        reports.finished(key, output)

    runtime._reports = replace(reports, finished=finished)
    yield ids
    runtime._reports = reports


@pytest.fixture(scope="module")
def processor(tiny_folder: Path) -> Any:
    from transformers import Gemma4Processor

    return Gemma4Processor.from_pretrained(tiny_folder)


def ask(engine: VllmEngine, requests: list[Request]) -> list[int]:
    """Run the requests; returns the prompt tokens that `measure` foretold."""
    foretold = [engine.measure(request) - request.prompt.max_tokens for request in requests]
    completions = [future.result(120) for future in [engine.submit(r) for r in requests]]
    assert [c.prompt_tokens for c in completions] == foretold
    return foretold


def templated(processor: Any, content: list[dict[str, Any]], prompt: Prompt, **kwargs: Any) -> Any:
    turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if prompt.system:
        turns.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    out = processor.apply_chat_template(
        turns,
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
        enable_thinking=prompt.thinking,
        tools=[dict(tool) for tool in prompt.tools] or None,
        processor_kwargs=kwargs,
    )
    return list(out["input_ids"][0])


def test_images(engine: VllmEngine, seen: dict[str, list[int]], processor: Any) -> None:
    random = np.random.default_rng(1)
    requests = []
    for number in range(50):
        # From icons to photographs, from square to ten times as wide as high.
        height = int(np.exp(random.uniform(np.log(8), np.log(1500))))
        width = int(np.clip(height * np.exp(random.normal(0, 1)), 8, 1500))
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        prompt = Prompt(
            f"Write caption {number} for this image.",
            image_tokens=BUDGETS[number % len(BUDGETS)],
            system="Be brief." if number % 3 else None,
            thinking=number % 4 == 1,
            max_tokens=1,
        )
        requests.append(Request(f"image-{number}", prompt, Piece(SPAN, images=(image,))))
    ask(engine, requests)
    for request in requests:
        picture = Image.fromarray(request.piece.images[0])
        expected = templated(
            processor,
            [{"type": "image", "image": picture}, {"type": "text", "text": request.prompt.text}],
            request.prompt,
            images_kwargs={"max_soft_tokens": request.prompt.image_tokens},
        )
        assert seen[request.id] == expected, picture.size


def test_several_images(engine: VllmEngine, seen: dict[str, list[int]], processor: Any) -> None:
    random = np.random.default_rng(2)
    images = tuple(
        random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for height, width in ((90, 120), (300, 200), (64, 64))
    )
    prompt = Prompt("Which of these is the largest?", image_tokens=140, max_tokens=1)
    request = Request("several", prompt, Piece(SPAN, images=images))
    ask(engine, [request])
    content = [{"type": "image", "image": Image.fromarray(image)} for image in images]
    expected = templated(
        processor,
        [*content, {"type": "text", "text": prompt.text}],
        prompt,
        images_kwargs={"max_soft_tokens": 140},
    )
    assert seen["several"] == expected


def test_sound(engine: VllmEngine, seen: dict[str, list[int]], processor: Any) -> None:
    random = np.random.default_rng(3)
    # The shortest that gives a token, the longest, and lengths around the frames' edges.
    lengths = [321, 480_000, 479_999, 160 * 64, 160 * 64 + 1, 160 * 64 - 1, 640 * 9]
    lengths += [int(n) for n in random.integers(1_000, 480_000, 50 - len(lengths))]
    requests = [
        Request(
            f"sound-{number}",
            Prompt(f"Transcribe segment {number}.", max_tokens=1),
            Piece(SPAN, sounds=(random.normal(0, 0.1, length).astype(np.float32),)),
        )
        for number, length in enumerate(lengths)
    ]
    ask(engine, requests)
    for request in requests:
        expected = templated(
            processor,
            [
                {"type": "text", "text": request.prompt.text},
                {"type": "audio", "audio": request.piece.sounds[0]},
            ],
            request.prompt,
        )
        assert request.piece.sounds
        assert seen[request.id] == expected, len(request.piece.sounds[0])


def test_video(engine: VllmEngine, seen: dict[str, list[int]], processor: Any) -> None:
    random = np.random.default_rng(4)
    requests = []
    for number in range(50):
        frames = int(random.integers(1, 33)) if number % 5 == 0 else int(random.integers(1, 7))
        height, width = (int(side) for side in random.integers(32, 400, 2))
        rate = float(random.choice([12.5, 24.0, 25.0, 30_000 / 1001, 60.0]))
        start = int(random.integers(0, 200_000))  # up to two hours into a film
        indices = tuple(int(start + round(frame * rate)) for frame in range(frames))
        clip = Clip(
            random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8),
            indices,
            rate,
            indices[-1] + 1,
        )
        sounds = (random.normal(0, 0.1, 16_000).astype(np.float32),) if number % 2 else ()
        prompt = Prompt(f"What happens in {number}?", max_tokens=1, image_tokens=560)
        requests.append(Request(f"video-{number}", prompt, Piece(SPAN, clip=clip, sounds=sounds)))
    ask(engine, requests)
    for request in requests:
        assert request.piece.clip is not None
        clip = request.piece.clip
        content: list[dict[str, Any]] = [
            {"type": "video", "video": clip.frames},
            {"type": "text", "text": request.prompt.text},
        ]
        if request.piece.sounds:
            content.append({"type": "audio", "audio": request.piece.sounds[0]})
        expected = templated(
            processor,
            content,
            request.prompt,
            videos_kwargs={
                "do_sample_frames": False,
                "video_metadata": [
                    {
                        "fps": clip.fps,
                        "frames_indices": list(clip.indices),
                        "total_num_frames": clip.total_frames,
                    }
                ],
            },
        )
        assert seen[request.id] == expected, clip.frames.shape


def test_tools_and_media_of_several_kinds(
    engine: VllmEngine, seen: dict[str, list[int]], processor: Any
) -> None:
    """Tools are declared in the system turn; sound comes after the text, images before it."""
    random = np.random.default_rng(5)
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Current weather of a city",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city"},
                    "days": {"type": "integer"},
                    "unit": {"type": "string", "enum": ["C", "F"]},
                },
                "required": ["city"],
            },
        },
    }
    image = random.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    sound = random.normal(0, 0.1, 16_000).astype(np.float32)
    requests = []
    for number in range(8):
        prompt = Prompt(
            "What is the weather there?",
            image_tokens=70,
            system="Be brief." if number % 2 else None,
            thinking=number % 4 > 1,
            tools=(tool,) * (1 + number // 4),
            max_tokens=1,
        )
        piece = Piece(SPAN, images=(image,) * (1 + number % 2), sounds=(sound,))
        requests.append(Request(f"tools-{number}", prompt, piece))
    ask(engine, requests)
    for request in requests:
        pictures = [Image.fromarray(image) for image in request.piece.images]
        expected = templated(
            processor,
            [
                *({"type": "image", "image": picture} for picture in pictures),
                {"type": "text", "text": request.prompt.text},
                {"type": "audio", "audio": sound},
            ],
            request.prompt,
            images_kwargs={"max_soft_tokens": 70},
        )
        assert seen[request.id] == expected
