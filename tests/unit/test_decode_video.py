"""Video comes out as windows and frames whose times, turns and sizes are those of the medium."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.pieces import Clip, MediaInfo, Piece, Reading
from storage.errors import RowError
from tests.media import (
    RATE,
    cut_short,
    evenly,
    flipped,
    grey,
    quarters,
    speech,
    told,
    tone,
    turned,
    write_sound,
    write_video,
)
from workers.container import frames
from workers.streams import decode_streams
from workers.video import MOST_PIXELS

CLIP = Reading(frozenset({"video"}))
FRAMES = Reading(frozenset({"video"}), video="frames")


def decoded(path: Path, reading: Reading = CLIP) -> tuple[MediaInfo, list[Piece]]:
    first, *pieces, last = decode_streams(str(path), reading, 2)
    assert isinstance(first, MediaInfo)
    assert isinstance(last, MediaInfo)
    assert (first.kind, first.width, first.height) == (last.kind, last.width, last.height)
    found = [piece for piece in pieces if isinstance(piece, Piece)]
    assert len(found) == len(pieces)
    assert all(piece.span.media_index == 2 for piece in found)
    return last, found


def clip_of(piece: Piece) -> Clip:
    assert piece.clip is not None
    assert piece.images == ()
    frames, clip, span = piece.clip.frames, piece.clip, piece.span
    assert frames.dtype == np.uint8
    assert frames.shape[0] == len(clip.indices) <= 32
    assert frames.shape[3] == 3
    assert list(clip.indices) == sorted(set(clip.indices))
    assert span.start_s is not None
    assert span.end_s is not None
    assert span.end_s - span.start_s <= 30.0
    assert all(span.start <= number < span.end for number in clip.indices)
    assert clip.indices[-1] < clip.total_frames
    return clip


def refusal(path: Path, reading: Reading = CLIP) -> RowError:
    with pytest.raises(RowError) as caught:
        list(decode_streams(str(path), reading, 0))
    return caught.value


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mp4", "mpeg4", "yuv420p"),
        ("a.mkv", "libx264", "yuv444p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mkv", "mpeg2video", "yuv420p"),
        ("a.mkv", "ffv1", "gray"),
        ("a.mp4", "libx265", "yuv420p10le"),
    ],
)
def test_sampled_frames_are_those_of_their_times(
    tmp_path: Path, name: str, codec: str, pixels: str
) -> None:
    # Frame n tells n: 10 frames a second, so the samples must tell 0, 10, 20, …
    path = write_video(tmp_path / name, evenly(49, 10), grey, codec, 10, pixels)
    info, (piece,) = decoded(path)
    clip = clip_of(piece)
    assert clip.fps == pytest.approx(10, abs=0.01)
    assert clip.indices == (0, 10, 20, 30, 40)
    assert [told(frame) for frame in clip.frames] == [0, 10, 20, 30, 40]
    assert clip.frames.shape[1:] == (48, 64, 3)
    assert clip.total_frames == pytest.approx(49, abs=1)
    assert info.kind == "video"
    assert info.duration_s == pytest.approx(4.9, abs=0.2)
    assert (info.width, info.height) == (64, 48)
    assert (piece.span.start, piece.span.start_s) == (0, 0.0)
    assert piece.span.end_s == pytest.approx(4.9, abs=0.2)
    assert not piece.sounds
    assert info.warnings == ()


def test_variable_frame_rate(tmp_path: Path) -> None:
    # Twenty frames in the first second, then one that stands for five.
    times = [number / 20 for number in range(20)] + [1.0, 6.0, 6.5]
    path = write_video(tmp_path / "a.mp4", times, grey, rate=20, bf="0")
    _, (piece,) = decoded(path)
    clip = clip_of(piece)
    assert [told(frame) for frame in clip.frames] == [0, 20, 21]
    assert [number / clip.fps for number in clip.indices] == pytest.approx(
        [0.0, 1.0, 6.0], abs=0.5 / clip.fps + 1e-6
    )


def test_a_slow_film_shows_each_frame_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [0.0, 4.0, 8.0], grey, rate=1)
    _, pieces = decoded(path, FRAMES)
    assert [told(piece.images[0]) for piece in pieces] == [0, 1, 2]
    assert [piece.span.start_s for piece in pieces] == pytest.approx([0.0, 4.0, 8.0])


def test_frames_are_images_with_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(50, 10), grey, rate=10, sound=tone(5.0))
    _, pieces = decoded(path, Reading(frozenset({"video"}), video="frames", fps=2.0))
    assert [told(piece.images[0]) for piece in pieces] == list(range(0, 50, 5))
    assert [piece.span.start for piece in pieces] == list(range(0, 50, 5))
    assert [piece.span.start_s for piece in pieces] == pytest.approx([n / 2 for n in range(10)])
    assert all(piece.clip is None and not piece.sounds for piece in pieces)
    assert pieces[0].span.width, pieces[0].span.height == (64, 48)


def test_long_films_are_cut_into_equal_windows_with_their_sound(tmp_path: Path) -> None:
    sound = tone(70.0) * np.repeat(np.linspace(0.1, 1, 70, dtype=np.float32), RATE)
    path = write_video(
        tmp_path / "a.mp4", evenly(350, 5), grey, rate=5, sound=sound.astype(np.float32)
    )
    info, pieces = decoded(path)
    spans = [(piece.span.start_s, piece.span.end_s) for piece in pieces]
    assert len(spans) == 3
    # Thirds, to the next frame.
    assert spans[0] == pytest.approx((0.0, 23.4))
    assert spans[1] == pytest.approx((23.4, 46.6))
    assert spans[2] == pytest.approx((46.6, 70.0), abs=0.1)
    for piece in pieces:
        clip = clip_of(piece)
        start_s, end_s = piece.span.start_s, piece.span.end_s
        assert start_s is not None
        assert end_s is not None
        assert len(clip.indices) == 24
        for number, frame in zip(clip.indices, clip.frames, strict=True):
            assert told(frame) == number % 50
        assert piece.sounds
        assert abs(len(piece.sounds[0]) / RATE - (end_s - start_s)) < 0.1
        # The sound gets louder by the second: this is the window's own.
        middle = piece.sounds[0][len(piece.sounds[0]) // 2 :][: RATE // 10]
        expected = 0.5 * (0.1 + 0.9 * ((start_s + end_s) / 2) / 69)
        assert np.abs(middle).max() == pytest.approx(expected, rel=0.1)
    assert info.duration_s == pytest.approx(70.0, abs=0.1)


def test_at_most_32_frames_a_window(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(250, 10), grey, rate=10)
    _, pieces = decoded(path, Reading(frozenset({"video"}), fps=5.0))
    counts = [len(clip_of(piece).indices) for piece in pieces]
    assert 125 <= sum(counts) <= 128  # a frame that stands across a cut is in both windows
    assert max(counts) <= 32
    assert len(counts) == 4


def test_silence_keeps_its_sound_and_no_track_has_none(tmp_path: Path) -> None:
    silent = write_video(
        tmp_path / "a.mp4", evenly(30, 10), grey, rate=10, sound=np.zeros(3 * RATE, np.float32)
    )
    info, (piece,) = decoded(silent)
    assert info.warnings == ()
    assert piece.sounds
    assert abs(len(piece.sounds[0]) - 3 * RATE) < 0.1 * RATE
    info, (piece,) = decoded(silent, Reading(frozenset({"video"}), sound=False))
    assert info.warnings == ("audio_not_heard",), "a model that cannot hear"
    assert not piece.sounds
    frames, _ = decoded(silent, Reading(frozenset({"video"}), video="frames", sound=False))
    assert frames.warnings == (), "a task that looks at pictures alone"


def test_the_sound_goes_on_after_the_picture(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", evenly(50, 10), grey, rate=10, sound=tone(50.0))
    _, pieces = decoded(path)
    assert pieces[-1].span.end_s == pytest.approx(50.0, abs=0.1)
    heard = sum(len(piece.sounds[0]) for piece in pieces if piece.sounds)
    assert heard / RATE == pytest.approx(50.0, abs=0.1)
    for piece in pieces:
        clip_of(piece)


@pytest.mark.parametrize(
    ("matrix", "corners"),
    [  # red, green / blue, white: what is at the top left, top right, bottom left after turning
        ((1, 0, 0, 1), "rgb"),
        ((0, 1, -1, 0), "brw"),  # 90 degrees clockwise, as phones write it
        ((-1, 0, 0, -1), "wbg"),
        ((0, -1, 1, 0), "gwr"),
        ((-1, 0, 0, 1), "grw"),
        ((0, 1, 1, 0), "rbg"),
    ],
)
@pytest.mark.parametrize("mode", ["clip", "frames"])
def test_the_film_stands_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], corners: str, mode: str
) -> None:
    path = turned(write_video(tmp_path / "a.mp4", evenly(10, 10), quarters, rate=10), matrix)
    reading = CLIP if mode == "clip" else FRAMES
    info, (piece, *_) = decoded(path, reading)
    frame = clip_of(piece).frames[0] if mode == "clip" else piece.images[0]
    swapped = matrix[0] == 0
    size = (32, 64) if swapped else (64, 32)
    assert (info.width, info.height) == (piece.span.width, piece.span.height) == size
    assert frame.shape == (size[1], size[0], 3)
    colours = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}
    for corner, place in zip(corners, [(4, 4), (4, -5), (-5, 4)], strict=True):
        assert np.abs(frame[place].astype(int) - colours[corner]).max() < 40, (corner, place)


@pytest.mark.parametrize(
    ("aspect", "size"), [(Fraction(2), (128, 32)), (Fraction(1, 2), (64, 64)), (None, (64, 32))]
)
def test_pixels_are_made_square(
    tmp_path: Path, aspect: Fraction | None, size: tuple[int, int]
) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(5, 5), quarters, rate=5, aspect=aspect)
    info, (piece,) = decoded(path)
    assert (info.width, info.height) == size
    assert clip_of(piece).frames.shape[1:3] == (size[1], size[0])


def test_odd_sizes(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mkv", evenly(5, 5), lambda number: grey(number, 37, 21), "ffv1", 5, "bgr0"
    )
    _, (piece,) = decoded(path)
    assert clip_of(piece).frames.shape[1:] == (21, 37, 3)


def test_large_frames_are_scaled_in_clips_alone(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", evenly(2, 1), lambda number: quarters(number, 3840, 2160), "mpeg4", 1
    )
    info, (piece,) = decoded(path)
    frames = clip_of(piece).frames
    assert frames.shape[1] * frames.shape[2] <= MOST_PIXELS
    assert frames.shape[2] / frames.shape[1] == pytest.approx(16 / 9, rel=0.01)
    assert (info.width, info.height) == (piece.span.width, piece.span.height) == (3840, 2160)
    assert np.abs(frames[0, 10, 10].astype(int) - (255, 0, 0)).max() < 40
    _, pieces = decoded(path, FRAMES)
    assert pieces[0].images[0].shape == (2160, 3840, 3)


def test_limits(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(50, 10), grey, rate=10)
    assert refusal(path, Reading(frozenset({"video"}), max_duration_s=4.5)).kind == "too_large"
    assert refusal(path, Reading(frozenset({"video"}), max_pixels=3000)).kind == "too_large"
    assert refusal(path, Reading(frozenset({"image", "audio"}))).kind == "wrong_kind"


SOUGHT = [
    "a.mp4",
    *(pytest.param(f"a.{of}", marks=pytest.mark.full) for of in ("mkv", "ts", "avi")),
]


@pytest.mark.parametrize("name", SOUGHT)
def test_a_part_is_sought_and_its_times_are_those_of_the_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = tone(200.0) * np.repeat(np.linspace(0.1, 1, 200, dtype=np.float32), RATE)
    codec = "mpeg4" if name == "a.avi" else "libx264"
    path = write_video(
        tmp_path / name,
        evenly(1000, 5),
        grey,
        codec,
        rate=5,
        sound=sound.astype(np.float32),
        sound_codec="mp2" if name == "a.avi" else "aac",
    )
    counted = _counted(monkeypatch)
    info, pieces = decoded(path, replace(CLIP, start_s=90.4, end_s=130.4))
    assert [piece.span.start_s for piece in pieces] == pytest.approx([90.4, 110.4])
    assert [piece.span.end_s for piece in pieces] == pytest.approx([110.4, 130.4])
    assert pieces[0].span.end_s == pieces[1].span.start_s
    for piece in pieces:
        clip, start_s = clip_of(piece), piece.span.start_s
        assert start_s is not None
        times = [number / clip.fps for number in clip.indices]
        assert times == pytest.approx([start_s + second for second in range(20)], abs=0.01)
        late = 2 if name == "a.ts" else 0  # frames by which the file's first stream begins later
        for number, frame in zip(clip.indices, clip.frames, strict=True):
            assert (number - told(frame)) % 50 <= late
        assert len(piece.sounds[0]) == 20 * RATE
        middle = piece.sounds[0][10 * RATE :][: RATE // 10]
        expected = 0.5 * (0.1 + 0.9 * (start_s + 10) / 199)
        assert np.abs(middle).max() == pytest.approx(expected, rel=0.05)
    assert counted["frames"] < 300
    assert info.warnings == ()
    if name != "a.ts":  # which does not say how long it is
        assert info.duration_s == pytest.approx(200.0, abs=0.2)


def test_frames_of_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(500, 5), grey, rate=5)
    counted = _counted(monkeypatch)
    reading = replace(FRAMES, start_s=60.0, end_s=63.0, fps=2.0)
    _, pieces = decoded(path, reading)
    assert [piece.span.start_s for piece in pieces] == pytest.approx([60, 60.4, 61, 61.4, 62, 62.4])
    assert [told(piece.images[0]) for piece in pieces] == [0, 2, 5, 7, 10, 12]
    assert counted["frames"] < 40
    # One frame in ten seconds, and the last of them read no further than that.
    assert len(decoded(path, replace(reading, end_s=95.0, fps=0.1))[1]) == 4
    again = replace(reading, keep=tuple(piece.span for piece in pieces))
    assert decoded(path, again)[1] == []


@pytest.mark.parametrize("mode", ["clip", "frames"])
def test_a_part_at_the_edge(tmp_path: Path, mode: str) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(50, 5), grey, rate=5)
    reading = CLIP if mode == "clip" else FRAMES
    error = refusal(path, replace(reading, start_s=12.0, end_s=20.0))
    assert error.kind == "invalid_row"
    assert "start_s is 12, but the video ends at 10.00 s" in error.message
    _, pieces = decoded(path, replace(reading, start_s=8.0, end_s=20.0))
    assert pieces[0].span.start_s == 8.0
    assert pieces[-1].span.end_s == pytest.approx(10.0)
    if mode == "clip":
        _, pieces = decoded(path, replace(reading, start_s=3.3, end_s=3.4))
        assert [(p.span.start_s, p.span.end_s) for p in pieces] == [(3.3, 3.4)]
        assert [told(frame) for frame in clip_of(pieces[0]).frames] == [16]
    limited = replace(reading, max_duration_s=5.0)
    assert "set start_s and end_s" in refusal(path, limited).message
    assert decoded(path, replace(limited, start_s=4.0, end_s=9.0))[1]
    # Where nobody says how long it is.
    stream = write_video(tmp_path / "a.h264", evenly(50, 25), grey)
    assert refusal(stream, replace(reading, start_s=3.0)).kind == "invalid_row"


def test_the_sound_of_a_part_after_the_picture(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", evenly(50, 10), grey, rate=10, sound=tone(50.0))
    _, (piece,) = decoded(path, replace(CLIP, start_s=40.0))
    assert piece.span.end_s == pytest.approx(50.0, abs=0.1)
    assert len(piece.sounds[0]) == pytest.approx(10 * RATE, abs=0.1 * RATE)
    assert refusal(path, replace(CLIP, start_s=60.0)).kind == "invalid_row"


@pytest.mark.parametrize("mode", ["clip", "frames"])
def test_kept_windows_are_not_given_again(tmp_path: Path, mode: str) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(500, 5), grey, rate=5, sound=tone(100.0))
    reading = CLIP if mode == "clip" else FRAMES
    _, whole = decoded(path, reading)
    kept = whole[::2]
    values = {"kinds": reading.kinds, "video": reading.video}
    again = Reading(**values, keep=tuple(piece.span for piece in kept))  # type: ignore[arg-type]
    _, rest = decoded(path, again)
    assert [piece.span for piece in rest] == [piece.span for piece in whole[1::2]]
    for new, old in zip(rest, whole[1::2], strict=True):
        if mode == "clip":
            assert clip_of(new).indices == clip_of(old).indices
            assert np.array_equal(clip_of(new).frames, clip_of(old).frames)
            assert new.sounds
            assert old.sounds
            assert np.array_equal(new.sounds[0], old.sounds[0])
        else:
            assert np.array_equal(new.images[0], old.images[0])
    everything = Reading(**values, keep=tuple(piece.span for piece in whole))  # type: ignore[arg-type]
    assert decoded(path, everything)[1] == []


@pytest.mark.parametrize(
    ("name", "mode"), [("a.mp4", "clip"), ("a.mkv", "frames"), ("a.ts", "clip")]
)
def test_what_is_kept_is_not_decoded(
    tmp_path: Path, name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / name, evenly(1000, 5), grey, rate=5)
    reading = CLIP if mode == "clip" else FRAMES
    _, whole = decoded(path, reading)
    kept = whole[: len(whole) * 9 // 10]
    counted = _counted(monkeypatch)
    again = Reading(frozenset({"video"}), reading.video, keep=tuple(piece.span for piece in kept))
    _, rest = decoded(path, again)
    assert [piece.span for piece in rest] == [piece.span for piece in whole[len(kept) :]]
    for new, old in zip(rest, whole[len(kept) :], strict=True):
        if mode == "clip":
            assert np.array_equal(clip_of(new).frames, clip_of(old).frames)
        else:
            assert np.array_equal(new.images[0], old.images[0])
    assert counted["frames"] < 300


def _counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the frames of video that are decoded from now on."""
    counted: Counter[str] = Counter()

    def counting(*arguments: Any) -> Iterator[Any]:
        for frame in frames(*arguments):
            counted["frames"] += 1
            yield frame

    monkeypatch.setattr("workers.film.frames", counting)
    return counted


