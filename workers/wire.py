"""What crosses between a worker and the processes beside it: JSON and raw arrays, never pickle.

A decoder reads hostile media, so nothing it says may run code here: a message is a
JSON object and the bytes of its arrays, each array named by dtype and shape. Arrays
are received straight into their own memory: 768x1024 RGB takes about half a
millisecond, which leaves nothing for shared memory to win.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.pieces import Clip, MediaInfo, Piece, Reading, Span

#: Length of the JSON that follows, in bytes.
_HEAD = struct.Struct("!I")
#: Longest JSON and largest array that are believed: a decoder gone wild must not
#: make its worker allocate without end.
_MAX_JSON = 64 << 20
_MAX_ARRAY = 4 << 30
#: Exit status that says "out of memory": 128 + SIGKILL, as the kernel's own killer leaves.
OUT_OF_MEMORY = 137

Array = npt.NDArray[Any]


def send(sock: socket.socket, message: Mapping[str, Any], arrays: Sequence[Array] = ()) -> None:
    """Send one message and its C-contiguous arrays. Raises OSError if the other end is gone."""
    shapes = [[array.dtype.str, list(array.shape)] for array in arrays]
    head = json.dumps({"message": message, "arrays": shapes}).encode()
    sock.sendall(_HEAD.pack(len(head)) + head)
    for array in arrays:
        if array.nbytes:
            sock.sendall(array.data.cast("B"))


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[Array]]:
    """Receive one message and its arrays, which own their memory.

    Raises EOFError if the other end is gone, TimeoutError by the socket's own
    timeout, ValueError if what came is no message.
    """
    (length,) = _HEAD.unpack(_exactly(sock, _HEAD.size))
    if length > _MAX_JSON:
        raise ValueError(f"a message of {length} bytes")
    head = json.loads(_exactly(sock, length))
    arrays = []
    for dtype, shape in head["arrays"]:
        kind = np.dtype(dtype)
        if kind.hasobject or min(shape, default=0) < 0:
            raise ValueError(f"an array of {dtype} {shape}")
        if math.prod(shape) * kind.itemsize > _MAX_ARRAY:
            raise ValueError(f"an array of {dtype} {shape}")
        array = np.empty(shape, kind)
        if array.nbytes:
            _fill(sock, array.data.cast("B"))
        arrays.append(array)
    return head["message"], arrays


def _exactly(sock: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    _fill(sock, memoryview(data))
    return data


def _fill(sock: socket.socket, view: memoryview) -> None:
    while view:
        count = sock.recv_into(view)
        if not count:
            raise EOFError("the other end closed")
        view = view[count:]


def pack(item: MediaInfo | Piece) -> tuple[dict[str, Any], list[Array]]:
    """A decoded item as message and arrays."""
    if isinstance(item, MediaInfo):
        return {"info": asdict(item)}, []
    arrays: list[Array] = [np.ascontiguousarray(image) for image in item.images]
    message: dict[str, Any] = {"span": asdict(item.span), "images": len(arrays)}
    if item.clip is not None:
        arrays.append(np.ascontiguousarray(item.clip.frames))
        message["clip"] = [item.clip.indices, item.clip.fps, item.clip.total_frames]
    arrays += [np.ascontiguousarray(sound) for sound in item.sounds]
    return message, arrays


def unpack(message: Mapping[str, Any], arrays: Sequence[Array]) -> MediaInfo | Piece:
    """The item that `pack` was given. Raises KeyError, TypeError or IndexError on nonsense."""
    if "info" in message:
        info = message["info"]
        return MediaInfo(**{**info, "warnings": tuple(info["warnings"])})
    rest = list(arrays)
    images = tuple(rest.pop(0) for _ in range(message["images"]))
    clip = None
    if "clip" in message:
        indices, fps, total_frames = message["clip"]
        clip = Clip(rest.pop(0), tuple(indices), fps, total_frames)
    return Piece(Span(**message["span"]), images, clip, tuple(rest))


def pack_reading(reading: Reading) -> dict[str, Any]:
    """A Reading as plain JSON values."""
    values = {part.name: getattr(reading, part.name) for part in fields(reading)}
    return values | {"kinds": sorted(reading.kinds), "keep": [asdict(s) for s in reading.keep]}


def unpack_reading(values: Mapping[str, Any]) -> Reading:
    """The Reading that `pack_reading` was given."""
    keep = tuple(Span(**span) for span in values["keep"])
    return Reading(**{**values, "kinds": frozenset(values["kinds"]), "keep": keep})
