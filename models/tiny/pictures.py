"""Pictures and their questions, as training reads them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.tiny import answers, questions, scenes, signs
from models.tiny import architecture as arch
from models.tiny.draw import Pixels, draw
from models.tiny.lettering import Spot, letter, sign
from models.tiny.rows import WEATHER, Asked, Writer
from models.tiny.scenes import Scene

TOKEN = arch.PATCH * arch.POOLING
IMAGE = "<|image><|image|><image|>"
#: What `detect` asks for when no labels are given.
ANYTHING = "all prominent objects"
#: Characters that text helpers tell apart: printable ASCII without the space.
MARKS = "".join(map(chr, range(33, 127)))


@dataclass(slots=True)
class Picture:
    """Pixels, questions, and where things and characters are, for the helper losses.

    `things`: class and box (x0, y0, x1, y1) as shares of the picture; `ground`: its
    class, -1 where there is none; `marks`: a character's centre (x, y) and its place in
    `MARKS`, in the order of reading.
    """

    image: Image.Image
    asked: list[Asked]
    things: list[tuple[int, Pixels]] = field(default_factory=list)
    marks: list[tuple[float, float, int]] = field(default_factory=list)
    caption: str = ""
    ground: int = -1


def scene_picture(rng: random.Random, writer: Writer, photos: Path | None, want: int) -> Picture:
    """A scene with `want` questions: a caption first, then boxes asked for in several ways."""
    scene = scenes.draw_scene(rng)
    image, boxes = draw(scene, photos)
    asked = [_caption(rng, writer, scene)]
    kinds = [_some, _shapes, _everything, _element]
    rng.shuffle(kinds)
    for i in range(want - 1):
        kind = _everything if i == 0 and rng.random() < 0.3 else kinds[i % len(kinds)]
        user, answer = kind(rng, scene, boxes)
        asked.append(writer.ask(IMAGE + user, answer))
    width, height = image.size
    things = [
        (
            scenes.kind_of(thing),
            (x0 / width, y0 / height, x1 / width, y1 / height),
        )
        for thing, (x0, y0, x1, y1) in zip(scene.things, boxes, strict=True)
    ]
    return Picture(
        image, asked, things, caption=scenes.caption(scene), ground=scenes.kind_of_ground(scene)
    )


def text_picture(
    rng: random.Random,
    writer: Writer,
    fonts: Path | None,
    photos: Path | None,
    *,
    most_lines: int = 4,
) -> Picture:
    """Lines of text to be read."""
    text = signs.draw_text(rng, most_lines=most_lines)
    image, spots = letter(text, scenes.draw_size(rng), rng, fonts, photos)
    user = IMAGE + rng.choice(questions.REWORDED["ocr"])
    return Picture(image, [writer.ask(user, text)], marks=_marks(spots))


def sign_picture(
    rng: random.Random, writer: Writer, fonts: Path | None, photos: Path | None
) -> Picture:
    """A city's sign: to be read, or to call the weather tool with."""
    city = signs.draw_city(rng)
    image, spots = sign(city, scenes.draw_size(rng), rng, fonts, photos)
    user = IMAGE + rng.choice(questions.REWORDED["weather"])
    called = answers.call("get_weather", {"city": city})
    asked = [
        writer.ask(user, called, tools=WEATHER, end="<|tool_response>"),
        writer.ask(IMAGE + rng.choice(questions.REWORDED["ocr"]), city),
    ]
    return Picture(image, asked, marks=_marks(spots))


def _marks(spots: list[Spot]) -> list[tuple[float, float, int]]:
    return [(x, y, MARKS.index(mark)) for x, y, mark in spots if mark in MARKS]


def _caption(rng: random.Random, writer: Writer, scene: Scene) -> Asked:
    user = IMAGE + questions.ask(rng, "caption", questions.CAPTION)
    caption = scenes.caption(scene)
    if rng.random() < 0.06:
        labels = ", ".join(thing.label for thing in sorted(scene.things, key=scenes.order))
        text = f"I see {scenes.COUNTS[len(scene.things)]}: {labels}."
        return writer.ask(user, answers.thought(text, caption), thinking=True)
    return writer.ask(user, caption)


