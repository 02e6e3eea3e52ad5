"""Conversations of every kind that requests hold, drawn with a seed.

What transformers makes of the same conversation is in `tests.integration.parity`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.pieces import MAX_FRAMES, Clip, Piece, Span
from jobs.tasks.base import IMAGE_BUDGETS, Prompt
from workers.engine import Request

#: By the media of one request: images, a film, sounds.
KINDS = (
    "text", "image", "images", "sound", "sounds", "film", "film with sound",
    "images and sound", "images and film", "image and sounds", "everything",
)  # fmt: skip
#: Most media of one conversation, but for `MANY` sounds now and then.
MOST = 6
MANY = 20
TEXTS = (
    "Describe this.",
    "What is written here, and in which language?\nAnswer in one line.",
    "  Spaces at both ends, which the template cuts.  ",
    'Return {"box_2d": [y0, x0, y1, x1], "label": "…"} in ```json.',
    "Přečti to nahlas: 語 और शब्द 🙂 <b>bold</b> & 'quoted' \"twice\"",
    'Which of these is it: "cat", "dog"?\t2 < 3 and 5 > 4, so what?\r\n\r\nThink.',
    "a" * 300,
)
SYSTEMS = (None, None, "Be brief.", "You label pictures.\nNever guess.", "")
RATES = (12.5, 24.0, 25.0, 30_000 / 1001, 60.0, 1.0)
TOOLS: tuple[dict[str, Any], ...] = (
    {
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
    },
    {
        "type": "function",
        "function": {
            "name": "book",
            "description": 'Book a table at "Ann\'s": 2 < 3 guests',
            "parameters": {
                "type": "object",
                "properties": {
                    "guests": {
                        "type": "array",
                        "description": "Who comes",
                        "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                    },
                    "at": {
                        "type": "object",
                        "properties": {"hour": {"type": "number", "nullable": True}},
                        "required": ["hour"],
                    },
                },
                "required": ["guests", "at"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "stop",
            "description": "",
            "parameters": {"type": "object", "properties": {}},
        },
    },
)


def conversations(kind: str, count: int, seed: int) -> Iterator[Request]:
    """So many requests of a kind, the same for the same seed. They ask for one token each."""
    random = np.random.default_rng(seed)
    for number in range(count):
        piece = _piece(random, kind, number)
        chat: dict[str, Any] = {
            "system": SYSTEMS[int(random.integers(len(SYSTEMS)))],
            "thinking": bool(random.random() < 0.3),
            "tools": _tools(random) if random.random() < 0.3 else (),
        }
        raw = number % 10 == 9
        prompt = Prompt(
            f"{number}: {random.choice(TEXTS)}" if number % 3 else str(random.choice(TEXTS)),
            image_tokens=_budget(random, len(piece.images)),
            max_tokens=1,
            **({"raw": True} if raw else chat),
        )
        yield Request(f"{kind}/{number}", prompt, piece)


def noise(random: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A picture [height, width, 3] in which every pixel tells."""
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """From icons to photographs, from square to some twenty times as wide as high."""
    height = int(np.exp(random.uniform(np.log(1), np.log(900))))
    width = int(np.clip(height * np.exp(random.normal(0, 1)), 1, 1200))
    return noise(random, height, width)


def sound(random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Mostly seconds, at times the shortest that gives a token, the longest, or an edge's."""
    edges = (321, 480_000, 479_999, 160 * 64, 160 * 64 + 1, 160 * 64 - 1, 640 * 9)
    samples = int(np.exp(random.uniform(np.log(400), np.log(120_000))))
    if random.random() < 0.15:
        samples = int(random.choice(edges))
    return random.normal(0, 0.1, samples).astype(np.float32)


def film(random: np.random.Generator) -> Clip:
    """Of a few frames, at times as many as a request holds, up to two hours into a film."""
    most = MAX_FRAMES if random.random() < 0.1 else 4
    frames = int(random.integers(1, most + 1))
    height, width = (int(side) for side in random.integers(16, 400, 2))
    rate = float(random.choice(RATES))
    start = int(random.integers(0, 200_000))
    indices = tuple(int(start + round(frame * rate)) for frame in range(frames))
    pixels = random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    return Clip(pixels, indices, rate, indices[-1] + 1)


def _piece(random: np.random.Generator, kind: str, number: int) -> Piece:
    clip = film(random) if "film" in kind or kind == "everything" else None
    room = MOST - (clip is not None)
    images = sounds = 0
    if kind == "everything":
        images = int(random.integers(1, room))
        sounds = int(random.integers(1, room - images + 1))
    else:
        if "images" in kind:
            images = int(random.integers(2, room - ("sound" in kind) + 1))
        elif "image" in kind:
            images = 1
        if "sounds" in kind:
            sounds = int(random.integers(2, room - images + 1))
        elif "sound" in kind:
            sounds = 1
    pieces = [sound(random) for _ in range(sounds)]
    if kind == "sounds" and number % 10 == 3:
        pieces = [random.normal(0, 0.1, 2000 + 97 * n).astype(np.float32) for n in range(MANY)]
    return Piece(
        Span(0, 0, 1),
        images=tuple(picture(random) for _ in range(images)),
        clip=clip,
        sounds=tuple(pieces),
    )


def _budget(random: np.random.Generator, images: int) -> int:
    """All of them; the large ones where the images are few, since each takes up to 31 MB."""
    return int(random.choice(IMAGE_BUDGETS if images <= 2 else IMAGE_BUDGETS[:3]))


def _tools(random: np.random.Generator) -> tuple[dict[str, Any], ...]:
    chosen = random.permutation(len(TOOLS))[: int(random.integers(1, len(TOOLS) + 1))]
    return tuple(TOOLS[int(n)] for n in chosen)
