"""Gemma 4 on vLLM: the only file that imports vllm. Runs on 0.26 (GPUs) and 0.32 (CPUs) alike.

On a CPU the engine lives in this process and a thread steps it: it starts three times as
fast and answers sooner than one in a process of its own, which is what a GPU wants.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

from jobs.tasks.base import Prompt
from storage.errors import EngineDead, InvalidJob
from workers.arguments import Device, engine_arguments, keep_kernels
from workers.engine import Capacity, Completion, EngineOptions, Request
from workers.fitting import Gpus
from workers.fleet import measured
from workers.groups import TOGETHER, Groups
from workers.in_flight import InFlight
from workers.prompts import Prompts
from workers.renderers import Renderers
from workers.stepping import Looped, Reports, Runtime, Stepped
from workers.towers import quicken, without_padding

_log = logging.getLogger(__name__)

#: An answer is a loop when its last tokens, up to so many, were said so often on end. Fewer
#: rounds would end rows of dots and tables of zeros.
LOOP_TOKENS, LOOP_ROUNDS = 24, 20
#: Minor version (0.x) of vLLM from which sounds of several lengths may meet in one step.
UNEVEN_SOUND_FIXED = 32
#: Where a medium's size stands: a tensor's name, and its axis.
_SIZES = {"video": ("pixel_values_videos", 1), "audio": ("input_features_padded", 0)}


def load_engine(
    path: str,
    model: str,
    options: EngineOptions,
    *,
    device: Device,
    in_process: bool | None = None,
) -> VllmEngine:
    """Load the checkpoint in folder `path` and start its engine.

    `model` is the name and revision that jobs ask for. `in_process` is for CPUs unless said
    otherwise; a process holds one such engine. Raises InvalidJob if the checkpoint, the
    options or the GPUs do not fit, EngineDead if vLLM does not start.
    """
    if in_process is None:
        in_process = device == "cpu"
    # vLLM, transformers and torch read these while they are imported.
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # Much is told at a start that nobody can act on: it is for those who debug.
    if not _log.isEnabledFor(logging.DEBUG):
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR" if device == "cpu" else "WARNING")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    keep_kernels()
    quicken()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if in_process else "1"
    prompts = Prompts(path)
    arguments = engine_arguments(path, prompts, options, device, gpus=find_gpus, model=model)
    # On a CPU they would take from the model what they give to it.
    usual, together = (1, 1) if device == "cpu" else (2, TOGETHER)
    return VllmEngine(
        arguments,
        prompts,
        model,
        in_process=in_process,
        renderers=options.renderer_num_workers or usual,
        together=options.together or together,
    )


def find_gpus() -> Gpus:
    """The GPUs that this process may use, asked of the driver: CUDA is not started here.

    Raises InvalidJob if there are none.
    """
    from vllm.platforms import current_platform

    count = current_platform.device_count()
    if not count:
        raise InvalidJob(
            "no GPU is to be seen here: check the driver and CUDA_VISIBLE_DEVICES, or give "
            "--device cpu"
        )
    return Gpus(count, min(current_platform.get_device_total_memory(n) for n in range(count)))


class VllmEngine:
    """An `Engine` on vLLM. Thread-safe."""

    name = "vllm"

    def __init__(
        self,
        arguments: dict[str, Any],
        prompts: Prompts,
        model: str,
        *,
        in_process: bool,
        renderers: int,
        together: int = 1,
    ) -> None:
        import vllm
        from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs
        from vllm.renderers import renderer_from_config

        self.version: str = vllm.__version__
        self.model = model
        self._prompts = prompts
        self._in_flight = InFlight(model)
        self._closed = False
        reports = Reports(
            self._in_flight.finished,
            self._in_flight.failed,
            self._in_flight.dropped,
            self._in_flight.died,
        )
        self._runtime: Runtime
        try:
            if in_process:
                from vllm.v1.engine.llm_engine import LLMEngine

                engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
                self._runtime = Stepped(engine, reports)
            else:
                from vllm.v1.engine.async_llm import AsyncLLM

                self._runtime = Looped(
                    lambda: AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments)),
                    reports,
                    # One by one they wait in the engine, which then never lacks the next.
                    Groups(together, arguments["max_num_seqs"]) if together > 1 else Groups(1),
                )
        except (TypeError, ValueError) as error:
            raise InvalidJob(f"vLLM does not take model {model} so: {error}") from error
        except RuntimeError as error:
            raise EngineDead(f"vLLM did not start with model {model}: {error}") from error
        config = self._runtime.engine.vllm_config
        self._handing_over = threading.Lock()
        self._tokenize = self._runtime.engine.renderer.default_cmpl_tok_params.with_kwargs(
            add_special_tokens=False  # the template wrote <bos> already
        )
        self._sampling = _generation_defaults(config.model_config)
        #: Weights are random, and answers have no end of their own.
        self._endless = arguments.get("load_format") == "dummy"
        self.capacity = Capacity(
            tokens=_cache_tokens(config),
            sequences=config.scheduler_config.max_num_seqs,
            context=config.model_config.max_model_len,
            images=arguments["limit_mm_per_prompt"].get("image", 0),
            sounds=arguments["limit_mm_per_prompt"].get("audio", 0),
        )
        self._apart = ("video", "audio") if lengths_apart() else ("video",)
        self._renderers = Renderers(renderers, lambda: renderer_from_config(config))
        self._preparing = ThreadPoolExecutor(renderers, thread_name_prefix="prepare")

    @property
    def abilities(self) -> frozenset[str]:
        """Kinds of media that the model takes: "image", "video", "audio"."""
        return self._prompts.abilities

    def measure(self, request: Request) -> int:
        """See Engine."""
        return measured(self._prompts, self.capacity, request)

    def submit(self, request: Request) -> Future[Completion]:
        """Hand the request in; returns at once.

        The future gives the completion, or raises RowError if this request alone
        failed, or EngineDead if the engine ended. Cancelling it takes the request back.
        """
        key, future = self._in_flight.add(request)
        if key is not None:
            # Closed in between: then every future says so already.
            with contextlib.suppress(RuntimeError):
                self._preparing.submit(self._prepare, key, request)
            future.add_done_callback(
                lambda done: self._take_back(key) if done.cancelled() else None
            )
        return future

    def _take_back(self, key: str) -> None:
        with self._handing_over:
            self._runtime.abort(key)

    def close(self) -> None:
        """End the engine and its processes. Requests in flight raise EngineDead."""
        if self._closed:
            return
        self._closed = True
        self._in_flight.died(EngineDead("closed"))
        self._preparing.shutdown(wait=True, cancel_futures=True)
        self._runtime.close()

    def _prepare(self, key: str, request: Request) -> None:
        """Render, tokenize and preprocess one request, then hand it to the engine."""
        if not self._in_flight.wanted(key):
            self._in_flight.dropped(key)
            return
        try:
            with self._renderers.one() as renderer:
                inputs = self._prompts.inputs(request.prompt, request.piece)
                [prepared] = renderer.render_cmpl([inputs], self._tokenize)
            without_padding(prepared)
            keep_sizes_apart(prepared, self._apart)
            params = self._params(request.prompt)
        except Exception as error:  # one request's fault, whatever the processor makes of it
            self._in_flight.failed(key, error)
            return
        # Not between this look and the next line may it be taken back.
        with self._handing_over:
            if self._in_flight.wanted(key):
                self._runtime.add(key, prepared, params)
            else:
                self._in_flight.dropped(key)

    def _params(self, prompt: Prompt) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        asked = {
            name: value
            for name in ("temperature", "top_p", "top_k", "seed")
            if (value := getattr(prompt, name)) is not None
        }
        sampling = {"temperature": 0.0} if prompt.temperature == 0 else self._sampling | asked
        loops = {} if self._endless else _repetition()
        structured = None
        if prompt.json_schema is not None:
            structured = StructuredOutputsParams(json=dict(prompt.json_schema))
        return SamplingParams(
            **sampling,
            max_tokens=prompt.max_tokens,
            structured_outputs=structured,
            **loops,
            ignore_eos=self._endless,
            min_tokens=prompt.max_tokens if self._endless else 0,
            skip_special_tokens=False,  # thought and tool calls are told by them
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


@cache
def _repetition() -> dict[str, Any]:
    """Have answers ended that go round in circles, by releases that know how."""
    from vllm import sampling_params

    if not hasattr(sampling_params, "RepetitionDetectionParams"):
        return {}
    looks = sampling_params.RepetitionDetectionParams(
        max_pattern_size=LOOP_TOKENS, min_pattern_size=1, min_count=LOOP_ROUNDS
    )
    return {"repetition_detection": looks}


def lengths_apart() -> bool:
    """Whether this release wants `keep_sizes_apart` for sounds."""
    import vllm

    return int(vllm.__version__.split(".")[1]) < UNEVEN_SOUND_FIXED


def keep_sizes_apart(prepared: Any, kinds: Iterable[str]) -> None:
    """See that media of these kinds go through their tower one after the other if sizes differ.

    What meets in a step is stacked: films by all releases, the shorter ones filled up with patches
    at a place that is one, so that others are answered; sounds by earlier ones, whose engine ends
    if they are of many lengths. vLLM splits a batch where a shared field differs, so the size
    becomes one: patches of a frame, frames of a spectrogram.
    """
    import torch
    from vllm.multimodal.inputs import MultiModalFieldElem, MultiModalSharedField

    for kind in kinds:
        name, axis = _SIZES[kind]
        for item in prepared.get("mm_kwargs", {}).get(kind, ()):
            if item is None:  # seen before, and kept by the engine
                continue
            item["size"] = MultiModalFieldElem(
                data=torch.tensor(item[name].data.shape[axis]),
                field=MultiModalSharedField(batch_size=1),
            )


def _generation_defaults(model_config: Any) -> dict[str, Any]:
    """How the checkpoint wants to be sampled: its generation_config as transformers reads it."""
    given = model_config.try_get_generation_config()
    if not given.get("do_sample"):
        return {"temperature": 0.0}
    names = ("temperature", "top_p", "top_k", "repetition_penalty")
    return {name: given[name] for name in names if given.get(name) is not None}


def _cache_tokens(config: Any) -> int:
    """Tokens that the KV cache holds at once, as vLLM counts them over its layer groups."""
    tokens = getattr(config.cache_config, "kv_cache_size_tokens", None)
    if tokens is None:
        tokens = config.cache_config.num_gpu_blocks * config.cache_config.block_size
    return int(tokens)
