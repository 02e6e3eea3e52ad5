"""Starts a worker's engine: one in this process, or several beside it that look like one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.models import folder_facts
from workers.arguments import Device, cache_root
from workers.cpu import cpu_arguments
from workers.engine import Engine, EngineOptions, engine_options
from workers.fitting import SEQUENCES
from workers.fleet import Fleet, measured
from workers.hosted import HOST, Hosted
from workers.machine import cores
from workers.placing import Place, describe, place
from workers.profiles import AUTO, Profile
from workers.prompts import Prompts
from workers.sharing import Sharing, share

#: Is told how many engines there will be, and the arguments of each.
Tell = Callable[[int, Mapping[str, Any]], None]
#: Engine options that change nothing of what is compiled.
_NOT_COMPILED = {
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "renderer_num_workers",
    "together",
}

_log = logging.getLogger(__name__)


def load(
    path: str,
    model: str,
    options: EngineOptions,
    *,
    device: Device,
    engines: int | None = None,
    profile: Profile = AUTO,
    mps: bool = True,
    tell: Tell | None = None,
    host: str = HOST,
) -> Engine:
    """Load the checkpoint in folder `path` and start its engines.

    `model` is the name and revision that jobs ask for; `engines` how many there shall be,
    None as many as suit the device and the `profile`, whose options are taken where none are
    given. With `mps` those that share a GPU run on it at once, where NVIDIA's service for that is
    installed. `tell` is told what was chosen before anything is loaded. On a CPU one engine lives
    in this process; others are run by the module `host`. Raises InvalidJob if the checkpoint,
    the options or the GPUs do not fit, EngineDead or WorkerUnfit if an engine does not start.
    """
    options = engine_options({**profile.options(device), **options.given})
    tell = tell or _nobody
    if device == "cpu":
        context = folder_facts(Path(path)).shape.context
        tell(engines or 1, cpu_arguments(context) | options.given)
    if device == "cpu" and engines in (None, 1):
        # The one place where an engine's library is imported, and only in a process that runs it.
        from workers.vllm_engine import load_engine

        return load_engine(path, model, options, device=device)
    hosts: list[Hosted] = []
    sharing: Sharing | None = None

    def start(count: int, threads: int) -> None:
        for _ in range(count):
            hosts.append(Hosted(path, model, options.given, device, threads=threads, host=host))

    try:
        if device == "cpu":
            count = engines or 1
            start(count, max(1, cores() // count))
            prompts = Prompts(path)  # takes seconds, as the hosts do meanwhile
            for hosted in hosts:
                hosted.load()
        else:
            start(1, 1)
            prompts = Prompts(path)
            gpus = hosts[0].gpus()
            facts = folder_facts(Path(path))
            places = place(
                model,
                facts,
                gpus,
                options,
                engines=engines,
                cores=cores(),
                a_gpu=profile.a_gpu,
                lean=profile.lean,
            )
            tell(len(places), {"max_num_seqs": SEQUENCES, **options.given, **places[0].options})
            _log.info("%s", describe(model, places, gpus), extra={"action": "engines_placed"})
            if places[0].note is not None:
                _log.warning("%s", places[0].note, extra={"action": "engine_fitted"})
            start(len(places) - 1, 1)
            for hosted in hosts[1:]:
                hosted.gpus()
            if mps and len({where.devices for where in places}) < len(places):
                sharing = share()
            environment = sharing.environment if sharing is not None else {}
            warm = _marker(path, options, places[0])
            # The first compiles for all, unless that was done before, or is not to be.
            compiled = warm.exists() or bool(options.enforce_eager)
            first = len(places) if compiled else 1
            for some in (slice(first), slice(first, None)):
                for hosted, where in zip(hosts[some], places[some], strict=True):
                    hosted.place(where.devices, where.options, environment)
                for hosted in hosts[some]:
                    hosted.load()
            # A cache that takes no more is no reason to end what runs.
            with contextlib.suppress(OSError):
                warm.parent.mkdir(parents=True, exist_ok=True)
                warm.touch()
    except BaseException:
        for hosted in hosts:
            hosted.close()
        if sharing is not None:
            sharing.close()
        raise
    capacity = hosts[0].capacity
    return Fleet(
        hosts,
        model,
        hosts[0].version,
        partial(measured, prompts, capacity),
        sharing.close if sharing is not None else None,
    )


def _nobody(engines: int, arguments: Mapping[str, Any]) -> None:
    del engines, arguments


def _marker(path: str, options: EngineOptions, where: Place) -> Path:
    """A file beside vLLM's compiled graphs that is there once this model was compiled."""
    shape = {k: v for k, v in {**options.given, **where.options}.items() if k not in _NOT_COMPILED}
    told = json.dumps([path, version("vllm"), shape], sort_keys=True)
    return cache_root() / "mediamill" / hashlib.sha256(told.encode()).hexdigest()