Boxes = Sequence[Pixels]


def found(scene: Scene, boxes: Boxes, named: list[str], kind: str) -> str:
    """The answer for things whose label, shape or anything (`kind`) is in `named`."""
    hits = []
    for thing, box in zip(scene.things, boxes, strict=True):
        name = thing.shape if kind == "shape" else thing.label
        if kind == "all" or name in named:
            hits.append((name, answers.to_grid(*box, scene.width, scene.height)))
    # Read as a page is: by the top edge, then from the left.
    return answers.boxes(sorted(hits, key=lambda hit: hit[1][:2]))


def _some(rng: random.Random, scene: Scene, boxes: Boxes) -> tuple[str, str]:
    present = sorted({thing.label for thing in scene.things})
    named = rng.sample(present, rng.randint(0 if rng.random() < 0.3 else 1, min(3, len(present))))
    while not named or (len(named) < 3 and rng.random() < 0.25):
        named.append(f"{rng.choice(scenes.COLORS)} {rng.choice(scenes.SHAPES)}")
    named = sorted(set(named), key=lambda _: rng.random())
    return questions.detect(rng, named), found(scene, boxes, named, "label")


def _shapes(rng: random.Random, scene: Scene, boxes: Boxes) -> tuple[str, str]:
    present = sorted({thing.shape for thing in scene.things})
    named = rng.sample(present, rng.randint(1, min(3, len(present))))
    if rng.random() < 0.3:
        named.append(rng.choice(scenes.SHAPES))
    named = sorted(set(named), key=lambda _: rng.random())
    return questions.detect(rng, named), found(scene, boxes, named, "shape")


def _everything(rng: random.Random, scene: Scene, boxes: Boxes) -> tuple[str, str]:
    what = ANYTHING if rng.random() < 0.7 else "all objects"
    return questions.detect(rng, [what]), found(scene, boxes, [], "all")


def _element(rng: random.Random, scene: Scene, boxes: Boxes) -> tuple[str, str]:
    labels = [thing.label for thing in scene.things]
    single = [label for label in labels if labels.count(label) == 1]
    if not single:
        return _some(rng, scene, boxes)
    label = rng.choice(single)
    return questions.ELEMENT.format(label=label), found(scene, boxes, [label], "label")


def as_image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """uint8 [height, width, 3] as a picture."""
    return Image.fromarray(pixels)


def target_size(height: int, width: int, budget: int) -> tuple[int, int]:
    """Height and width in soft tokens that Gemma 4 gives a picture at a budget."""
    factor = math.sqrt(budget * TOKEN**2 / (height * width))
    rows, columns = int(factor * height // TOKEN), int(factor * width // TOKEN)
    if rows == 0:
        return 1, min(max(1, width // height), budget)
    if columns == 0:
        return min(max(1, height // width), budget), 1
    return rows, columns


def patches(image: Image.Image, budget: int) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Resized as the processor does, cut up: uint8 [budget * 9, 768] and the grid (w, h).

    The nine patches of a soft token stand together; rows past width * height * 9 are 0.
    """
    rows, columns = target_size(image.height, image.width, budget)
    sized = image.resize((columns * TOKEN, rows * TOKEN), Image.Resampling.BICUBIC)
    pixels = np.asarray(sized, np.uint8)
    p, k = arch.PATCH, arch.POOLING
    cut = pixels.reshape(rows, k, p, columns, k, p, 3).transpose(0, 3, 1, 4, 2, 5, 6)
    out = np.zeros((budget * k * k, 3 * p * p), np.uint8)
    out[: rows * columns * k * k] = cut.reshape(rows * columns * k * k, -1)
    return out, (columns, rows)
