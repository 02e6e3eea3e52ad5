"""The engine on the real vLLM: every row's answer is its own, and no row ends another's."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest

from jobs.pieces import Clip, Piece, Span
from jobs.spec import check_options
from jobs.tasks import get_task
from jobs.tasks.base import Answer, Prompt, Row
from storage.errors import EngineDead, InvalidJob, RowError
from workers.engine import Completion, EngineOptions, Request
from workers.renderers import Renderers
from workers.vllm_engine import VllmEngine, keep_sizes_apart, load_engine

SPAN = Span(0, 0, 1)


def image(number: int, **prompt: Any) -> Request:
    """A request about one small image; equal numbers give equal requests but for the id."""
    random = np.random.default_rng(number)
    side = 32 + 16 * (number % 7)
    pixels = random.integers(0, 256, (side, 2 * side, 3), dtype=np.uint8)
    asked = {"image_tokens": 70, "max_tokens": 8, **prompt}
    return Request(f"image/{number}", Prompt(f"Caption {number}.", **asked), Piece(SPAN, (pixels,)))


def long_one(number: int) -> Request:
    """As `image`, but the answer cannot end before some thousand tokens, and goes in no circles."""
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 500}
    return image(number, max_tokens=2048, json_schema=numbers, temperature=1.5, seed=number)


def sound(number: int, samples: int) -> Request:
    noise = np.random.default_rng(number).normal(0, 0.1, samples).astype(np.float32)
    prompt = Prompt("Transcribe.", max_tokens=4)
    return Request(f"sound/{number}", prompt, Piece(SPAN, sounds=(noise,)))


def answer(engine: VllmEngine, request: Request) -> Completion:
    return engine.submit(request).result(120)


def test_what_it_says_of_itself(engine: VllmEngine) -> None:
    import vllm

    assert (engine.name, engine.model, engine.version) == ("vllm", "tiny", vllm.__version__)
    assert engine.abilities == {"image", "video", "audio"}
    assert engine.capacity.context == 8192
    assert engine.capacity.tokens > engine.capacity.context


def test_answers_end_on_their_own_request(engine: VllmEngine) -> None:
    """Asked together by eight threads, each request gets what it gets when asked alone."""
    requests = [image(number) for number in range(24)]
    alone = {request.id: answer(engine, request).text for request in requests[:6]}
    completions: dict[str, Completion] = {}

    def ask(mine: list[Request]) -> None:
        for request, future in [(r, engine.submit(r)) for r in mine]:
            completions[request.id] = future.result(120)

    threads = [threading.Thread(target=ask, args=(requests[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert completions.keys() == {request.id for request in requests}
    for request in requests:
        completion = completions[request.id]
        assert completion.id == request.id
        assert completion.prompt_tokens == engine.measure(request) - request.prompt.max_tokens
        assert 1 <= completion.output_tokens <= 8
    assert {name: completions[name].text for name in alone} == alone


def test_one_id_twice_in_flight(engine: VllmEngine) -> None:
    first, second = engine.submit(image(1)), engine.submit(image(1))
    assert first.result(120).text == second.result(120).text


def test_what_is_taken_back_leaves_the_engine(engine: VllmEngine) -> None:
    """Waiting, running and still unprepared requests alike; the others are answered."""
    runtime = cast("Any", engine._runtime).engine
    long = [engine.submit(long_one(number)) for number in range(16)]
    kept = [engine.submit(image(number)) for number in range(4)]
    assert kept[0].result(120).id == "image/0", "so the first long ones are running"
    assert all(future.cancel() for future in long)
    assert [future.result(120).id for future in kept] == [f"image/{n}" for n in range(4)]
    assert answer(engine, image(5)).id == "image/5"
    assert runtime.get_num_unfinished_requests() == 0
    assert engine._in_flight._entries == {}


def test_length_is_told(engine: VllmEngine) -> None:
    completion = answer(engine, image(3, max_tokens=1))
    assert (completion.finish_reason, completion.output_tokens) == ("length", 1)


def test_seed_decides_a_sampled_answer(engine: VllmEngine) -> None:
    hot: dict[str, Any] = {"temperature": 1.5, "max_tokens": 16}
    texts = [answer(engine, image(5, seed=seed, **hot)).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_checkpoint_decides_without_temperature(engine: VllmEngine) -> None:
    """The tiny model's generation_config is greedy."""
    assert (
        answer(engine, image(5, temperature=None)).text
        == answer(engine, image(5, temperature=0.0)).text
    )


