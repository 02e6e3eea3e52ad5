"""What is wanted of a job: `_job/control.json`, read by every worker, written with put-if-match."""

from __future__ import annotations

import getpass
import json
import socket
from typing import Literal

from pydantic import BaseModel, ConfigDict

from storage.errors import NotFound, StoreUnavailable
from storage.objects import Store

CONTROL_KEY = "_job/control.json"
Wanted = Literal["run", "pause", "cancel"]


class Control(BaseModel):
    """Who wanted what, and when (seconds since the epoch by the store's clock)."""

    model_config = ConfigDict(frozen=True)

    wanted: Wanted = "run"
    by: str = ""
    at: float = 0.0


def read_control(store: Store) -> Control:
    """What is wanted now: `run` where nobody ever said otherwise."""
    return _read(store)[0]


def write_control(store: Store, wanted: Wanted) -> Control:
    """Say what is wanted; of two who say it at once, the later one wins."""
    # Each try loses only to another writer, of whom there are a handful.
    for _ in range(20):
        etag = _read(store)[1]
        control = Control(
            wanted=wanted,
            by=f"{getpass.getuser()}@{socket.gethostname()}",
            at=store.now(),
        )
        data = control.model_dump_json().encode()
        if etag is None:
            if store.put_if_absent(CONTROL_KEY, data):
                return control
        elif store.put_if_match(CONTROL_KEY, data, etag):
            return control
    raise StoreUnavailable(f"{store.uri}/{CONTROL_KEY}: changed by others twenty times in a row")


def _read(store: Store) -> tuple[Control, str | None]:
    try:
        data, etag = store.get_tagged(CONTROL_KEY)
    except NotFound:
        return Control(), None
    return Control.model_validate(json.loads(data)), etag
