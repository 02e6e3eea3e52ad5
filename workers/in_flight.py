"""The requests that an engine was given and has not answered, and what becomes of each."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from storage.errors import EngineDead, RowError
from workers.engine import Completion, Request

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    #: The request's. Nothing else of it is kept: its media are large, and are handed on.
    id: str
    future: Future[Completion]
    since: float


class InFlight:
    """Futures by key. Once the engine died every future, old or new, raises EngineDead.

    A key is a number of our own and the request's id, so that two attempts at one row never
    meet; an answer under a key that nobody waits for ends the engine. A future that is
    cancelled keeps its key until `dropped`, since its answer may be under way. Thread-safe.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._entries: dict[str, _Entry] = {}
        self._numbers = itertools.count()
        self._death: BaseException | None = None
        self._lock = threading.Lock()

    def add(self, request: Request) -> tuple[str | None, Future[Completion]]:
        """A key and a future for the request; no key, and a failed future, after the death."""
        future: Future[Completion] = Future()
        with self._lock:
            if self._death is None:
                key = f"{next(self._numbers)}:{request.id}"
                self._entries[key] = _Entry(request.id, future, time.monotonic())
                return key, future
        future.set_exception(self._dead(self._death))
        return None, future

    def wanted(self, key: str) -> bool:
        """Whether somebody still waits for the request."""
        with self._lock:
            entry = self._entries.get(key)
        return entry is not None and not entry.future.cancelled()

    def dropped(self, key: str) -> None:
        """A request that was taken back has left the engine, and will not be answered."""
        with self._lock:
            self._entries.pop(key, None)

    def finished(self, key: str, output: Any) -> None:
        """The engine's answer: vLLM's RequestOutput, whose id must be the request's own."""
        entry = self._take(key)
        if entry is None:
            return
        answer = output.outputs[0]
        if answer.finish_reason not in ("stop", "length", "repetition"):
            reason = f"vLLM ended the request with {answer.finish_reason!r}, not with an answer"
            _tell(entry.future, RowError("engine", reason))
            return
        completion = Completion(
            id=entry.id,
            text=answer.text,
            finish_reason=answer.finish_reason,
            prompt_tokens=len(output.prompt_token_ids),
            output_tokens=len(answer.token_ids),
            seconds=time.monotonic() - entry.since,
        )
        _tell(entry.future, completion)

    def answered(self, key: str, completion: Completion) -> None:
        """The answer of an engine elsewhere; its seconds are counted from here."""
        entry = self._take(key)
        if entry is not None:
            _tell(entry.future, replace(completion, seconds=time.monotonic() - entry.since))

    def failed(self, key: str, error: Exception) -> None:
        """This request alone failed; whatever is no RowError becomes one of kind "engine"."""
        entry = self._take(key)
        if entry is None:
            return
        if isinstance(error, RowError):
            _tell(entry.future, error)
            return
        row_error = RowError("engine", f"vLLM refused it: {type(error).__name__}: {error}")
        row_error.__cause__ = error
        _tell(entry.future, row_error)

    def died(self, error: BaseException) -> None:
        """The engine ended; the first reason given is the one that stays."""
        with self._lock:
            if self._death is None:
                self._death = error
                log.info("engine ended", extra={"action": "engine_ended", "reason": str(error)})
            entries = list(self._entries.values())
            self._entries.clear()
        for entry in entries:
            _tell(entry.future, self._dead(self._death))

    def _dead(self, error: BaseException) -> EngineDead:
        dead = EngineDead(f"the engine of {self._model} ended: {error}")
        dead.__cause__ = error
        return dead

    def _take(self, key: str) -> _Entry | None:
        """The request under this key; None after the death. Raises EngineDead for a key
        that nobody waits for: answers can then be trusted no more."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is None and self._death is None:
                raise EngineDead(f"vLLM answered {key!r}, which is not in flight")
            if entry is not None and not key.endswith(f":{entry.id}"):
                raise EngineDead(f"vLLM answered {key!r} for request {entry.id!r}")
            return entry


def _tell(future: Future[Completion], outcome: Completion | BaseException) -> None:
    """Give the future its outcome, unless it was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
