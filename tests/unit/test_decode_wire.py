"""Whatever is sent between worker and decoder arrives as it was, or is refused."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs.pieces import Clip, MediaInfo, Piece, Reading, Span
from workers import wire

seconds = st.floats(0, 1e6)
spans = st.builds(
    Span,
    st.integers(0, 9),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    st.none() | seconds,
    st.none() | seconds,
    st.integers(0, 9999),
    st.integers(0, 9999),
)
sides = st.integers(0, 5)
images = arrays(np.uint8, st.tuples(sides, sides, st.just(3)))
sounds = arrays(np.float32, st.integers(0, 9), elements=st.floats(-1, 1, width=32))
clips = st.builds(
    Clip,
    arrays(np.uint8, st.tuples(sides, sides, sides, st.just(3))),
    st.lists(st.integers(0, 1 << 30)).map(tuple),
    st.floats(0.01, 1000),
    st.integers(0, 1 << 30),
)
pieces = st.builds(
    Piece,
    spans,
    st.lists(images, max_size=2).map(tuple),
    st.none() | clips,
    st.lists(sounds, max_size=2).map(tuple),
)
infos = st.builds(
    MediaInfo,
    st.sampled_from(["image", "audio", "video", "document"]),
    st.none() | st.integers(0, 9999),
    st.none() | st.integers(0, 9999),
    st.none() | seconds,
    st.lists(st.text()).map(tuple),
    st.none() | st.integers(0, 9999),
)
readings = st.builds(
    Reading,
    st.frozensets(st.sampled_from(["image", "audio", "video", "document"])),
    st.sampled_from(["clip", "frames", "sound"]),
    st.booleans(),
    st.floats(0.1, 30),
    st.floats(1, 30),
    st.floats(0, 1e6),
    st.none() | seconds,
    st.floats(0, 9),
    st.sampled_from(["time", "scenes"]),
    st.integers(1, 1 << 40),
    st.floats(1, 1e6),
    st.none() | st.text(),
    st.integers(1, 9999),
    st.integers(1, 1 << 40),
    st.none() | st.integers(1, 1 << 40),
    st.lists(spans, max_size=3).map(tuple),
)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        other.settimeout(5)
        yield one, other


@settings(max_examples=100, deadline=None)
@given(item=pieces | infos)
def test_items_arrive_as_they_were(pair: Any, item: MediaInfo | Piece) -> None:
    wire.send(pair[0], *wire.pack(item))
    got = wire.unpack(*wire.receive(pair[1]))
    if isinstance(item, MediaInfo):
        assert got == item
        return
    assert isinstance(got, Piece)
    assert got.span == item.span
    assert len(got.images) == len(item.images)
    for image, sent in zip(got.images, item.images, strict=True):
        assert np.array_equal(image, sent)
        assert image.dtype == sent.dtype
    assert (got.clip is None) == (item.clip is None)
    if got.clip is not None and item.clip is not None:
        assert np.array_equal(got.clip.frames, item.clip.frames)
        assert got.clip.indices == item.clip.indices
        assert (got.clip.fps, got.clip.total_frames) == (item.clip.fps, item.clip.total_frames)
    assert len(got.sounds) == len(item.sounds)
    for sound, sent in zip(got.sounds, item.sounds, strict=True):
        assert np.array_equal(sound, sent)
        assert sound.dtype == np.float32


@settings(max_examples=100, deadline=None)
@given(reading=readings)
def test_readings_arrive_as_they_were(pair: Any, reading: Reading) -> None:
    wire.send(pair[0], {"reading": wire.pack_reading(reading)})
    message, none = wire.receive(pair[1])
    assert none == []
    assert wire.unpack_reading(message["reading"]) == reading


def test_turned_arrays_are_sent_in_order(pair: Any) -> None:
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    turned = image.transpose(1, 0, 2)[::-1]
    span = Span(0, 0, 1)
    wire.send(pair[0], *wire.pack(Piece(span, images=(turned,))))
    got = wire.unpack(*wire.receive(pair[1]))
    assert isinstance(got, Piece)
    assert np.array_equal(got.images[0], turned)
    assert got.images[0].flags.writeable


def test_a_long_message_needs_a_reader(pair: Any) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (32, 200, 200, 3), np.uint8)
    piece = Piece(Span(0, 0, 1), clip=Clip(frames, tuple(range(32)), 1.0, 32))
    sender = Thread(target=wire.send, args=(pair[0], *wire.pack(piece)))
    sender.start()
    got = wire.unpack(*wire.receive(pair[1]))
    sender.join()
    assert isinstance(got, Piece)
    assert got.clip is not None
    assert np.array_equal(got.clip.frames, frames)


@pytest.mark.parametrize(
    "head",
    [
        b'{"message": {}, "arrays": [["|O", [1]]]}',
        b'{"message": {}, "arrays": [["<f8", [99999999999]]]}',
        b'{"message": {}, "arrays": [["<f8", [-1, -1]]]}',
        b'{"message": {}, "arrays": [["|u1", [-1, -1]]]}',
        b'{"message": {}, "arrays": [["|V999", [1]]]}',
        b'{"message": {}, "arrays": [["<f4", [99999999999]]]}',
        b'{"message": {}, "arrays": [%s]}' % b", ".join([b'["|u1", [4294967296]]'] * 100),
        b"[" * 10_000,
        b"no json",
    ],
)
def test_nonsense_is_refused(head: bytes) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(struct.pack("!I", len(head)) + head)
        with pytest.raises(ValueError, match=r"array|too deeply|Expecting value"):
            wire.receive(other)
        one.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(ValueError, match="message of 4294967295 bytes"):
            wire.receive(other)


def test_all_arrays_together_have_a_most() -> None:
    one, other = socket.socketpair()
    with one, other:
        sent: list[wire.Array] = [np.zeros(600, np.uint8), np.zeros(100, np.float32)]
        wire.send(one, {}, sent)
        assert len(wire.receive(other, most=1000)[1]) == 2
        wire.send(one, {}, sent)
        with pytest.raises(ValueError, match=r"too many bytes, with one of <f4 \[100\]"):
            wire.receive(other, most=999)


@settings(max_examples=100, deadline=None)
@given(piece=pieces)
def test_pieces_hold_what_they_should(piece: Piece) -> None:
    clip = piece.clip
    if clip is not None:
        clip = replace(clip, indices=tuple(range(len(clip.frames))))
    wire.check(replace(piece, clip=clip))


def test_a_closed_end_is_the_end() -> None:
    one, other = socket.socketpair()
    with other:
        one.sendall(b"\0")
        one.close()
        with pytest.raises(EOFError):
            wire.receive(other)


def test_who_sends_byte_by_byte_has_no_more_time_for_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ended = Event()

        def drip() -> None:
            theirs.sendall(struct.pack("!I", 1000))
            while not ended.wait(0.02):
                theirs.sendall(b" ")

        dripping = Thread(target=drip)
        dripping.start()
        try:
            with pytest.raises(TimeoutError):
                wire.receive(ours, within_s=0.2)
        finally:
            ended.set()
            dripping.join()
