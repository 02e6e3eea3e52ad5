"""What the tiny model is trained and scored on: the right answers fit the pictures and films."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from jobs.tasks.boxes import read_boxes
from jobs.tasks.detect import _spoken
from models.tiny import answers, films, pictures, questions, rows, scenes, sentences, signs
from models.tiny.draw import PALETTE, draw
from models.tiny.films import DEEDS, Film
from models.tiny.lettering import letter
from models.tiny.scenes import Scene
from models.tiny.voices import plain


def plain_scene(seed: int) -> Scene:
    """One thing on a plain ground."""
    rng = random.Random(seed)
    while True:
        scene = scenes.draw_scene(rng, most=1)
        if scene.background in scenes.COLORS:
            return scene


def place(
    image: npt.NDArray[np.uint8], color: str, ground: str
) -> tuple[float, float, float, float]:
    """The box (x0, y0, x1, y1) of pixels that are more of the color than of the ground."""
    pixels = image.astype(np.float64)
    near = [np.square(pixels - PALETTE[name]).sum(2) for name in (color, ground)]
    mask = near[0] < near[1]
    # Noise may turn single pixels.
    columns, lines = (np.flatnonzero(mask.sum(axis) > 1) for axis in (0, 1))
    return columns[0], lines[0], columns[-1] + 1, lines[-1] + 1


@pytest.mark.parametrize("seed", range(40))
def test_a_box_is_where_its_color_is(seed: int) -> None:
    scene = plain_scene(seed)
    image, [box] = draw(scene)
    seen = place(np.asarray(image), scene.things[0].color, scene.ground)
    assert np.abs(np.subtract(box, seen)).max() <= 4


@pytest.mark.parametrize("seed", range(10))
def test_equal_seeds_draw_equal_data(seed: int) -> None:
    def drawn() -> tuple[object, ...]:
        rng = random.Random(seed)
        scene, film = scenes.draw_scene(rng), films.draw_film(rng)
        text = signs.draw_text(rng)
        pages = letter(text, (300, 200), rng)
        return (
            scene,
            draw(scene)[0].tobytes(),
            film,
            films.frames(film).tobytes(),
            pages[0].tobytes(),
            pages[1],
            signs.draw_city(rng),
            sentences.passage(rng),
        )

    assert drawn() == drawn()


def test_other_seeds_draw_other_scenes() -> None:
    drawn = {scenes.caption(scenes.draw_scene(random.Random(seed))) for seed in range(300)}
    assert len(drawn) > 290


def film_of(deed: str) -> tuple[Film, npt.NDArray[np.uint8]]:
    """The first film of one thing that does this on a ground unlike it, and its frames."""
    rng = random.Random(deed)
    while True:
        film = films.draw_film(rng)
        told = film.deeds[0].startswith(deed.removesuffix(" {}"))
        if told and len(film.deeds) == 1:
            return film, films.frames(film)


@pytest.mark.parametrize("deed", DEEDS)
def test_a_film_shows_what_its_caption_tells(deed: str) -> None:
    film, frames = film_of(deed)
    assert frames.shape == (film.frames, film.first.height, film.first.width, 3)
    first = place(frames[0], film.first.things[0].color, film.first.ground)
    last = place(frames[-1], film.last.things[0].color, film.first.ground)
    x, y = (np.subtract(last, first)[[i, i + 2]].mean() for i in (0, 1))
    growth = (last[2] - last[0]) / (first[2] - first[0])
    moved = {
        "moves to the right": x > 50 and abs(y) < 5,
        "moves to the left": x < -50 and abs(y) < 5,
        "moves up": y < -30 and abs(x) < 5,
        "moves down": y > 30 and abs(x) < 5,
        "grows": growth > 1.4,
        "shrinks": growth < 0.7,
        "turns {}": film.deeds[0] == f"turns {film.last.things[0].color}",
        "stays": (frames[0] == frames[-1]).all(),
    }
    assert moved[deed]
    caption = films.caption(film)
    assert f"{film.first.things[0].label} {film.deeds[0]} on a" in caption


def test_two_things_of_a_film_keep_apart() -> None:
    rng = random.Random(5)
    for _ in range(100):
        film = films.draw_film(rng)
        for scene in (film.first, film.last):
            if len(scene.things) == 2:
                a, b = scene.things
                assert np.hypot(a.x - b.x, a.y - b.y) > max(a.radius, b.radius)
            for thing in scene.things:
                assert thing.radius <= thing.x <= scene.width - thing.radius
                assert thing.radius <= thing.y <= scene.height - thing.radius


def test_what_was_asked_for_is_found_and_read_in_order() -> None:
    rng = random.Random(3)
    for _ in range(100):
        scene = scenes.draw_scene(rng)
        boxes = [(t.x - 2, t.y - 2, t.x + 2, t.y + 2) for t in scene.things]
        named = [rng.choice(scene.things).label, "no such thing"]
        some = read_boxes(pictures.found(scene, boxes, named, "label"))
        every = read_boxes(pictures.found(scene, boxes, [], "all"))
        assert some is not None
        assert every is not None
        assert {box.label for box in some.found} == {named[0]}
        assert Counter(b.label for b in every.found) == Counter(t.label for t in scene.things)
        corners = [(box.y0, box.x0) for box in every.found]
        assert corners == sorted(corners)


def test_training_asks_for_labels_as_the_task_does() -> None:
    labels = ["red circle", "blue star", "pink ring"]
    for count in (1, 2, 3):
        asked = {questions.detect(random.Random(seed), labels[:count]) for seed in range(40)}
        assert f"detect {_spoken(labels[:count])}, output only ```json" in asked


def test_every_question_has_a_rewording_and_the_own_one_prevails() -> None:
    rng = random.Random(1)
    asked = Counter(questions.ask(rng, "caption", questions.CAPTION) for _ in range(1000))
    assert set(asked) == {questions.CAPTION, *questions.REWORDED["caption"]}
    assert asked[questions.CAPTION] > 600
    assert questions.ask(rng, "ocr", None) in questions.REWORDED["ocr"]


def test_a_row_holds_its_media_where_they_were_named() -> None:
    writer = rows.Writer()
    user = "<|image><|image|><image|>Look.<|audio><|audio|><audio|>"
    asked = writer.ask(user, "I do.")
    ids, where, start = rows.lay_out(asked, [(10, 3), (40, 2)])
    assert writer.text([int(i) for i in ids]) == rows.prompt(
        "<|image>" + 3 * "<|image|>" + "<image|>Look.<|audio>" + 2 * "<|audio|>" + "<audio|>"
    ) + ("I do.<turn|>")
    assert [int(w) for w in where if w >= 0] == [10, 11, 12, 40, 41]
    assert writer.text([int(i) for i in ids[where >= 0]]) == 3 * "<|image|>" + 2 * "<|audio|>"
    assert writer.text([int(i) for i in ids[start:]]) == "I do.<turn|>"


def test_characters_lie_on_their_ink() -> None:
    rng = random.Random(2)
    for _ in range(20):
        text = signs.draw_text(rng)
        image, spots = letter(text, (480, 320), rng)
        assert "".join(mark for *_, mark in spots) == "".join(text.split())
        assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y, _ in spots)
        assert image.size == (480, 320)


def test_signs_show_cities_and_calls_name_them() -> None:
    city = signs.draw_city(random.Random(4))
    assert answers.call("get_weather", {"city": city}) == (
        f'<|tool_call>call:get_weather{{city:<|"|>{city}<|"|>}}<tool_call|>'
    )


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("Twenty-one, please!", "20 1 please"),
        ("Press 1.5 for 'yes'.", "press 1.5 for yes"),
        ("It's three o'clock.", "it's 3 o'clock"),
        ("[beep]", "beep"),
    ],
)
def test_speech_is_written_down_plainly(said: str, written: str) -> None:
    assert plain(said) == written
    assert plain(written) == written


def test_a_scene_told_backwards_has_the_same_boxes() -> None:
    scene = scenes.draw_scene(random.Random(11))
    again = replace(scene)
    assert draw(scene)[1] == draw(again)[1]
