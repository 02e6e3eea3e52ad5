"""Where engines go: all on GPUs that exist, none beyond its share, for any number of either."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog import SIZES, Facts, size_shape, weight_bytes
from storage.errors import InvalidJob
from workers.engine import EngineOptions, engine_options
from workers.fitting import GIB, USUAL, Gpus, Setting, _need, fit
from workers.placing import Place, describe, place

given_options = st.fixed_dictionaries(
    {},
    optional={
        "gpu_memory_utilization": st.floats(0.3, 1),
        "max_num_seqs": st.sampled_from([1, 64, 1024]),
        "max_num_batched_tokens": st.sampled_from([2560, 32768]),
        "max_model_len": st.sampled_from([2048, 8192, 131_072]),
        "kv_cache_dtype": st.just("fp8"),
        "limit_mm_per_prompt": st.just({"image": 3, "audio": 1}),
    },
)


def facts(size: str, weights: str = "bf16") -> Facts:
    shape = size_shape(size)
    return Facts(shape, weights, weight_bytes(shape, weights))


def placed(
    size: str, gb: int, count: int = 1, *, engines: int | None = None, cores: int = 16, **given: Any
) -> list[Place]:
    gpus = Gpus(count, USUAL[gb])
    options = engine_options(given)
    return place("m", facts(size), gpus, options, engines=engines, cores=cores)


def started_with(known: Facts, gpus: Gpus, options: EngineOptions, where: Place) -> EngineOptions:
    """The options of an engine that sees its own GPUs alone, as its process settles them."""
    told = engine_options(options.given | where.options)
    fitted = fit("m", known, Gpus(len(where.devices), gpus.memory), told)
    names = set(fitted.arguments) & set(EngineOptions.model_fields)
    return engine_options(told.given | {name: fitted.arguments[name] for name in names})


def need(known: Facts, options: EngineOptions, images: int) -> float:
    """Bytes that the engine takes of each of its GPUs, the cache that it is told included."""
    assert options.max_model_len is not None
    assert options.max_num_batched_tokens is not None
    assert options.tensor_parallel_size is not None
    setting = Setting(options.max_model_len, options.max_num_batched_tokens, images)
    return _need(known, setting, options.tensor_parallel_size, options)


@given(
    size=st.sampled_from(SIZES),
    weights=st.sampled_from(("bf16", "fp8", "w4a16")),
    memory=st.sampled_from([*USUAL.values(), 12 * GIB, 64 * GIB]),
    count=st.integers(1, 16),
    engines=st.none() | st.integers(1, 64),
    cores=st.integers(1, 256),
    given=given_options,
)
def test_every_engine_has_a_place_of_its_own(
    size: str,
    weights: str,
    memory: int,
    count: int,
    engines: int | None,
    cores: int,
    given: dict[str, Any],
) -> None:
    known, gpus, options = facts(size, weights), Gpus(count, memory), engine_options(given)
    try:
        places = place("m", known, gpus, options, engines=engines, cores=cores)
    except InvalidJob as error:
        said = str(error)
        assert "does not fit" in said or "there is room for" in said
        return
    together = fit("m", known, gpus, options).arguments["tensor_parallel_size"]
    assert len(places) == engines or engines is None
    shares: Counter[int] = Counter()
    for where in places:
        first = where.devices[0]
        assert where.devices == tuple(range(first, first + together))
        assert where.devices[-1] < count
        shares.update(where.devices)
    # Evenly, over all GPUs that make whole groups, one of each before the second of any.
    groups = Counter(where.devices for where in places)
    assert len(groups) == min(len(places), count // together)
    assert max(groups.values()) - min(groups.values()) <= 1
    assert {where.devices for where in places[: len(groups)]} == set(groups)
    utilisation = given.get("gpu_memory_utilization", 0.9)
    for number in shares.values():
        assert number * places[0].share <= utilisation + 1e-9
    for where in places:
        settled = started_with(known, gpus, options, where)
        assert settled.tensor_parallel_size == together
        for name, value in given.items():
            if name not in ("gpu_memory_utilization", "limit_mm_per_prompt"):
                assert getattr(settled, name) == value
        if max(groups.values()) == 1:
            assert where.options["gpu_memory_utilization"] == utilisation
            assert "kv_cache_memory_bytes" not in where.options
            continue
        limits = where.options["limit_mm_per_prompt"]
        assert limits == {**given.get("limit_mm_per_prompt", {}), "image": limits["image"]}
        cache = where.options["kv_cache_memory_bytes"]
        assert cache > 0
        assert need(known, settled, limits["image"]) <= where.share * memory + 1


@given(
    size=st.sampled_from(("E2B", "E4B")),
    cache=st.integers(1, 60),
    engines=st.none() | st.integers(2, 8),
    cores=st.integers(1, 64),
)
def test_a_given_cache_is_counted_for_each_that_shares(
    size: str, cache: int, engines: int | None, cores: int
) -> None:
    known, gpus = facts(size), Gpus(1, USUAL[80])
    options = engine_options({"kv_cache_memory_bytes": cache * GIB})
    try:
        places = place("m", known, gpus, options, engines=engines, cores=cores)
    except InvalidJob:
        return
    taken = 0.0
    for where in places:
        settled = started_with(known, gpus, options, where)
        assert settled.kv_cache_memory_bytes == cache * GIB
        taken += need(known, settled, 32)
    assert taken <= gpus.memory


@pytest.mark.parametrize(
    ("size", "gb", "count", "cores", "engines", "together"),
    [
        ("E2B", 80, 1, 16, 4, 1),
        ("E4B", 80, 1, 16, 2, 1),
        ("12B", 80, 1, 16, 1, 1),
        ("26B-A4B", 80, 1, 16, 1, 1),
        ("31B", 80, 1, 16, 1, 1),
        ("31B", 80, 2, 32, 1, 2),
        ("31B", 80, 5, 64, 2, 2),
        ("31B", 141, 2, 32, 2, 1),
        ("E2B", 80, 8, 128, 32, 1),
        ("E2B", 80, 1, 4, 1, 1),
        ("E2B", 80, 1, 8, 2, 1),
        ("E2B", 80, 8, 16, 8, 1),
        ("E2B", 24, 1, 16, 1, 1),
        ("E2B", 141, 1, 16, 4, 1),
    ],
)
def test_what_is_chosen(
    size: str, gb: int, count: int, cores: int, engines: int, together: int
) -> None:
    places = placed(size, gb, count, cores=cores)
    assert (len(places), {len(where.devices) for where in places}) == (engines, {together})
    tight = (size, gb, count) == ("31B", 80, 1)
    assert {where.note is not None for where in places} == {tight}


def test_those_of_one_rank_come_together() -> None:
    places = placed("E2B", 80, 3, engines=5)
    assert [where.devices for where in places] == [(0,), (1,), (2,), (0,), (1,)]
    assert [where.devices for where in placed("31B", 80, 4)] == [(0, 1), (2, 3)]


def test_what_is_given_stays() -> None:
    (alone,) = placed("E2B", 80, engines=1, gpu_memory_utilization=0.9123)
    assert alone.options == {
        "gpu_memory_utilization": 0.9123,
        "tensor_parallel_size": 1,
        "max_model_len": 32768,
        "max_num_batched_tokens": 16384,
        "limit_mm_per_prompt": {"image": 32},
    }
    (pair,) = placed("E2B", 80, 2, tensor_parallel_size=2, cores=64)
    assert pair.options["tensor_parallel_size"] == 2
    for where in placed("E2B", 80, engines=3, kv_cache_memory_bytes=4 * GIB):
        assert where.options["kv_cache_memory_bytes"] == 4 * GIB


def test_engines_that_are_tight_are_told_shorter_steps() -> None:
    """Their own process would take long ones: it sees the whole GPU, and a cache that is told."""
    for where in placed("E2B", 48, engines=3):
        assert where.options["max_num_batched_tokens"] < 16384
        assert where.note is not None
        assert "max_num_batched_tokens" in where.note


@pytest.mark.parametrize(
    ("size", "count", "engines", "given", "words"),
    [
        ("E2B", 1, 7, {}, "7 engines of m do not fit 1 GPU of 80 GiB: there is room for 5"),
        ("E2B", 2, 11, {}, "11 engines of m do not fit 2 GPUs of 80 GiB: there is room for 10"),
        ("12B", 1, 3, {}, "3 engines of m do not fit 1 GPU of 80 GiB: there is room for 2"),
        ("26B-A4B", 1, 2, {}, "there is room for 1$"),
        ("31B", 2, 2, {}, "2 engines of m: each needs 2 of 2 GPUs.*there is room for 1$"),
        ("E2B", 1, 2, {"kv_cache_memory_bytes": 40 * GIB}, "there is room for 1$"),
        # Longer than the cache of a share holds: vLLM would not start.
        ("E2B", 1, 4, {"max_model_len": 131_072, "max_num_seqs": 4096}, "there is room for"),
    ],
)
def test_too_many_are_refused(
    size: str, count: int, engines: int, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidJob, match=words):
        placed(size, 80, count, engines=engines, **given)


def test_in_words() -> None:
    gpus = Gpus(4, USUAL[80])
    assert describe("m", placed("E2B", 80, 4, engines=8), gpus) == (
        "8 engines of m on 4 of 4 GPUs of 80 GiB, each on 1 with 0.45 of the memory"
    )
    assert describe("m", placed("31B", 80, 2), Gpus(2, USUAL[80])) == (
        "1 engine of m on 2 of 2 GPUs of 80 GiB, each on 2 with 0.90 of the memory"
    )
