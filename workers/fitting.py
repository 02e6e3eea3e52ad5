"""Engine arguments that fit a model onto the GPUs at hand: pure arithmetic, no CUDA.

Memory is counted as vLLM takes it when it starts: weights, the work of one step, and a
cache that must hold one request of the longest length. The counts are estimates; what
the user gives always stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from jobs.catalog import KNOWN, Facts, size_of, weight_bytes
from jobs.pieces import MOST_IMAGES
from storage.errors import InvalidJob
from workers.engine import EngineOptions, engine_options

GIB = 1 << 30
#: Bytes that drivers report of common GPUs, by the GB that they are sold with: the least
#: of each kind (L4, A100, L40S, H100, H200).
USUAL = {
    24: 23_034 << 20,
    40: 40_960 << 20,
    48: 46_068 << 20,
    80: 81_559 << 20,
    141: 143_771 << 20,
}
#: GPUs that hosts usually have.
USUAL_COUNTS = (1, 2, 4, 8)
#: What vLLM may take of a GPU, and requests in one step, when not told otherwise.
UTILISATION, SEQUENCES = 0.9, 256
#: Weights take a little more in vLLM than on disk: padding, keys doubled into values,
#: scales. An FP8 31B was seen at 18.2 GB on each of two GPUs, 17.2 GB by its numbers.
_WEIGHT_MARGIN = 1.03
#: Bytes beside weights, cache and the step: CUDA's context, captured graphs, media towers
#: at work (vLLM encodes in chunks that fit what is free). E2B left 1.9 GiB of it unused.
_BESIDE = 2.5 * GIB
#: Bytes of a logit: once in bfloat16, twice in float32 while sampling.
_LOGIT = 10
#: Vectors of the hidden size and of the feed-forward's that live at once in a layer.
_HIDDEN, _WIDE = 6, 3
#: Steps that vLLM schedules before the first of them is settled.
_STEPS_AHEAD = 2


class Setting(NamedTuple):
    """Tokens of the longest request and of one step, and images that a request may have."""

    max_model_len: int
    max_num_batched_tokens: int
    images: int


#: What suits batches, and what is tried in its place where memory is tight, group by group.
#: Shorter steps cost some speed, less than a second GPU does; shorter requests cost rows.
#: A step must hold a whole film of 32 frames (2,560 tokens).
SETTINGS = (
    tuple(Setting(32768, step, MOST_IMAGES) for step in (16384, 8192, 4096)),
    (Setting(16384, 4096, 16),),
    (Setting(8192, 4096, 16),),
    (Setting(4096, 4096, 8),),
)
BEST, LEAST = SETTINGS[0][0], SETTINGS[-1][-1]


@dataclass(frozen=True, slots=True)
class Gpus:
    """GPUs of this host that one engine may use: how many, and the bytes of the smallest."""

    count: int
    memory: int

    def __str__(self) -> str:
        return f"{self.count} GPU{'s' if self.count > 1 else ''} of {self.memory / GIB:.0f} GiB"


@dataclass(frozen=True, slots=True)
class Fitted:
    """Engine arguments that fit, images of one request, and the bytes that are left for the
    cache on each GPU, `longest` of them for one request; `note` says what was lowered."""

    arguments: dict[str, Any]
    images: int
    cache: int
    longest: int
    note: str | None = None


def fit(name: str, facts: Facts, gpus: Gpus, options: EngineOptions) -> Fitted:
    """Arguments with which the model runs on these GPUs, on as few of them as it needs.

    Requests of full length on several GPUs go before shorter ones on fewer. Options
    that were given stay as they are. Raises InvalidJob, saying what would fit, if nothing does.
    """
    _check_parallel(name, facts, gpus, options.tensor_parallel_size)
    found = _search(facts, gpus, options)
    doubtful = found is None and options.max_model_len is not None
    if doubtful:
        # Asked for by number: let vLLM try what our estimates alone forbid.
        found = _search(facts, gpus, options, least=True)
    if found is None:
        raise InvalidJob(_refusal(name, facts, gpus, options))
    setting, parallel = found
    wanted = _wanted(facts, options, BEST)
    lowered = [
        f"{label} {now:,} instead of {before:,}"
        for label, now, before in zip(
            ("max_model_len", "max_num_batched_tokens", "images of a request"),
            setting,
            wanted,
            strict=True,
        )
        if now != before
    ]
    arguments = {
        "max_model_len": setting.max_model_len,
        "max_num_batched_tokens": setting.max_num_batched_tokens,
        "max_num_seqs": SEQUENCES,
        "gpu_memory_utilization": UTILISATION,
        "tensor_parallel_size": parallel,
        **options.given,
    }
    note = f"{name} is tight on {gpus}: {', '.join(lowered)}" if lowered else None
    if doubtful:
        note = f"{name} may be too much for {gpus} with max_model_len {setting.max_model_len:,}"
    room = _usable(gpus, options) - _need(facts, setting, parallel, options)
    longest = _cache(facts, setting, parallel, options)
    return Fitted(arguments, setting.images, round(room + longest), round(longest), note)


def _check_parallel(name: str, facts: Facts, gpus: Gpus, parallel: int | None) -> None:
    if parallel is None:
        return
    if parallel > gpus.count:
        raise InvalidJob(f"tensor_parallel_size {parallel} is more than {gpus} here")
    if not facts.shape.splits(parallel):
        raise InvalidJob(
            f"{parallel} GPUs cannot share {name}: tensor_parallel_size must divide its "
            f"{facts.shape.heads} heads, as 1, 2, 4 and 8 do"
        )


def smallest_gpu(facts: Facts, *, lowered: bool) -> int | None:
    """GB of the smallest usual GPU that holds the model alone, with full or with `lowered`
    settings; None if none does."""
    return next(
        (gb for gb, memory in USUAL.items() if _fits(facts, Gpus(1, memory), lowered)), None
    )


def _fits(facts: Facts, gpus: Gpus, lowered: bool = True) -> bool:
    free = engine_options({})
    found = _search(facts, gpus, free)
    return found is not None and (lowered or found[0] == _wanted(facts, free, BEST))


def _search(
    facts: Facts, gpus: Gpus, options: EngineOptions, *, least: bool = False
) -> tuple[Setting, int] | None:
    """The first setting that fits, on the fewest GPUs on which it does; `least` as in `_need`."""
    usable = _usable(gpus, options)
    for group in SETTINGS:
        for parallel in _parallels(facts, gpus, options):
            for setting in group:
                wanted = _wanted(facts, options, setting)
                if _need(facts, wanted, parallel, options, least=least) <= usable:
                    return wanted, parallel
    return None


def _usable(gpus: Gpus, options: EngineOptions) -> float:
    """Bytes of a GPU that vLLM may take; all of them if the cache's size was given."""
    if options.kv_cache_memory_bytes is not None:
        return gpus.memory
    return gpus.memory * (options.gpu_memory_utilization or UTILISATION)


