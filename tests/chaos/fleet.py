"""A fleet under test: Redis, an S3 server behind the fault proxy, and workers that come back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis as redis_client

from tests.chaos.orders import Orders
from tests.chaos.proxy import FaultProxy
from tests.services import S3Endpoint, ending, free_port, redis


@dataclass
class Fleet:
    """See the module. `tend` starts every worker anew that has ended."""

    folder: Path
    environment: Mapping[str, str]
    count: int
    engine: str
    #: Numbers of workers that no fault is to end, nor to befall at a step.
    spared: frozenset[int] = frozenset()
    orders: Orders = field(init=False)
    processes: list[subprocess.Popen[bytes] | None] = field(init=False)

    def __post_init__(self) -> None:
        self.orders = Orders(self.folder / "orders")
        self.processes = [None] * self.count

    def tend(self) -> int:
        """Start what has ended; how many that were."""
        ended = [n for n, p in enumerate(self.processes) if p is None or p.poll() is not None]
        for number in ended:
            self.processes[number] = self._start(number)
        return len(ended)

    def parents(self, *, spared: bool = False) -> list[psutil.Process]:
        """The first process of each worker that lives; of those that are spared too, if asked."""
        alive = [
            process
            for number, process in enumerate(self.processes)
            if process is not None
            and process.poll() is None
            and (spared or number not in self.spared)
        ]
        return [psutil.Process(process.pid) for process in alive]

    def close(self) -> None:
        """End them all."""
        with contextlib.ExitStack() as stack:
            for process in self.processes:
                if process is not None and process.poll() is None:
                    stack.enter_context(ending(process))

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        # The last of several has its engine in a process of its own, as on GPUs.
        next_door = self.engine == "scripted" and number == self.count - 1 > 0
        orders = self.folder / ("no-orders" if number in self.spared else "orders")
        command = [sys.executable, "-m", "tests.chaos.worker", str(orders)]
        command += ["next-door" if next_door else self.engine]
        command += ["worker", "--model", "tiny", "--decoders", "1"]
        # The others open as many as their engines take.
        command += ["--slots", "3"] if number == 0 else []
        with (self.folder / f"worker-{number}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


class Broker:
    """A Redis that can be restarted, wiped, paused and starved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._stack = contextlib.ExitStack()
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start it, empty."""
        self.url = self._stack.enter_context(redis(self._folder, port=self._port))

    def restart(self) -> None:
        """End it with all that it holds, and start it anew."""
        self.close()
        self.start()

    def wipe(self) -> None:
        """Forget everything."""
        with self._client() as client:
            client.flushall()

    def pause(self, seconds: float) -> None:
        """Answer nobody for so long."""
        with self._client() as client:
            client.client_pause(int(1000 * seconds), all=True)

    def cut(self, seconds: float) -> None:
        """Drop every connection, and answer nobody for so long."""
        with self._client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_pause(int(1000 * seconds), all=True)

    def starve(self, starved: bool) -> None:
        """Have no memory for anything new, or have it again."""
        with self._client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1 if starved else 0)

    def holds(self) -> tuple[int, int]:
        """Its keys, and the bytes of memory that it uses."""
        with self._client() as client:
            return client.dbsize(), client.info("memory")["used_memory"]

    def close(self) -> None:
        """End it."""
        self._stack.close()

    @contextlib.contextmanager
    def _client(self) -> Iterator[redis_client.Redis]:
        # Longer than it is ever paused.
        client = redis_client.Redis.from_url(self.url, socket_timeout=60)
        try:
            yield client
        finally:
            client.close()


@contextlib.contextmanager
def fleet(
    folder: Path,
    store: S3Endpoint,
    *,
    seed: int,
    engine: str,
    count: int,
    scale: float,
    spared: frozenset[int] = frozenset(),
) -> Iterator[tuple[Fleet, Broker, FaultProxy]]:
    """Workers of a Redis and of the S3 server, as they see it through a proxy."""
    with contextlib.ExitStack() as stack:
        broker = Broker(folder)
        stack.callback(broker.close)
        proxy = stack.enter_context(FaultProxy(store, seed))
        environment = {
            **proxy.endpoint.environment,
            "MEDIAMILL_BROKER_URL": broker.url,
            "MEDIAMILL_LOCAL_ROOTS": str(folder),
            "MEDIAMILL_TIME_SCALE": f"{scale:.4f}",
            "MEDIAMILL_LOG_LEVEL": "INFO",
        }
        made = Fleet(folder, environment, count, engine, spared)
        stack.callback(made.close)
        yield made, broker, proxy
