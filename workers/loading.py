"""Starts a worker's engine: one in this process, or several beside it that look like one."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

from jobs.models import folder_facts
from workers.arguments import Device
from workers.engine import Engine, EngineOptions
from workers.fleet import Fleet, measured
from workers.hosted import Hosted
from workers.placing import Place, describe, place
from workers.prompts import Prompts

_log = logging.getLogger(__name__)


def load(
    path: str,
    model: str,
    options: EngineOptions,
    *,
    device: Device,
    engines: int | None = None,
) -> Engine:
    """Load the checkpoint in folder `path` and start its engines.

    `model` is the name and revision that jobs ask for; `engines` how many there shall be,
    None as many as suit the device. On a CPU one engine lives in this process. Raises
    InvalidJob if the checkpoint, the options or the GPUs do not fit, EngineDead or
    WorkerUnfit if an engine does not start.
    """
    if device == "cpu" and engines in (None, 1):
        # The one place where an engine's library is imported, and only in a process that runs it.
        from workers.vllm_engine import load_engine

        return load_engine(path, model, options, device=device)
    prompts = Prompts(path)
    hosts: list[Hosted] = []
    cores = os.cpu_count() or 1

    def start(threads: int) -> None:
        hosts.append(Hosted(path, model, options.given, device, threads=threads))

    try:
        if device == "cpu":
            for _ in range(engines or 1):
                start(max(1, cores // (engines or 1)))
            for host in hosts:
                host.load()
        else:
            start(1)
            gpus = hosts[0].gpus()
            places = place(
                model, folder_facts(Path(path)), gpus, options, engines=engines, cores=cores
            )
            _log.info("%s", describe(model, places, gpus), extra={"action": "engines_placed"})
            for _ in places[1:]:
                start(1)
            for host in hosts[1:]:
                host.gpus()
            _load_in_turn(hosts, places)
    except BaseException:
        for host in hosts:
            host.close()
        raise
    capacity = hosts[0].capacity
    return Fleet(hosts, model, hosts[0].version, partial(measured, prompts, capacity))


def _load_in_turn(hosts: list[Hosted], places: list[Place]) -> None:
    """Load the engines: the first alone, since it compiles for all; of those that share a GPU
    one after the other, since each measures what is free."""
    waiting = list(zip(hosts, places, strict=True))
    turn = waiting[:1]
    while turn:
        for host, where in turn:
            host.place(where.devices, where.options)
        for host, _ in turn:
            host.load()
        waiting = [pair for pair in waiting if pair not in turn]
        busy: set[int] = set()
        turn = []
        for host, where in waiting:
            if busy.isdisjoint(where.devices):
                turn.append((host, where))
                busy.update(where.devices)