def _wanted(facts: Facts, options: EngineOptions, setting: Setting) -> Setting:
    """The setting with what was given in its place, no longer than the model's context."""
    given = (options.limit_mm_per_prompt or {}).get("image")
    return Setting(
        options.max_model_len or min(setting.max_model_len, facts.shape.context),
        options.max_num_batched_tokens or setting.max_num_batched_tokens,
        setting.images if given is None else given,
    )


def _parallels(facts: Facts, gpus: Gpus, options: EngineOptions) -> Iterator[int]:
    if options.tensor_parallel_size is not None:
        yield options.tensor_parallel_size
        return
    parallel = 1
    while parallel <= gpus.count:
        if facts.shape.splits(parallel):
            yield parallel
        parallel *= 2


def _need(
    facts: Facts, setting: Setting, parallel: int, options: EngineOptions, *, least: bool = False
) -> float:
    """Bytes that each of `parallel` GPUs must give; infinite if a given cache is too small.

    `least` counts what is certain alone, weights and cache: with less vLLM does not start.
    """
    shape = facts.shape
    item = _item(options)
    towers = shape.towers * item
    weights = (_weights(facts, options) - towers) / parallel + towers
    cache = _cache(facts, setting, parallel, options)
    if options.kv_cache_memory_bytes is not None:
        cache = options.kv_cache_memory_bytes if cache <= options.kv_cache_memory_bytes else inf
    if least:
        return weights + cache
    wide = shape.intermediate * (2 if shape.wide_when_shared else 1) / parallel
    routed = shape.experts_used * (shape.hidden + _WIDE * shape.expert_size / parallel)
    step = item * (_HIDDEN * shape.hidden + _WIDE * wide + routed)
    step *= setting.max_num_batched_tokens
    logits = _LOGIT * shape.vocabulary * (options.max_num_seqs or SEQUENCES)
    return _WEIGHT_MARGIN * weights + step + logits + cache + _BESIDE