def test_schema_holds(engine: VllmEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["cat", "dog"]}, "sure": {"type": "boolean"}},
        "required": ["kind", "sure"],
        "additionalProperties": False,
    }
    completion = answer(engine, image(6, json_schema=schema, max_tokens=64))
    text = completion.text
    value = json.loads(text)
    assert value["kind"] in ("cat", "dog")
    assert isinstance(value["sure"], bool)
    assert " " not in text


def test_an_answer_that_goes_in_circles_is_ended(engine: VllmEngine) -> None:
    """The grammar leaves the model nothing but one word, over and over."""
    same = {"type": "array", "items": {"const": "round"}, "minItems": 400}
    completion = answer(engine, image(8, json_schema=same, max_tokens=1024))
    assert completion.finish_reason == "repetition"
    assert completion.output_tokens < 600


@pytest.mark.parametrize("multiple", [False, True])
def test_labels_hold(engine: VllmEngine, multiple: bool) -> None:
    """Whatever the model thinks: the grammar leaves it nothing but labels."""
    task = get_task("classify")
    options = check_options(task, {"labels": "cat, large bird", "multiple": multiple}, ())
    row, piece = Row("r", ("a.jpg",)), image(7).piece
    completion = answer(engine, Request("labels", task.prompt(row, piece, options), piece))
    told = Answer.read(SPAN, completion.text, completion.finish_reason)
    assert set(task.parse(row, [told], options).columns["labels"]) <= {"cat", "large bird"}


def test_sounds_of_many_lengths_in_one_step(engine: VllmEngine) -> None:
    requests = [sound(n, samples) for n, samples in enumerate((321, 16_000, 9_999, 16_000))]
    futures = [engine.submit(request) for request in requests]
    assert [future.result(120).id for future in futures] == [request.id for request in requests]


def film(number: int, frames: int, height: int, width: int) -> Request:
    random = np.random.default_rng(number)
    pixels = random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    prompt = Prompt("Caption this video.", max_tokens=8)
    clip = Clip(pixels, tuple(range(frames)), 1.0, frames)
    return Request(f"film/{number}", prompt, Piece(SPAN, clip=clip))


def test_films_of_many_sizes_in_one_step(engine: VllmEngine) -> None:
    """Each is answered as it is alone: none waits for padding that another's size would want."""
    sizes = ((2, 64, 96), (3, 96, 64), (2, 64, 96), (1, 48, 200), (2, 100, 100))
    requests = [film(number, *size) for number, size in enumerate(sizes)]
    alone = [answer(engine, request).text for request in requests]
    futures = [engine.submit(request) for request in requests]
    assert [future.result(120).text for future in futures] == alone


def test_lengths_are_kept_apart_for_releases_that_need_it(engine: VllmEngine) -> None:
    from vllm.multimodal.utils import group_and_batch_mm_kwargs

    items = []
    for number, samples in enumerate((16_000, 9_999, 9_999)):
        request = sound(number, samples)
        inputs = engine._prompts.inputs(request.prompt, request.piece)
        [prepared] = engine._runtime.engine.renderer.render_cmpl([inputs], engine._tokenize)
        keep_sizes_apart(prepared, ["audio"])
        items.append(("audio", prepared["mm_kwargs"]["audio"][0]))
    batches = [count for _, count, _ in group_and_batch_mm_kwargs(items)]
    assert batches == [1, 2]


