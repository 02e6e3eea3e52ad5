"""The chaos engine in a process of its own, as engines on GPUs are."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.orders import Orders
from tests.chaos.worker import TOKENS, ChaosEngine
from workers import engine_host
from workers.arguments import Device
from workers.engine import Engine, EngineOptions
from workers.fitting import Gpus
from workers.fleet import Fleet
from workers.hosted import Hosted


class _Library:
    """What the host loads in the place of vLLM; the path of a model is that of its orders."""

    def find_gpus(self) -> Gpus:
        """Never asked: the engine is said to run on a CPU."""
        raise AssertionError("there are no GPUs here")

    def load_engine(
        self, path: str, model: str, options: EngineOptions, *, device: Device, in_process: bool
    ) -> Engine:
        """See workers.engine_host.Library. What it is ordered befalls this process alone."""
        del options, device, in_process
        return ChaosEngine(model, Orders(Path(path)), step="generate next door")


def main(arguments: list[str]) -> None:
    """The process' program."""
    engine_host.run(arguments, _Library)


def next_door(model: str, orders: Path) -> Fleet:
    """Start one, and wait until it serves."""
    hosted = Hosted(str(orders), model, {}, "cpu", threads=1, host=__name__)
    hosted.load()
    return Fleet([hosted], model, hosted.version, lambda request: TOKENS)
