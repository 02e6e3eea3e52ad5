"""The worker's end of one decoder process: start it, ask it, end it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jobs.pieces import MediaInfo, Piece
from storage.errors import ERROR_KINDS, RowError, WorkerUnfit
from workers import child, wire

_log = logging.getLogger(__name__)

#: Seconds that a new process may take to say that it is ready (usually 0.4).
_START_S = 60.0
#: Seconds in which an answer that is due must come whole.
_GRACE_S = 5.0
#: Longest JSON of an answer, in bytes: a few hundred say what is said of a medium, and a long
#: path in an error some thousands more.
_MOST_JSON = 64 << 10
#: One thread each, since many work side by side. Memory for pictures is kept for the next
#: one (glibc would give it back): faulting it in anew costs as much as
#: decoding a photograph.
_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    # ONNX Runtime would tell its makers of the machine, and on standard error that it cannot.
    "ORT_DISABLE_TELEMETRY": "1",
}


class DecodeProcess:
    """One decoder. Not thread-safe; start it in a thread that lives as long as it shall.

    Raises WorkerUnfit if it does not start.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        try:
            self._process, self._sock = child.start(
                "workers.decoder", [str(memory)], _environment()
            )
        except OSError as error:
            raise WorkerUnfit(
                f"no decoder process can be started: {error}; give this worker more "
                "memory or processes, or fewer decoders (MEDIAMILL_DECODERS)"
            ) from error
        self._asked = 0.0
        self.pid = self._process.pid
        try:
            ready, _ = self._receive(_START_S)
        except RowError as error:
            raise WorkerUnfit(f"a decoder process did not start: {error.message}") from error
        _tell_lacks(*ready.get("lacks", ()))

    def ask(self, message: Mapping[str, Any], arrays: Sequence[wire.Array] = ()) -> None:
        """Send a message. A process that has died says so in the next `answer`."""
        self._asked = time.monotonic()
        self._sock.settimeout(_START_S)
        try:
            wire.send(self._sock, message, arrays)
        except OSError:  # it is gone, and may have left a last answer
            return

    def answer(self, within_s: float, grace_s: float = _GRACE_S) -> MediaInfo | Piece | None:
        """The answer to the last message, due `within_s` seconds after it was sent.

        None is the medium's end. One that is long overdue still has `grace_s` to be read.
        Raises RowError: the medium's own, or `timeout` or `decoder_died`, when the
        process is no longer `alive`.
        """
        message, arrays = self._receive(max(self._asked + within_s - time.monotonic(), grace_s))
        try:
            if "error" in message:
                error = _error(*message["error"])
            elif "end" in message:
                return None
            else:
                item = wire.unpack(message, arrays)
                wire.check(item)
                return item
        except (KeyError, TypeError, ValueError, IndexError) as nonsense:
            raise RowError("decoder_died", self._cause()) from nonsense
        raise error

    def _receive(self, timeout_s: float) -> tuple[dict[str, Any], list[wire.Array]]:
        try:
            # No decoder can hold more than its memory, let alone send it.
            return wire.receive(self._sock, _MOST_JSON, self._memory, timeout_s)
        except TimeoutError as error:
            self.kill()
            raise RowError("timeout", "decoding took too long and was ended") from error
        except (EOFError, OSError, ValueError, KeyError, TypeError) as error:
            raise RowError("decoder_died", self._cause()) from error

    def _cause(self) -> str:
        """Why the process ended, in words; ends it if it only stopped making sense."""
        self._sock.close()
        try:
            status = self._process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return "the decoder gave an answer that makes no sense, and was ended"
        if status == wire.OUT_OF_MEMORY:
            return f"decoding needs more than the {self._memory >> 20} MiB a decoder may hold"
        if status < 0:
            return f"the decoder was ended by {signal.Signals(-status).name}"
        return f"the decoder ended with status {status}"

    @property
    def alive(self) -> bool:
        """Whether the process runs and can be asked."""
        return self._sock.fileno() >= 0 and self._process.poll() is None

    def end(self) -> None:
        """End the process at once, from any thread; whoever waits for it is told."""
        self._process.kill()

    def kill(self) -> None:
        """End the process at once and reap it; may be called again."""
        self._sock.close()
        self._process.kill()
        self._process.wait()


def _error(kind: Any, text: Any) -> RowError:
    """What a decoder says of its medium. Raises ValueError on nonsense."""
    if kind not in ERROR_KINDS or not isinstance(text, str):
        raise ValueError("an error that is none of ours")
    # Half a character, as names of files may have, could not be written to a table.
    return RowError(kind, text.encode(errors="replace").decode())


@cache  # all decoders of a process lack the same
def _tell_lacks(*lacks: str) -> None:
    if lacks:
        _log.warning(
            "decoders are held by less than they could be: this kernel or container refuses %s; "
            "allow it, or keep what reads strangers' files off the network by other means",
            "; ".join(lacks),
            extra={"action": "decoders_unconfined"},
        )


def _environment() -> dict[str, str]:
    """What a decoder needs of the environment, and no more: it holds no credentials."""
    names = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return kept | _SETTINGS