def test_a_bad_request_fails_alone(engine: VllmEngine) -> None:
    bad = [
        (Request("b", Prompt("A.", image_tokens=99), image(1).piece), "engine"),
        (Request("s", Prompt("A.", json_schema={"type": "no type"}), image(1).piece), "engine"),
        (sound(1, 320), "empty"),
        (sound(1, 480_001), "too_long"),
        (Request("t", Prompt("word " * 9000), image(1).piece), "engine"),
    ]
    good = [engine.submit(image(number)) for number in range(4)]
    futures = [engine.submit(request) for request, _ in bad]
    for future, (_, kind) in zip(futures, bad, strict=True):
        with pytest.raises(RowError) as caught:
            future.result(120)
        assert caught.value.kind == kind
    for number, future in enumerate(good):
        assert future.result(120).id == f"image/{number}"


def test_a_text_that_names_a_placeholder_is_a_text(engine: VllmEngine) -> None:
    """It would be taken for a second medium, of which there is none."""
    asked = Request("p", Prompt("Say <|image|> twice.", max_tokens=2), image(1).piece)
    assert engine.submit(asked).result(120).id == "p"


def test_measure_refuses_what_the_context_cannot_hold(engine: VllmEngine) -> None:
    assert engine.measure(image(1, max_tokens=8000)) <= 8192
    with pytest.raises(RowError, match="8192 of the context") as caught:
        engine.measure(image(1, max_tokens=8192))
    assert caught.value.kind == "too_long"


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="cannot be read"):
        load_engine(str(tmp_path), "none", EngineOptions(), device="cpu")


@pytest.fixture
def apart(tiny_folder: Path) -> Iterator[VllmEngine]:
    """The asynchronous engine in a process of its own, and two renderers, as on a GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's and PyTorch's own, while they are imported
        engine = load_engine(
            str(tiny_folder),
            "tiny",
            EngineOptions(renderer_num_workers=2),
            device="cpu",
            in_process=False,
        )
    yield engine
    engine.close()


def test_no_medium_has_the_name_of_another(engine: VllmEngine) -> None:
    """What the engine encoded it takes by a medium's name: one of another row is its picture."""
    from vllm.renderers import renderer_from_config

    config = cast("Any", engine._runtime).engine.vllm_config
    renderers = Renderers(2, lambda: renderer_from_config(config))
    names = []
    for number in range(6):
        request = image(number)
        with renderers.one() as renderer:  # by turns
            inputs = engine._prompts.inputs(request.prompt, request.piece)
            [prepared] = renderer.render_cmpl([inputs], engine._tokenize)
        names += prepared["mm_hashes"]["image"]
    assert len(set(names)) == 6


@pytest.mark.full
def test_in_a_process_of_its_own(apart: VllmEngine) -> None:
    clip = Clip(np.zeros((2, 32, 32, 3), np.uint8), (0, 25), 25.0, 26)
    film = Request("film", Prompt("What happens?", max_tokens=4), Piece(SPAN, clip=clip))
    requests = [image(1), image(2), sound(3, 20_000), film]
    futures = [apart.submit(request) for request in requests]
    bad = apart.submit(sound(1, 320))
    for request, future in zip(requests, futures, strict=True):
        completion = future.result(240)
        assert completion.id == request.id
        assert completion.prompt_tokens == apart.measure(request) - request.prompt.max_tokens
    with pytest.raises(RowError):
        bad.result(60)

    # What is taken back is dropped by vLLM too.
    long = [apart.submit(long_one(number)) for number in range(8)]
    assert apart.submit(image(1)).result(240).id == "image/1"
    assert all(future.cancel() for future in long)
    assert apart.submit(image(2)).result(60).id == "image/2"
    assert cast("Any", apart._runtime).engine.output_processor.get_num_unfinished_requests() == 0
    assert apart._in_flight._entries == {}

    # The engine's process dies in the middle: all that is in flight says so, and all after.
    pending = [apart.submit(long_one(number)) for number in range(8)]
    for child in psutil.Process().children(recursive=True):
        if "EngineCore" in " ".join(child.cmdline()) or "EngineCore" in child.name():
            os.kill(child.pid, signal.SIGKILL)
    for future in pending:
        with pytest.raises(EngineDead):
            future.result(60)
    with pytest.raises(EngineDead):
        apart.submit(image(1)).result(60)
    start = time.monotonic()
    apart.close()
    assert time.monotonic() - start < 15
