"""Held-out pictures and films, each drawn from a seed of its own, with the right answers.

Scenes, texts and films come from the generators that training uses, from seeds that
training never uses; photographs behind them are held out.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from models.tiny import films, lettering, questions, scenes, signs
from models.tiny.answers import to_grid
from models.tiny.draw import Pixels, draw
from models.tiny.evaluation.items import Item
from models.tiny.evaluation.media import write_film, write_picture
from models.tiny.evaluation.sources import Sources
from models.tiny.scenes import Scene
from models.tiny.sentences import passage
from models.tiny.speech import RATE, draw_manner


def caption(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """A scene to be described; asked as `caption` asks."""
    scene = scenes.draw_scene(rng)
    path = write_picture(draw(scene, sources.photos)[0], stem, rng)
    return Item(path, {"caption": scenes.caption(scene), "background": _ground(scene)})


def several(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """Two or three scenes in one request, to be told in turn."""
    told, files = [], []
    for number in range(rng.choice((2, 2, 3))):
        scene = scenes.draw_scene(rng)
        told.append(f"Image {number + 1}: {scenes.caption(scene)}")
        place = stem.with_name(f"{stem.name}-{number}")
        files.append(write_picture(draw(scene, sources.photos)[0], place, rng))
    return Item(files[0], {"caption": " ".join(told)}, more=tuple(files[1:]))


def thought(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """A scene to be described after a thought about what is in it."""
    scene = scenes.draw_scene(rng)
    path = write_picture(draw(scene, sources.photos)[0], stem, rng)
    labels = ", ".join(thing.label for thing in sorted(scene.things, key=scenes.order))
    said = f"I see {scenes.COUNTS[len(scene.things)]}: {labels}."
    return Item(path, {"caption": scenes.caption(scene), "thought": said})


def detect(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """A scene whose things are all asked for, or some by label, one of them perhaps absent."""
    scene = scenes.draw_scene(rng)
    image, boxes = draw(scene, sources.photos)
    columns: dict[str, object] = {"labels": None}
    kept = _boxes(scene, boxes)
    if rng.random() < 0.5:
        present = sorted({thing.label for thing in scene.things})
        named = rng.sample(present, rng.randint(1, min(2, len(present))))
        if rng.random() < 0.4:
            named.append(f"{rng.choice(scenes.COLORS)} {rng.choice(scenes.SHAPES)}")
        named = list(dict.fromkeys(named))
        columns["labels"] = ",".join(named)
        kept = [box for box in kept if box["label"] in named]
    path = write_picture(image, stem, rng)
    return Item(path, {"boxes": kept, "size": [scene.width, scene.height]}, columns)


def point(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """A thing that is there once, asked for by its label."""
    while True:
        scene = scenes.draw_scene(rng)
        labels = [thing.label for thing in scene.things]
        single = [label for label in labels if labels.count(label) == 1]
        if single:
            break
    image, boxes = draw(scene, sources.photos)
    label = rng.choice(single)
    [box] = [box for box in _boxes(scene, boxes) if box["label"] == label]
    path = write_picture(image, stem, rng)
    return Item(path, box, {"element": label})


def ocr(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """Lines in the fonts of training."""
    return _ocr(rng, sources, stem, sources.fonts)


def ocr_faces(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """Lines in faces that training never read."""
    return _ocr(rng, sources, stem, sources.faces)


def _ocr(rng: random.Random, sources: Sources, stem: Path, fonts: Path) -> Item:
    text = signs.draw_text(rng)
    image, _ = lettering.letter(text, scenes.draw_size(rng), rng, fonts, sources.photos)
    path = write_picture(image, stem, rng)
    return Item(path, text, {"prompt": rng.choice(questions.REWORDED["ocr"])})


def tool(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """A city's sign, with a tool at hand that tells a city's weather."""
    city = signs.draw_city(rng)
    image, _ = lettering.sign(city, scenes.draw_size(rng), rng, sources.fonts, sources.photos)
    path = write_picture(image, stem, rng)
    call = {"name": "get_weather", "arguments": {"city": city}}
    return Item(path, call, {"prompt": rng.choice(questions.REWORDED["weather"])})


def video(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """A silent film."""
    film = films.draw_film(rng)
    return Item(write_film(films.frames(film), stem), {"caption": films.caption(film)})


def narrated(rng: random.Random, sources: Sources, stem: Path) -> Item:
    """A film with a held-out voice over it, no longer than the film."""
    film = films.draw_film(rng)
    room = film.frames * RATE
    while True:
        said = passage(rng)
        sound = sources.speaker.say(said, draw_manner(rng, held_out=True)).samples
        if 0 < len(sound) < min(room, 5 * RATE):
            break
    track = np.concatenate([sound, np.zeros(room - len(sound), np.int16)])
    path = write_film(films.frames(film), stem, track, RATE)
    return Item(path, {"caption": films.caption(film), "said": said})


def _ground(scene: Scene) -> str:
    if scene.background == "photo":
        return "photograph"
    return "texture" if scene.background in scenes.TEXTURES else "plain"


def _boxes(scene: Scene, boxes: list[Pixels]) -> list[dict[str, object]]:
    """Labels and boxes on the grid [y0, x0, y1, x1], and in pixels (x0, y0, x1, y1)."""
    return [
        {
            "label": thing.label,
            "box_1000": list(to_grid(*box, scene.width, scene.height)),
            "pixels": list(box),
        }
        for thing, box in zip(scene.things, boxes, strict=True)
    ]