def test_new_cuts_lie_between_kept_windows(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(500, 5), grey, rate=5)
    _, whole = decoded(path)
    again = Reading(frozenset({"video"}), window_s=10.0, keep=(whole[1].span,))
    _, rest = decoded(path, again)
    times = sorted((piece.span.start_s, piece.span.end_s) for piece in [*rest, whole[1]])
    assert times[0][0] == 0.0
    assert times[-1][1] == pytest.approx(100.0, abs=0.1)
    for (_, end_s), (start_s, _) in pairwise(times):
        assert start_s == pytest.approx(end_s, abs=0.01)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx", {}),
        ("a.avi", "mpeg4", {}),
    ],
)
@pytest.mark.parametrize("video", ["clip", "frames", "sound"])
def test_half_a_film_is_corrupt(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], video: str
) -> None:
    generator = np.random.default_rng(3)
    noise = generator.integers(0, 256, (100, 48, 64, 3), np.uint8)
    codec_of_sound = {"a.webm": "libopus", "a.avi": "pcm_s16le"}.get(name, "aac")
    path = write_video(
        tmp_path / name,
        evenly(100, 10),
        lambda number: noise[number],
        codec,
        10,
        sound=np.concatenate([speech("Nobody expects rain on a day like this one."), tone(7.0)]),
        sound_codec=codec_of_sound,
        **options,
    )
    reading = Reading(frozenset({"video"}), video=video)  # type: ignore[arg-type]
    decoded(path, reading)
    assert refusal(cut_short(path, 0.5), reading).kind == "corrupt"
    assert refusal(cut_short(path, 0.005), reading).kind == "corrupt"


def test_damage_is_told(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    noise = generator.integers(0, 256, (60, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "a.mp4", evenly(60, 10), lambda number: noise[number], rate=10)
    assert refusal(flipped(path, 5, 400, skip=5000)).kind == "corrupt"


def test_every_bit_flip_ends_well(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(30, 10), quarters, rate=10, sound=tone(3.0))
    outcomes = set()
    for seed in range(30):
        try:
            outcomes.add(decoded(flipped(path, seed, 6, skip=0))[0].kind)
        except RowError as error:
            outcomes.add(error.kind)
    assert outcomes <= {"video", "audio", "corrupt", "too_large", "wrong_kind"}


def test_sound_alone_is_wrong_for_a_task_of_pictures(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mp4", tone(2.0), "aac")
    assert refusal(path).kind == "wrong_kind"
