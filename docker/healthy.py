"""Exit 0 if a worker on this host has said in Redis, not long ago, that it lives.

The health check of the containers. A worker says so once its model is loaded, and goes
on saying it for as long as its loop turns.
"""

from __future__ import annotations

import socket
import sys

from orchestration.board import RedisBoard
from orchestration.settings import load_settings
from storage.errors import MediamillError


def main() -> int:
    """0: alive; 1: not, or Redis does not answer."""
    host = socket.gethostname()
    try:
        workers = RedisBoard(load_settings().broker_url).workers()
    except MediamillError as error:
        print(error, file=sys.stderr)
        return 1
    names = [str(worker["worker"]) for worker in workers]
    if any(name.startswith(f"{host}-") for name in names):
        return 0
    print(f"no worker of {host} among {names or 'none'}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
