"""Examples that the tiny model answers: drawn from the seeds 1, 2, 3 …, taken as they come.

Grounds are never photographs here, since these pictures lie in the repository.
"""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path

from PIL import Image

from docs import judging
from docs.example import Example, Line
from models.tiny import films, lettering, questions, scenes, signs
from models.tiny.draw import Pixels, draw
from models.tiny.evaluation.hearing import recording
from models.tiny.evaluation.media import write_film, write_wav
from models.tiny.evaluation.sources import Sources
from models.tiny.films import Film
from models.tiny.scenes import Scene
from models.tiny.speech import RATE

#: Seconds that the longer recording has at least: more than one window of sound.
LONG_S = 40


def drawn(folder: Path) -> list[Example]:
    """The examples; their media are written to `folder`."""
    sources = Sources()
    return [
        _caption(folder),
        _detect(folder),
        _point(folder),
        _ocr(folder, sources),
        _transcribe(folder, sources),
        _call_tools(folder, sources),
    ]


def scene(seed: int) -> Scene:
    """The first scene of a seed that does not stand on a photograph."""
    rng = _rng(seed)
    while (found := scenes.draw_scene(rng)).background == "photo":
        pass
    return found


def picture(drawing: Scene, folder: Path, name: str) -> tuple[Path, list[Pixels]]:
    """A scene's file, and where its things are."""
    image, boxes = draw(drawing)
    return _saved(image, folder, name), boxes


def _caption(folder: Path) -> Example:
    lines = []
    for seed in (1, 2):
        file, _ = picture(scene(seed), folder, f"drawing-{seed}")
        lines.append(_told(f"drawing-{seed}", (file,), scenes.caption(scene(seed))))
    pair = [scene(seed) for seed in (3, 4)]
    files = tuple(picture(s, folder, f"drawing-{n}")[0] for n, s in zip((3, 4), pair, strict=True))
    both = " ".join(f"Image {n}: {scenes.caption(s)}" for n, s in enumerate(pair, 1))
    lines.append(_told("two drawings", files, both, image_tokens=70))
    film, file = _film(folder)
    lines.append(_told("film-1", (file,), films.caption(film)))
    return Example(
        "caption",
        tuple(lines),
        from_columns=("image_tokens",),
        remark="The tiny model was taught several images in a row at 70 soft tokens each,"
        " so that row has a budget of its own.",
    )


def _told(name: str, files: tuple[Path, ...], truth: str, image_tokens: int | None = None) -> Line:
    return Line(
        name,
        files,
        {"image_tokens": image_tokens},
        right=partial(judging.captioned, truth),
        truth=truth,
    )


def _detect(folder: Path) -> Example:
    lines = []
    for seed, chosen in ((1, False), (2, True)):
        drawing = scene(seed)
        file, boxes = picture(drawing, folder, f"drawing-{seed}")
        labels = sorted({thing.label for thing in drawing.things})[:2] if chosen else []
        truth = [
            (thing.label, box)
            for thing, box in zip(drawing.things, boxes, strict=True)
            if thing.label in labels or not chosen
        ]
        lines.append(
            Line(
                f"drawing-{seed}",
                (file,),
                {"labels": ",".join(labels) or None},
                right=partial(judging.detected, truth),
                truth=f"{len(truth)} objects: " + ", ".join(label for label, _ in truth),
            )
        )
    lines.append(_followed(folder))
    return Example(
        "detect",
        tuple(lines),
        from_columns=("labels",),
        remark="Rows without labels ask for all objects.",
    )


def _followed(folder: Path) -> Line:
    film, file = _film(folder)
    # What turns another color does so in the middle.
    half = (film.frames - 1) / 2
    scenes_of = [film.first if n < half else film.last for n in range(film.frames)]
    truth = [[thing.label for thing in each.things] for each in scenes_of]
    return Line(
        "film-1",
        (file,),
        {"labels": None},
        right=partial(judging.followed, truth),
        truth=f"in each frame: {', '.join(truth[0])}",
    )


def _film(folder: Path) -> tuple[Film, Path]:
    film = films.draw_film(_rng(1))
    return film, write_film(films.frames(film), folder / "film-1")


def _point(folder: Path) -> Example:
    lines = []
    for seed in (1, 2):
        drawing = scene(seed)
        file, boxes = picture(drawing, folder, f"drawing-{seed}")
        labels = [thing.label for thing in drawing.things]
        label = next(label for label in labels if labels.count(label) == 1)
        box = boxes[labels.index(label)]
        lines.append(
            Line(
                f"drawing-{seed}",
                (file,),
                {"element": label},
                right=partial(judging.pointed, box),
                truth=f"one point within {tuple(round(edge) for edge in box)}",
            )
        )
    return Example("point", tuple(lines), from_columns=("element",))


def _ocr(folder: Path, sources: Sources) -> Example:
    lines = []
    for seed in (1, 2):
        rng = _rng(seed)
        text = signs.draw_text(rng)
        image, _ = lettering.letter(text, scenes.draw_size(rng), rng, sources.fonts)
        lines.append(
            Line(
                f"words-{seed}",
                (_saved(image, folder, f"words-{seed}"),),
                right=partial(judging.read, text),
                truth=json.dumps(text),
            )
        )
    return Example(
        "ocr",
        tuple(lines),
        {"image_tokens": 280},
        remark="The tiny model was taught budgets of up to 280 soft tokens; leave the option out"
        " with the real ones, which read small print at up to 1120.",
    )


def _transcribe(folder: Path, sources: Sources) -> Example:
    lines = []
    for seed, least_s in ((1, 0), (2, LONG_S)):
        said, sound = recording(_rng(seed), sources.speaker, least_s)
        lines.append(
            Line(
                f"speech-{seed}",
                (write_wav(sound, RATE, folder / f"speech-{seed}"),),
                right=partial(judging.heard, said),
                truth=said,
            )
        )
    return Example("transcribe", tuple(lines), {"language": "en"})


def _call_tools(folder: Path, sources: Sources) -> Example:
    lines = []
    for seed in (1, 2):
        rng = _rng(seed)
        city = signs.draw_city(rng)
        image, _ = lettering.sign(city, scenes.draw_size(rng), rng, sources.fonts)
        lines.append(
            Line(
                f"sign-{seed}",
                (_saved(image, folder, f"sign-{seed}"),),
                right=partial(judging.called, city),
                truth=f"one call of get_weather for {city}",
            )
        )
    return Example(
        "call-tools",
        tuple(lines),
        {"prompt": questions.REWORDED["weather"][0]},
        files={"tools": json.dumps([questions.WEATHER_TOOL], indent=2)},
    )


def _saved(image: Image.Image, folder: Path, name: str) -> Path:
    path = folder / f"{name}.png"
    image.save(path)
    return path


def _rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - pictures, not secrets
