"""The decoder's own process: takes one medium at a time and gives its pieces one by one.

Started by workers.decode with as little as it needs: no engine, no tables, no
credentials in its environment, and no more of the system than it takes to read and
compute (workers.confine). It lives as long as its parent and no longer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

from jobs.pieces import MediaInfo, Piece, Reading
from storage.errors import RowError
from workers import wire
from workers.child import die_with
from workers.confine import confine
from workers.images import decode_image
from workers.streams import decode_streams

Items = Generator[MediaInfo | Piece, None, None]


def main(arguments: list[str]) -> None:
    """Serve until the parent goes away. Arguments: socket, parent's pid, bytes of memory."""
    fd, parent, memory = (int(argument) for argument in arguments)
    die_with(parent)
    _medium_file()  # afterwards none can be made
    lacks = confine(memory)
    with socket.socket(fileno=fd) as sock:
        try:
            wire.send(sock, {"ready": os.getpid(), "lacks": lacks})
            while True:
                _serve_one(sock)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        except MemoryError:
            os._exit(wire.OUT_OF_MEMORY)


def _serve_one(sock: socket.socket) -> None:
    """One medium: `open`, then an item for each `next`, until the end, an error or `stop`."""
    message, arrays = wire.receive(sock)
    items = decode(message, arrays)
    while True:
        order, _ = wire.receive(sock)
        if order["do"] == "stop":
            items.close()
            wire.send(sock, {"end": True})
            return
        try:
            item = next(items, None)
        except RowError as error:
            wire.send(sock, {"error": [error.kind, error.message]})
            return
        except PermissionError as error:
            text = f"decoding it takes what a decoder may not do: {error}"
            wire.send(sock, {"error": ["forbidden", text]})
            return
        except OSError as error:
            wire.send(sock, {"error": ["corrupt", f"it cannot be read: {error}"]})
            return
        if item is None:
            wire.send(sock, {"end": True})
            return
        wire.send(sock, *wire.pack(item))
        del item


def decode(message: dict[str, Any], arrays: list[wire.Array]) -> Items:
    """The items of the medium that an `open` message describes."""
    reading = wire.unpack_reading(message["reading"])
    index = int(message["media_index"])
    if message["kind"] in ("image", "document"):
        source = Path(message["path"]) if message["path"] else arrays[0].tobytes()
        arrays.clear()
        yield from _decode_still(message["kind"], source, reading, index)
        return
    yield from _decode_streams(message["path"], arrays, reading, index)


def _decode_still(kind: str, source: bytes | Path, reading: Reading, index: int) -> Items:
    if kind == "image":
        yield from decode_image(source, reading, index)
        return
    # Loaded when the first document comes: most decoders never see one.
    from workers.documents import decode_document

    yield from decode_document(source, reading, index)


def _decode_streams(
    path: str | None, arrays: list[wire.Array], reading: Reading, index: int
) -> Items:
    if path is not None:
        yield from decode_streams(path, reading, index)
        return
    # FFmpeg reads files; a file in memory has a name too, and can be opened twice.
    fd = _medium_file()
    try:
        view, at = arrays[0].data, 0
        while view:
            count = os.pwrite(fd, view, at)
            view, at = view[count:], at + count
        arrays.clear()
        yield from decode_streams(f"/proc/self/fd/{fd}", reading, index)
    finally:
        os.ftruncate(fd, 0)  # gives its memory back, and the next medium may be shorter


@cache
def _medium_file() -> int:
    """The one file in memory of this process, which holds one medium after the other."""
    return os.memfd_create("medium", os.MFD_CLOEXEC)
