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
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.pieces import Clip, MediaInfo, Piece, Reading, Span

#: Length of the JSON that follows, in bytes.
_HEAD = struct.Struct("!I")
#: Longest JSON, and most bytes of all arrays of a message, unless the receiver believes less.
_MAX_JSON = 64 << 20
_MAX_ARRAYS = 64 << 30
#: What arrays hold: pixels, bytes of media, and samples of sound.
_DTYPES = ("|u1", "<f4")
_KINDS = ("image", "audio", "video", "document")
#: What the columns of a table hold of sizes, and of other whole numbers.
_SIZES = range(1 << 31)
_WHOLE = range(-1 << 63, 1 << 63)
#: Whole numbers that a float holds as they are.
_EXACT = 1 << 53
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


def receive(
    sock: socket.socket,
    most_json: int = _MAX_JSON,
    most: int = _MAX_ARRAYS,
    within_s: float | None = None,
) -> tuple[dict[str, Any], list[Array]]:
    """Receive one message and its arrays, which own their memory.

    Of at most `most_json` bytes of JSON, and `most` of all arrays together: who sends must not
    make us allocate without end, nor wait for the next byte for ever. Raises EOFError if the
    other end is gone, TimeoutError after `within_s` seconds, ValueError, KeyError or TypeError if
    what came is no message.
    """
    end = None if within_s is None else time.monotonic() + within_s
    (length,) = _HEAD.unpack(_exactly(sock, _HEAD.size, end))
    if length > most_json:
        raise ValueError(f"a message of {length} bytes")
    try:
        head = json.loads(_exactly(sock, length, end))
    except RecursionError as error:
        raise ValueError("a message that is nested too deeply") from error
    for dtype, shape in head["arrays"]:
        if dtype not in _DTYPES or min(shape, default=0) < 0:
            raise ValueError(f"an array of {dtype} {shape}")
        most -= math.prod(shape) * np.dtype(dtype).itemsize
        if most < 0:
            raise ValueError(f"arrays of too many bytes, with one of {dtype} {shape}")
    arrays = []
    for dtype, shape in head["arrays"]:
        array = np.empty(shape, dtype)
        if array.nbytes:
            _fill(sock, array.data.cast("B"), end)
        arrays.append(array)
    return head["message"], arrays


def _exactly(sock: socket.socket, length: int, end: float | None) -> bytearray:
    data = bytearray(length)
    _fill(sock, memoryview(data), end)
    return data


def _fill(sock: socket.socket, view: memoryview, end: float | None) -> None:
    while view:
        if end is not None:
            # A timeout of 0 would be none: it asks what is there already.
            sock.settimeout(max(end - time.monotonic(), 0.001))
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
    """The item that `pack` was given. Raises KeyError, TypeError, ValueError or IndexError on
    nonsense; what the fields hold is not looked at, see `check`.
    """
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


def check(item: MediaInfo | Piece) -> None:
    """Raises ValueError if an item's fields do not hold what they should.

    A medium may have taken its decoder over, and what that says ends up in the table of a whole
    shard: a width that is no number would fail all rows of it.
    """
    if not (_is_info(item) if isinstance(item, MediaInfo) else _is_piece(item)):
        raise ValueError("an item whose fields make no sense")


def _is_info(info: MediaInfo) -> bool:
    return (
        info.kind in _KINDS
        and all(n is None or _is_whole(n, _SIZES) for n in (info.width, info.height, info.pages))
        and (info.duration_s is None or _is_real(info.duration_s))
        # Names and numbers; what cannot be printed might not be writable either.
        and all(isinstance(each, str) and each.isprintable() for each in info.warnings)
    )


def _is_piece(piece: Piece) -> bool:
    span, clip = piece.span, piece.clip
    return (
        all(_is_whole(n, _SIZES) for n in (span.media_index, span.width, span.height))
        and all(_is_whole(n, _WHOLE) for n in (span.start, span.end))
        and all(s is None or _is_real(s) for s in (span.start_s, span.end_s))
        and all(_is_pixels(image, 3) for image in piece.images)
        and (clip is None or _is_clip(clip))
        and all(sound.dtype == np.float32 and sound.ndim == 1 for sound in piece.sounds)
    )


def _is_clip(clip: Clip) -> bool:
    return (
        _is_pixels(clip.frames, 4)
        and len(clip.indices) == len(clip.frames)
        and all(_is_whole(n, _WHOLE) for n in (*clip.indices, clip.total_frames))
        and _is_real(clip.fps)
        and clip.fps > 0
    )


def _is_pixels(array: Array, dimensions: int) -> bool:
    return array.dtype == np.uint8 and array.ndim == dimensions and array.shape[-1] == 3


def _is_whole(value: object, within: range) -> bool:
    # Neither a bool, nor a float, for which a range is searched number by number.
    return type(value) is int and value in within


def _is_real(value: object) -> bool:
    if type(value) is int:
        return abs(value) <= _EXACT
    return type(value) is float and math.isfinite(value)


def pack_reading(reading: Reading) -> dict[str, Any]:
    """A Reading as plain JSON values."""
    values = {part.name: getattr(reading, part.name) for part in fields(reading)}
    return values | {"kinds": sorted(reading.kinds), "keep": [asdict(s) for s in reading.keep]}


def unpack_reading(values: Mapping[str, Any]) -> Reading:
    """The Reading that `pack_reading` was given."""
    keep = tuple(Span(**span) for span in values["keep"])
    return Reading(**{**values, "kinds": frozenset(values["kinds"]), "keep": keep})
