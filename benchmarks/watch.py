"""What a machine does while something is measured: its GPUs, and CPU seconds by stage."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter
from typing import Any

import psutil

_EVERY_S = 0.25
#: Stages by what stands in the command line of their processes; what is none of them is "other".
STAGES = (
    ("decode", "workers.decoder"),
    ("prepare", "workers.engine_host"),
    ("engine", "EngineCore"),
    ("redis", "redis-server"),
)


class Watch:
    """Samples the GPUs in a thread, and counts the CPU seconds of this process' children.

    A context manager around what is measured; `figures` then has what it saw.
    """

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._busy: list[float] = []
        self._memory: list[float] = []
        self._before: Counter[str] = Counter()
        self._cpu: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Watch:
        self._before = cpu_seconds()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        self._cpu = cpu_seconds()
        self._cpu.subtract(self._before)

    def figures(self, rows: int) -> dict[str, Any]:
        """GPU busy (share of the time, mean) and memory (GiB, most); CPU ms a row by stage."""
        return {
            "gpu_busy": round(statistics.mean(self._busy), 3) if self._busy else None,
            "gpu_memory_gib": round(max(self._memory), 1) if self._memory else None,
            "cpu_ms_per_row": {
                stage: round(1000 * seconds / rows, 2) for stage, seconds in self._cpu.items()
            },
        }

    def _sample(self) -> None:
        if (nvml := driver()) is None:
            return
        devices = [nvml.nvmlDeviceGetHandleByIndex(number) for number in seen(nvml)]
        while not self._ended.wait(_EVERY_S):
            busy = [nvml.nvmlDeviceGetUtilizationRates(device).gpu for device in devices]
            used = [nvml.nvmlDeviceGetMemoryInfo(device).used for device in devices]
            self._busy.append(statistics.mean(busy) / 100)
            self._memory.append(sum(used) / 2**30)


def driver() -> Any:
    """NVIDIA's management library, started; None on a machine without it, or without a GPU."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def seen(nvml: Any) -> list[int]:
    """Numbers of the GPUs that are left to this process."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [int(n) for n in given.split(",")] if given else list(range(nvml.nvmlDeviceGetCount()))


def cpu_seconds() -> Counter[str]:
    """CPU seconds that this process and those below it have used, by stage.

    A process that has ended is counted with its parent.
    """
    found: Counter[str] = Counter()
    for stage, seconds in cpu_of_processes().values():
        found[stage] += seconds
    return found


def cpu_of_processes() -> dict[int, tuple[str, Any]]:
    """Stage and CPU seconds of this process and of each below it, by process id."""
    found: dict[int, tuple[str, Any]] = {}
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            command, times = " ".join((process.name(), *process.cmdline())), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        stage = next((stage for stage, mark in STAGES if mark in command), "other")
        found[process.pid] = (stage, times.user + times.system)
    return found


def wait_until(ready: Any, what: str, within_s: float) -> None:
    """Call `ready` until it is true. Raises TimeoutError."""
    end = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} took more than {within_s:.0f} s")
        time.sleep(0.1)
