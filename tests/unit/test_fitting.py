"""Engine arguments for every size on the usual GPUs, and what is said when nothing fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog import KNOWN, Facts, Published, size_shape, weight_bytes
from storage.errors import InvalidJob
from workers.engine import EngineOptions, engine_options
from workers.fitting import BEST, GIB, USUAL, USUAL_COUNTS, Fitted, Gpus, fit, smallest_gpu

#: By the GB of a GPU, on 1, 2, 4 and 8 of them: how many are used, then tokens of the
#: longest request and of a step in units of 1,024; "-" is refused.
ALL = "1/32/16 1/32/16 1/32/16 1/32/16"
EXPECTED = {
    "E2B": dict.fromkeys(USUAL, ALL),
    "E4B": dict.fromkeys(USUAL, ALL) | {24: "1/32/8 1/32/8 1/32/8 1/32/8"},
    "12B": dict.fromkeys(USUAL, ALL)
    | {24: "- 2/32/8 2/32/8 2/32/8", 40: "1/32/8 1/32/8 1/32/8 1/32/8"},
    "26B-A4B": dict.fromkeys(USUAL, ALL)
    | {
        24: "- - 4/32/16 4/32/16",
        40: "- 2/32/16 2/32/16 2/32/16",
        48: "- 2/32/16 2/32/16 2/32/16",
    },
    "31B": {
        24: "- - 4/4/4 8/32/16",
        40: "- 2/4/4 4/32/16 4/32/16",
        48: "- 2/32/4 2/32/4 2/32/4",
        80: "1/8/4 2/32/16 2/32/16 2/32/16",
        141: ALL,
    },
}


def options(**given: Any) -> EngineOptions:
    return engine_options(given)


def facts(size: str, weights: str = "bf16") -> Facts:
    shape = size_shape(size)
    return Facts(shape, weights, weight_bytes(shape, weights))


def gpus(gb: int, count: int = 1) -> Gpus:
    return Gpus(count, USUAL[gb])


def short(fitted: Fitted) -> str:
    a = fitted.arguments
    lengths = (a["max_model_len"] // 1024, a["max_num_batched_tokens"] // 1024)
    return f"{a['tensor_parallel_size']}/{lengths[0]}/{lengths[1]}"


def outcome(size: str, gb: int, count: int) -> str:
    try:
        return short(fit(size, facts(size), gpus(gb, count), options()))
    except InvalidJob:
        return "-"


@pytest.mark.parametrize("size", EXPECTED)
def test_every_size_on_the_usual_gpus(size: str) -> None:
    seen = {gb: " ".join(outcome(size, gb, count) for count in USUAL_COUNTS) for gb in USUAL}
    assert seen == EXPECTED[size]


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_a_quantised_checkpoint_needs_no_more_than_a_plain_one(known: Published) -> None:
    for lowered in (True, False):
        plain = smallest_gpu(facts(known.size), lowered=lowered)
        least = smallest_gpu(known.facts, lowered=lowered)
        assert plain is not None
        assert least is not None
        assert least <= plain


def test_room_enough_is_not_spoken_of() -> None:
    fitted = fit("m", facts("E2B"), gpus(80), options())
    assert (fitted.images, fitted.note) == (BEST.images, None)
    assert fitted.arguments == {
        "max_model_len": 32768,
        "max_num_batched_tokens": 16384,
        "max_num_seqs": 256,
        "gpu_memory_utilization": 0.9,
        "tensor_parallel_size": 1,
    }


def test_what_is_lowered_is_told() -> None:
    fitted = fit("m", facts("31B"), gpus(80), options())
    assert fitted.images == 16
    assert fitted.note == (
        "m is tight on 1 GPU of 80 GiB: max_model_len 8,192 instead of 32,768, "
        "max_num_batched_tokens 4,096 instead of 16,384, images of a request 16 instead of 32"
    )


def test_a_short_context_of_the_model_is_no_lowering() -> None:
    shape = replace(size_shape("E2B"), context=8192)
    fitted = fit("m", Facts(shape, "bf16", weight_bytes(shape, "bf16")), gpus(80), options())
    assert (fitted.arguments["max_model_len"], fitted.note) == (8192, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_model_len", 20_000),
        ("max_num_batched_tokens", 3000),
        ("max_num_seqs", 7),
        ("gpu_memory_utilization", 0.95),
        ("tensor_parallel_size", 2),
        ("kv_cache_memory_bytes", 4 * GIB),
        ("kv_cache_dtype", "fp8"),
        ("enforce_eager", True),
    ],
)
def test_what_was_given_stands(name: str, value: Any) -> None:
    fitted = fit("m", facts("E2B"), gpus(48, 4), options(**{name: value}))
    assert fitted.arguments[name] == value


def test_a_given_number_of_images_stands_where_memory_is_tight() -> None:
    given = options(limit_mm_per_prompt={"image": 24})
    assert fit("m", facts("31B"), gpus(80), given).images == 24


def test_options_change_what_is_needed() -> None:
    """A 12B on one GPU of 24 GB: not as it is, but with weights in eight bits."""
    assert outcome("12B", 24, 1) == "-"
    assert short(fit("m", facts("12B"), gpus(24), options(quantization="fp8")))
    # Twice the size in float32.
    with pytest.raises(InvalidJob, match=r"44\.6 GiB"):
        fit("m", facts("12B"), gpus(40), options(dtype="float32"))
    # A cache of eight bits leaves room for requests of full length.
    plain, small = (
        fit("m", facts("31B"), gpus(80), options(**given)).arguments["max_model_len"]
        for given in ({}, {"kv_cache_dtype": "fp8"})
    )
    assert plain < small


def test_a_given_cache_bounds_the_longest_request() -> None:
    fitted = fit("m", facts("31B"), gpus(141), options(kv_cache_memory_bytes=8 * GIB))
    assert fitted.arguments["max_model_len"] == 8192
    with pytest.raises(InvalidJob, match="1073741824 holds no request of 4096 tokens"):
        fit("m", facts("31B"), gpus(141), options(kv_cache_memory_bytes=GIB))


def test_a_length_that_was_asked_for_is_tried_unless_it_cannot_be() -> None:
    fitted = fit("m", facts("31B"), gpus(80), options(max_model_len=32768))
    assert fitted.note == "m may be too much for 1 GPU of 80 GiB with max_model_len 32,768"
    with pytest.raises(InvalidJob, match=r"max_model_len=131072.*these GPUs without those"):
        fit("m", facts("31B"), gpus(80), options(max_model_len=131_072))


@pytest.mark.parametrize(
    ("size", "gb", "count", "words"),
    [
        (
            "31B",
            24,
            1,
            "m does not fit 1 GPU of 22 GiB: weights of 58.2 GiB.*20.2 may be used. "
            "What fits: 4 such GPUs; a GPU of 80 GB$",
        ),
        ("31B", 48, 1, "2 such GPUs; a GPU of 80 GB; google/gemma-4-31B-it-qat-w4a16-ct here"),
        ("12B", 24, 1, "2 such GPUs; a GPU of 40 GB; google/gemma-4-12B-it-qat-w4a16-ct here"),
        ("26B-A4B", 40, 1, "a GPU of 80 GB; RedHatAI/gemma-4-26B-A4B-it-FP8-dynamic here"),
        ("31B", 24, 2, "does not fit 2 GPUs of 22 GiB.*GiB of each of them"),
    ],
)
def test_a_refusal_says_what_would_fit(size: str, gb: int, count: int, words: str) -> None:
    with pytest.raises(InvalidJob, match=words):
        fit("m", facts(size), gpus(gb, count), options())


def test_more_gpus_than_there_are() -> None:
    with pytest.raises(InvalidJob, match="tensor_parallel_size 4 is more than 2 GPUs of"):
        fit("m", facts("E2B"), gpus(80, 2), options(tensor_parallel_size=4))
    with pytest.raises(InvalidJob, match="3 GPUs cannot share m"):
        fit("m", facts("E2B"), gpus(80, 4), options(tensor_parallel_size=3))


@given(
    size=st.sampled_from(tuple(EXPECTED)),
    weights=st.sampled_from(("bf16", "fp8", "w4a16")),
    memory=st.integers(8, 200),
    count=st.integers(1, 8),
)
def test_whatever_fits_fits_with_more(size: str, weights: str, memory: int, count: int) -> None:
    known = facts(size, weights)
    try:
        fitted = fit("m", known, Gpus(count, memory * GIB), options())
    except InvalidJob as error:
        assert "What fits: " in str(error)  # noqa: PT017 - some are refused, and say so
        return
    parallel = fitted.arguments["tensor_parallel_size"]
    assert parallel <= count
    assert known.shape.splits(parallel)
    assert known.weight_bytes / parallel < memory * GIB
    for more in (Gpus(count + 1, memory * GIB), Gpus(count, (memory + 8) * GIB)):
        better = fit("m", known, more, options())
        assert better.arguments["max_model_len"] >= fitted.arguments["max_model_len"]