def _item(options: EngineOptions) -> int:
    """Bytes of a number in activations, and in weights that are not quantised."""
    return 4 if options.dtype == "float32" else 2


def _weights(facts: Facts, options: EngineOptions) -> float:
    """Bytes of all weights, as the options have them loaded."""
    if facts.format == "bf16":
        if options.dtype == "float32":
            return 2.0 * facts.weight_bytes
        if options.quantization == "fp8":
            return weight_bytes(facts.shape, "fp8")
    return facts.weight_bytes


def _cache(facts: Facts, setting: Setting, parallel: int, options: EngineOptions) -> float:
    """Bytes of cache that one request of the longest length takes of a GPU."""
    shape = facts.shape
    item = _cache_item(options)
    length, batch = setting.max_model_len, setting.max_num_batched_tokens
    held = min(length, shape.window + _STEPS_AHEAD * batch)
    whole = shape.cached(full=True, tensor_parallel=parallel) * length
    sliding = shape.cached(full=False, tensor_parallel=parallel) * held
    return float(item * (whole + sliding))


def cache_per_token(facts: Facts, options: EngineOptions) -> int:
    """Bytes of cache that a token takes of one GPU while all layers look back at it."""
    shape = facts.shape
    return _cache_item(options) * (shape.cached(full=True) + shape.cached(full=False))


def _cache_item(options: EngineOptions) -> int:
    """Bytes of a number in the cache."""
    return 1 if (options.kv_cache_dtype or "").startswith("fp8") else _item(options)


def _refusal(name: str, facts: Facts, gpus: Gpus, options: EngineOptions) -> str:
    given = ", ".join(f"{key}={value}" for key, value in options.given.items())
    needed = min(
        _need(facts, _wanted(facts, options, LEAST), parallel, options)
        for parallel in _parallels(facts, gpus, options)
    )
    each = "it" if gpus.count == 1 else "each of them"
    message = (
        f"model {name} does not fit {gpus}{f' with {given}' if given else ''}: "
        f"weights of {_weights(facts, options) / GIB:.1f} GiB, and the least cache and work, take "
        f"{needed / GIB:.1f} GiB of {each}, where {_usable(gpus, options) / GIB:.1f} may be used"
    )
    if needed == inf:
        message = (
            f"model {name}: kv_cache_memory_bytes={options.kv_cache_memory_bytes} holds no request "
            f"of {_wanted(facts, options, LEAST).max_model_len} tokens"
        )
    cures = list(_cures(facts, gpus, options))
    return f"{message}. What fits: {'; '.join(cures)}" if cures else message


def _cures(facts: Facts, gpus: Gpus, options: EngineOptions) -> Iterator[str]:
    """What would fit in place of what does not."""
    if options.given and _fits(facts, gpus):
        yield "these GPUs without those options"
        return
    for count in USUAL_COUNTS:
        if count > gpus.count and _fits(facts, Gpus(count, gpus.memory)):
            yield f"{count} such GPUs"
            break
    single = smallest_gpu(facts, lowered=True)
    if single is not None:
        yield f"a GPU of {single} GB"
    size = size_of(facts.shape)
    for known in KNOWN:
        smaller = known.size == size and known.facts.weight_bytes < facts.weight_bytes
        if smaller and _fits(known.facts, gpus):
            yield f"{known.name} here"
