"""The decoder's own process: takes one medium at a time and gives its pieces one by one.

Started by workers.decode with as little as it needs: no engine, no tables, no
credentials in its environment. It lives as long as its parent and no longer.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

from jobs.pieces import MediaInfo, Piece, Reading
from storage.errors import RowError
from workers import wire
from workers.child import die_with
from workers.images import decode_image
from workers.streams import decode_streams

Items = Generator[MediaInfo | Piece, None, None]

#: Exit status that says "out of memory": 128 + SIGKILL, as the kernel's own killer leaves.
OUT_OF_MEMORY = 137


def main(arguments: list[str]) -> None:
    """Serve until the parent goes away. Arguments: socket, parent's pid, bytes of memory."""
    fd, parent, memory = (int(argument) for argument in arguments)
    die_with(parent)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=fd) as sock:
        try:
            wire.send(sock, {"ready": os.getpid()})
            while True:
                _serve_one(sock)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        except MemoryError:
            os._exit(OUT_OF_MEMORY)


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
    fd = os.memfd_create("medium", os.MFD_CLOEXEC)
    try:
        view = arrays[0].data
        while view:
            view = view[os.write(fd, view) :]
        arrays.clear()
        yield from decode_streams(f"/proc/self/fd/{fd}", reading, index)
    finally:
        os.close(fd)
