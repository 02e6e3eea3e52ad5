"""The demo's media and its manifest: drawings, speech and films, with what is really in them.

They are made by the generators that the tiny model was trained with, from the seeds 1, 2,
3 … taken as they come, and the voices are ones that training never heard. The manifest has
the truth in the columns `truth_caption`, `truth_words` and `truth_boxes`.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from models.tiny import films, scenes
from models.tiny.draw import Pixels, draw
from models.tiny.evaluation.hearing import recording
from models.tiny.evaluation.media import write_film
from models.tiny.evaluation.sound import write_sound
from models.tiny.films import Film
from models.tiny.scenes import Scene
from models.tiny.sentences import passage
from models.tiny.speech import RATE, Samples, Speaker, draw_manner

#: The drawings, the first of seed 1.
DRAWINGS = (
    "drawing-1.png", "drawing-2.jpg", "drawing-3.webp",
    "drawing-4.png", "drawing-5.jpg", "drawing-6.webp",
)  # fmt: skip
MOST_THINGS = 5
#: The recordings, the first of seed 1: codec and seconds at least. The last is longer than the
#: 30 s that the model hears at once.
SPEECH = {
    "speech-1.wav": ("pcm_s16le", 0),
    "speech-2.mp3": ("libmp3lame", 0),
    "speech-3.opus": ("libopus", 40),
}
#: The films, the first of seed 1, and whether a voice speaks over them.
FILMS = {"film-1.mp4": False, "film-2.mp4": True}
#: What stands in a caption between what is seen and what is said.
VOICE = " A voice says: "

Row = dict[str, Any]


def gather(folder: Path) -> Path:
    """Make the media in `folder`/media, and the manifest that names them, and return its path.

    Raises OSError if espeak-ng does not start.
    """
    # Under another name until whole: a half-written film must not be taken for one.
    media, unfinished = folder / "media", folder / "media.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    rows = [_drawing(unfinished / name, seed) for seed, name in enumerate(DRAWINGS, 1)]
    speaker = Speaker()
    for seed, (name, (codec, least_s)) in enumerate(SPEECH.items(), 1):
        rows.append(_recording(unfinished / name, codec, speaker, seed, least_s))
    for seed, (name, spoken) in enumerate(FILMS.items(), 1):
        rows.append(_film(unfinished / name, speaker if spoken else None, seed))
    shutil.rmtree(media, ignore_errors=True)
    unfinished.rename(media)
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def _row(path: Path, caption: str | None, words: str | None, boxes: list[Row] | None) -> Row:
    return {
        "id": path.stem,
        # Relative places are read from the manifest's own folder.
        "uri": f"media/{path.name}",
        "truth_caption": caption,
        "truth_words": words,
        # A record carries no nested values, but their JSON.
        "truth_boxes": None if boxes is None else json.dumps(boxes),
    }


def _drawing(path: Path, seed: int) -> Row:
    scene = _scene(seed)
    image, boxes = draw(scene)
    image.save(path, quality=90)
    return _row(path, scenes.caption(scene), None, _boxes(scene, boxes))


def _scene(seed: int) -> Scene:
    """The first scene of the seed that stands on no photograph, for there is none here."""
    rng = _rng(seed)
    while (scene := scenes.draw_scene(rng, most=MOST_THINGS)).background == "photo":
        pass
    return scene


def _boxes(scene: Scene, boxes: list[Pixels], time_s: int | None = None) -> list[Row]:
    return [
        {"label": thing.label, "box": list(box), "time_s": time_s}
        for thing, box in zip(scene.things, boxes, strict=True)
    ]


def _recording(path: Path, codec: str, speaker: Speaker, seed: int, least_s: int) -> Row:
    said, sound = recording(_rng(seed), speaker, least_s)
    write_sound(path, sound, RATE, codec)
    return _row(path, None, said, None)


def _film(path: Path, speaker: Speaker | None, seed: int) -> Row:
    rng = _rng(seed)
    film = films.draw_film(rng)
    told, said, sound = films.caption(film), None, None
    if speaker is not None:
        said, sound = _spoken_over(film, speaker, rng)
        told += VOICE + said
    write_film(films.frames(film), path.with_suffix(""), sound, RATE)
    return _row(path, told, said, _boxes_of(film))


def _spoken_over(film: Film, speaker: Speaker, rng: random.Random) -> tuple[str, Samples]:
    """Words and their sound, which is as long as the film."""
    room = film.frames * RATE
    while True:
        said = passage(rng)
        sound = speaker.say(said, draw_manner(rng, held_out=True)).samples
        if 0 < len(sound) < room:
            return said, np.concatenate([sound, np.zeros(room - len(sound), np.int16)])


def _boxes_of(film: Film) -> list[Row]:
    """Where things are at each second: they move evenly, so their boxes do as well."""
    first, last = (draw(scene)[1] for scene in (film.first, film.last))
    found = []
    for second in range(film.frames):
        share = second / (film.frames - 1)
        # What turns another color does so in the middle.
        scene = film.first if share < 0.5 else film.last
        between: list[Pixels] = [
            (
                a[0] + share * (b[0] - a[0]),
                a[1] + share * (b[1] - a[1]),
                a[2] + share * (b[2] - a[2]),
                a[3] + share * (b[3] - a[3]),
            )
            for a, b in zip(first, last, strict=True)
        ]
        found += _boxes(scene, between, second)
    return found


def _rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - pictures, not secrets
