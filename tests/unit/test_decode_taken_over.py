"""A decoder that its medium took over: nonsense from it costs the row, and never more.

What it says ends up in the table of a whole shard, where nonsense would fail its neighbours.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, get_args

import numpy as np
import pytest

from jobs.pieces import Clip, MediaInfo, Piece, Span
from storage.errors import RowError
from storage.sniff import Kind
from workers import decode_process, wire
from workers.decode_process import DecodeProcess

#: What the decoder may hold, in bytes.
MEMORY = 4096
INFO = asdict(MediaInfo("video", 4, 3, 1.5, ("truncated",), None))
SPAN = asdict(Span(0, 0, 2, 0.0, 2.0, 4, 3))
IMAGE = np.zeros((3, 4, 3), np.uint8)
FRAMES = np.zeros((2, 3, 4, 3), np.uint8)
SOUND = np.zeros(10, np.float32)
CLIP = [[0, 1], 30.0, 60]

Says = Callable[..., DecodeProcess]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Iterator[Says]:
    """Makes a decoder of which the other end is the test's, and has said these things."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr("workers.child.start", lambda *_: (process, ours))
    monkeypatch.setattr(decode_process, "_GRACE_S", 0.01)

    def make(message: Any, *arrays: wire.Array, head: bytes | None = None) -> DecodeProcess:
        wire.send(theirs, {"ready": 1})
        if head is None:
            wire.send(theirs, message, arrays)
        else:
            theirs.sendall(struct.pack("!I", len(head)) + head)
        return DecodeProcess(MEMORY)

    with theirs:
        yield make
    process.kill()
    process.wait()
    ours.close()


def refused(decoder: DecodeProcess) -> None:
    """It is the medium's error, and the process is no longer used."""
    with pytest.raises(RowError, match="no sense") as caught:
        decoder.answer(20.0)
    assert caught.value.kind == "decoder_died"
    assert not decoder.alive


def test_what_makes_sense_is_taken(says: Says) -> None:
    info = says({"info": INFO}).answer(20.0)
    assert isinstance(info, MediaInfo)
    assert asdict(info) == INFO
    message = {"span": SPAN, "images": 1, "clip": CLIP}
    piece = says(message, IMAGE, FRAMES, SOUND).answer(20.0)
    assert isinstance(piece, Piece)
    assert asdict(piece.span) == SPAN
    assert isinstance(piece.clip, Clip)
    assert [len(piece.images), len(piece.sounds)] == [1, 1]


@pytest.mark.parametrize(
    "field",
    [
        *({name: value} for name in ("width", "height", "pages")
          for value in ("x", -1, 1 << 31, 1.0, True, [])),
        *({"duration_s": value} for value in ("x", True, 10**20, 10**400, float("nan"), [])),
        *({"warnings": value} for value in ([1], ["\ud800"], None, 5, [None])),
        *({"kind": value} for value in ("film", None, [], {})),
        {"more": 1},
    ],
    ids=repr,
)  # fmt: skip
def test_of_a_medium(says: Says, field: dict[str, Any]) -> None:
    refused(says({"info": INFO | field}))


@pytest.mark.parametrize("info", [None, [], "x", {}, 5], ids=repr)
def test_of_a_medium_altogether(says: Says, info: Any) -> None:
    refused(says({"info": info}))


@pytest.mark.parametrize(
    "field",
    [
        *({name: value} for name in ("media_index", "width", "height")
          for value in ("x", None, -1, 1 << 31, 0.5)),
        *({name: value} for name in ("start", "end") for value in ("x", None, 1 << 63, 0.5)),
        *({name: value} for name in ("start_s", "end_s") for value in ("x", 10**400, [])),
    ],
    ids=repr,
)  # fmt: skip
def test_of_a_span(says: Says, field: dict[str, Any]) -> None:
    refused(says({"span": SPAN | field, "images": 1}, IMAGE))


@pytest.mark.parametrize(
    "clip",
    [
        *([[0, value], 30.0, 60] for value in ("x", None, 0.5, 1 << 63)),
        *([[0, 1], value, 60] for value in ("x", None, 0, -1.0, float("inf"))),
        *([[0, 1], 30.0, value] for value in ("x", None, 0.5)),
        *([[0], 30.0, 60], [[0, 1], 30.0], "x", None),
    ],
    ids=repr,
)
def test_of_a_clip(says: Says, clip: Any) -> None:
    refused(says({"span": SPAN, "images": 0, "clip": clip}, FRAMES))


@pytest.mark.parametrize(
    ("images", "array"),
    [
        *((1, array) for array in (FRAMES, SOUND, IMAGE[:, :, :1], IMAGE.astype(np.float32))),
        *((0, array) for array in (IMAGE, SOUND.astype(np.uint8), SOUND.reshape(2, 5))),
        *((count, IMAGE) for count in (2, "x", None)),
    ],
)
def test_of_pixels_and_sound(says: Says, images: Any, array: wire.Array) -> None:
    refused(says({"span": SPAN, "images": images}, np.ascontiguousarray(array)))


@pytest.mark.parametrize(
    "error", [["odd", "x"], [5, "x"], [None, "x"], [["corrupt"], "x"], ["corrupt", 5], ["corrupt"],
              ["corrupt", "x", "y"], "x", 5, None], ids=repr,
)  # fmt: skip
def test_of_an_error(says: Says, error: Any) -> None:
    refused(says({"error": error}))


def test_what_an_error_says_can_be_written(says: Says) -> None:
    with pytest.raises(RowError, match=r"^corrupt: no file a\?\.png$"):
        says({"error": ["corrupt", "no file a\udcff.png"]}).answer(20.0)


@pytest.mark.parametrize("message", [None, 5, [], "x", {}], ids=repr)
def test_of_anything(says: Says, message: Any) -> None:
    refused(says(message))


def test_it_is_believed_no_more_than_a_decoder_holds(says: Says) -> None:
    """Each array for itself might be, not all of them."""
    refused(says({"span": SPAN, "images": 0}, *[np.zeros(250, np.float32)] * 5))


def test_it_tells_no_long_tales(says: Says) -> None:
    refused(says({"error": ["corrupt", "x" * (64 << 10)]}))


def test_nor_such_as_nobody_can_follow(says: Says) -> None:
    refused(says(None, head=b"[" * 10_000))


def test_the_kinds_are_those_of_media() -> None:
    assert set(wire._KINDS) == set(get_args(Kind))
