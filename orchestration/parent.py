"""The worker command's first process: small, and outlives what may take the others down.

It forks the process that serves, and forks again when that dies unasked: by a signal, out of
memory, with its engine, or stuck.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from storage.living import LivingFolder
from workers.child import die_with

_log = logging.getLogger(__name__)

#: Of the folder for rows in hand.
PREFIX = "mediamill-in-hand-"
#: Seconds before the first new process; doubled each time that one does not come to serve.
_BACK_OFF_S = 1.0
#: Processes in a row that may end before they serve; then whoever watches over us is to know.
_FALSE_STARTS = 5
#: Files in the folder of rows in hand: that a process came to serve, and why it ended itself.
READY = "ready"
WHY = "why"

#: Serves until it is told to stop; is given the folder for its rows in hand, and what it is
#: to tell of its predecessor's end (None for the first).
Serve = Callable[[Path, str | None], None]


def outlive(serve: Serve) -> NoReturn:
    """Run `serve` in a process of its own, anew whenever that dies; ends as the last one did.

    SIGTERM and SIGINT are handed on: after one, no new process comes. The first that ends
    before it serves is not repeated, since what it complains of is the command's own.
    Must be called before any thread is started.
    """
    folder = LivingFolder(PREFIX)
    code = _Parent(serve, folder.path).run()
    # Nothing that cleans up by itself: what is raised in a child passes here as well.
    folder.close()
    sys.exit(code)


class _Parent:
    def __init__(self, serve: Serve, folder: Path) -> None:
        self._serve = serve
        self._folder = folder
        self._child = 0
        self._asked = False

    def run(self) -> int:
        """Fork until one ends as it was asked to, or there is no use; the exit code."""
        signal.signal(signal.SIGTERM, self._hand_on)
        signal.signal(signal.SIGINT, self._hand_on)
        served = False
        false_starts = 0
        cause: str | None = None
        while True:
            status = self._fork(cause)
            code = os.waitstatus_to_exitcode(status)
            ready = self._taken(READY) is not None
            why = self._taken(WHY)
            served = served or ready
            false_starts = 0 if ready else false_starts + 1
            if self._asked or code == 0 or not served or false_starts >= _FALSE_STARTS:
                return code if code >= 0 else 128 - code
            cause = _told(code, why)
            pause = _BACK_OFF_S * 2**false_starts
            _log.error(
                "the serving process %s; a new one in %g s",
                cause,
                pause,
                extra={"action": "worker_restarts"},
            )
            if self._stopped_within(pause):
                return 1

    def _fork(self, cause: str | None) -> int:
        parent = os.getpid()
        # A signal between the fork and the next line would find no child to go to.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        child = os.fork()
        if child == 0:
            # Of a group of its own: a Ctrl-C is handed on once, and not heard twice.
            os.setsid()
            die_with(parent)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
            self._serve(self._folder, cause)
            os._exit(0)
        self._child = child
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            return os.waitpid(child, 0)[1]
        finally:
            self._child = 0

    def _taken(self, name: str) -> str | None:
        """What the child wrote in a file, which is removed; None if there is none."""
        path = self._folder / name
        if not path.exists():
            return None
        text = path.read_text(errors="replace")
        path.unlink()
        return text

    def _hand_on(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self._asked = True
        if self._child:
            os.kill(self._child, signum)

    def _stopped_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self._asked and time.monotonic() < until:
            time.sleep(0.1)
        return self._asked


def _told(code: int, why: str | None) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended itself: {why}" if why else f"ended with exit code {code}"
