"""Two ways to run a vLLM engine: stepped by a thread of this process, or in its own process.

Both take prepared requests from any thread and report from a thread of their own. Neither
imports vllm: they are handed the engine, or what makes it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from workers.groups import Groups

#: Seconds that a closing engine is waited for before its thread is left to the process' end.
CLOSE_S = 10.0


@dataclass(frozen=True, slots=True)
class Reports:
    """Where a runtime says what became of the requests: by key, or of all at once."""

    finished: Callable[[str, Any], None]
    failed: Callable[[str, Exception], None]
    dropped: Callable[[str], None]
    died: Callable[[BaseException], None]


class Runtime(Protocol):
    """Runs prepared requests; `engine` is vLLM's own object."""

    engine: Any

    def add(self, key: str, prepared: Any, params: Any) -> None:
        """Hand a request in; returns at once."""
        ...

    def abort(self, key: str) -> None:
        """Take a request back, unless it has been answered; returns at once."""
        ...

    def close(self) -> None:
        """End the engine within seconds. What is in flight is reported no more."""
        ...


class Stepped:
    """vLLM's synchronous engine in this process, stepped by one thread."""

    def __init__(self, engine: Any, reports: Reports) -> None:
        self.engine = engine
        self._reports = reports
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def add(self, key: str, prepared: Any, params: Any) -> None:
        """Hand a request in; returns at once."""
        self._inbox.put(lambda: self._add(key, prepared, params))

    def abort(self, key: str) -> None:
        """Take a request back after the step at hand."""
        self._inbox.put(lambda: self._abort(key))

    def close(self) -> None:
        """End the thread after the step at hand, and the engine with it."""
        self._inbox.put(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            while self._take():
                if self.engine.has_unfinished_requests():
                    for output in self.engine.step():
                        if output.finished:
                            self._reports.finished(output.request_id, output)
        except Exception as error:  # whatever ends the engine ends every request in it
            self._reports.died(error)
        finally:
            self.engine.renderer.shutdown()
            self.engine.engine_core.shutdown()

    def _take(self) -> bool:
        """Give the engine all that waits; wait only while it has nothing to do. False: close."""
        while True:
            try:
                order = self._inbox.get(block=not self.engine.has_unfinished_requests())
            except queue.Empty:
                return True
            if order is None:
                return False
            order()

    def _add(self, key: str, prepared: Any, params: Any) -> None:
        try:
            self.engine.add_request(key, prepared, params)
        except Exception as error:  # a refused request; what ends the engine shows in a step
            self.engine.abort_request([key])  # it may have come half way
            self._reports.failed(key, error)

    def _abort(self, key: str) -> None:
        self.engine.abort_request([key])
        self._reports.dropped(key)


class Looped:
    """vLLM's asynchronous engine: the model runs in processes of its own."""

    def __init__(
        self, make: Callable[[], Any], reports: Reports, groups: Groups[tuple[Any, Any]]
    ) -> None:
        self._reports = reports
        # Both are touched by the loop alone.
        self._groups = groups
        self._running: dict[str, asyncio.Task[None]] = {}
        self._later: asyncio.TimerHandle | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()
        # vLLM binds itself to the loop that it is made in.
        try:
            self.engine = asyncio.run_coroutine_threadsafe(self._make(make), self._loop).result()
        except BaseException:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise

    async def _make(self, make: Callable[[], Any]) -> Any:
        return make()

    def add(self, key: str, prepared: Any, params: Any) -> None:
        """Hand a request in; returns at once."""
        self._loop.call_soon_threadsafe(self._hold, key, prepared, params)

    def abort(self, key: str) -> None:
        """Take a request back; vLLM aborts one whose generator is cancelled."""
        self._loop.call_soon_threadsafe(self._cancel, key)

    def _hold(self, key: str, prepared: Any, params: Any) -> None:
        self._groups.put(key, (prepared, params), self._loop.time())
        self._let_in()

    def _let_in(self) -> None:
        """Begin what is to begin now, and look again when what is left has waited for others."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        now = self._loop.time()
        for key, (prepared, params) in self._groups.take(len(self._running), now):
            self._start(key, prepared, params)
        # Those that have waited long enough wait for room, and each end looks here again.
        if wait_s := self._groups.wait_s(now):
            self._later = self._loop.call_later(wait_s, self._let_in)

    def _start(self, key: str, prepared: Any, params: Any) -> None:
        running = self._loop.create_task(self._one(key, prepared, params))
        self._running[key] = running
        running.add_done_callback(lambda ended: self._ended(key, ended))

    def _cancel(self, key: str) -> None:
        if key in self._running:
            self._running[key].cancel()
        elif self._groups.drop(key):
            self._reports.dropped(key)

    def _ended(self, key: str, ended: asyncio.Task[None]) -> None:
        del self._running[key]
        if ended.cancelled():
            self._reports.dropped(key)
        self._let_in()

    async def _one(self, key: str, prepared: Any, params: Any) -> None:
        try:
            async for output in self.engine.generate(prepared, params, key):
                if output.finished:
                    self._reports.finished(output.request_id, output)
        except Exception as error:  # a dead engine shows in `errored`, not in one class
            if self.engine.errored:
                self._reports.died(error)
            else:
                self._reports.failed(key, error)

    def close(self) -> None:
        """End the engine's processes, then the loop."""
        self.engine.shutdown()

        async def drain() -> None:
            self._groups = Groups(1)  # what is held begins no more
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(drain(), self._loop).result(CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        self._loop.close()
