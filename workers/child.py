"""Programs of our own that run beside a worker, each at the other end of a socket.

Not multiprocessing's: that would fork a parent which may hold CUDA, or import the user's
main script again.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

# sys.path travels along, since the packages lie wherever the parent found them.
_PROGRAM = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "importlib.import_module(sys.argv[2]).main(sys.argv[3:])"
)
_PR_SET_PDEATHSIG = 1
#: Seconds between two looks whether the parent lives.
_LOOK_S = 0.5


def start(
    module: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Run `main` of a module in a new process: its arguments are the number of its socket, our
    pid, and those given. Returns the process and our end of the socket.

    Raises OSError if no process can be started.
    """
    ours, theirs = socket.socketpair()
    # Celery sets a default timeout for all of the process while it leaves a broker that is gone;
    # a socket made in that moment answers at once that nothing has come yet.
    theirs.setblocking(True)
    with theirs:
        told = [json.dumps(sys.path), module, str(theirs.fileno()), str(os.getpid()), *arguments]
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *told],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=dict(environment),
                # A signal to the worker's group is the worker's to answer: it drains, and
                # still needs those beside it.
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def die_with(parent: int) -> None:
    """SIGKILL when the parent ends, also while a C library holds the interpreter.

    To be exact, when the parent's thread ends that started this process.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the call
        os._exit(0)


def end_group_with(parent: int) -> None:
    """SIGKILL for this process and all that it has started, once the parent has ended.

    What libraries start has no other reason to go, and would keep the GPU's memory.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="orphan", daemon=True).start()
