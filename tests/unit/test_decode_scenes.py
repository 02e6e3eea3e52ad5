"""Windows end where scenes do, cover every second once, and fit a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.pieces import Piece, Reading
from storage.errors import WorkerUnfit
from tests.media import RATE, as_media, evenly, tone, write_video
from workers.decode import Decoders
from workers.streams import decode_streams
from workers.windows import SHORTEST_S, gaps, of_scenes, of_time, without

SCENES = Reading(frozenset({"video"}), windows="scenes")


class Known:
    """Cuts of a film that are known; notes how far ahead it was asked."""

    def __init__(self, cuts: Sequence[float], end_s: float) -> None:
        self._cuts, self._end_s = cuts, end_s
        self.asked_s = 0.0

    def skip(self, to_s: float) -> None:
        assert to_s >= 0

    def between(self, from_s: float, until_s: float) -> float | None:
        self.asked_s = max(self.asked_s, until_s)
        return next((cut for cut in self._cuts if from_s <= cut <= until_s), None)

    def end_s(self, by_s: float) -> float | None:
        self.asked_s = max(self.asked_s, by_s)
        return self._end_s if self._end_s <= by_s else None


def cut(
    cuts: Sequence[float], end_s: float, limit: float = 30.0, fps: float = 25.0
) -> list[tuple[float, float]]:
    """The windows of a film that ends at `end_s`, as they are trimmed to its end."""
    found = of_scenes(Known(cuts, end_s), [(0.0, end_s)], fps, limit)
    return [(round(start, 2), round(end, 2)) for start, end in found]


def test_windows_end_with_scenes() -> None:
    assert cut([4.0, 10.0, 33.0], 40.0) == [(0, 4), (4, 10), (10, 33), (33, 40)]


def test_a_long_scene_is_cut_evenly_and_a_short_one_joins_its_neighbour() -> None:
    assert cut([4.0, 74.0], 80.0) == [(0, 4), (4, 27.32), (27.32, 50.68), (50.68, 74), (74, 80)]
    # A flash joins what follows it, and what flickers at the end what was before.
    assert cut([4.0, 4.04, 10.0, 19.5], 20.0) == [(0, 4), (4, 10), (10, 20)]
    assert cut([0.4], 20.0) == [(0, 20)]


def test_a_short_last_scene_of_a_film_of_unknown_length_joins_too() -> None:
    windows = of_scenes(Known([4.0, 19.5], 20.0), [(0.0, inf)], 25.0, 30.0)
    # Until the sound has ended as well, windows go on.
    assert [next(windows) for _ in range(3)] == [(0.0, 4.0), (4.0, 20.5), (20.5, 50.5)]


def test_a_scene_without_end_is_not_waited_for() -> None:
    cuts = Known([], 3600.0)
    windows = of_scenes(cuts, [(0.0, 3600.0)], 25.0, 30.0)
    assert next(windows) == (0.0, 30.0)
    assert cuts.asked_s <= 130.0
    *_, before, last = windows
    assert last[1] == 3600.0
    assert before[1] - before[0] == pytest.approx(last[1] - last[0], abs=0.1)


def test_sound_after_the_pictures_is_in_windows_too() -> None:
    found = of_scenes(Known([], 10.0), [(0.0, 50.0)], 25.0, 30.0)
    assert list(found) == [(0.0, 10.5), (10.5, 40.5), (40.5, 50.0)]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(0.01, 90.0), max_size=12),
    st.floats(0.5, 60.0),
    st.sampled_from([1.07, 8.0, 30.0]),
    st.lists(st.tuples(st.floats(0.0, 40.0), st.floats(0.1, 30.0)), max_size=3),
    st.sampled_from(["time", "scenes"]),
)
def test_every_second_is_in_one_window(
    scenes: list[float],
    tail: float,
    limit: float,
    kept_places: list[tuple[float, float]],
    how: str,
) -> None:
    cuts = np.cumsum([0.0, *scenes]).tolist()[1:]
    end_s = (cuts[-1] if cuts else 0.0) + tail
    kept, at = [], 0.0
    for gap, length in kept_places:
        kept.append((at + gap, at + gap + length))
        at += gap + length
    if how == "scenes":
        found = list(of_scenes(Known(cuts, end_s), gaps(0.0, end_s, kept), 25.0, limit))
    else:
        found = list(without(of_time(0.0, end_s, end_s, 25.0, limit), kept))
    assert all(end - start <= limit + 1e-6 for start, end in found)
    # What is left out between them and what is kept is shorter than a rounding.
    covered = sorted([*found, *((start, end) for start, end in kept if start < end_s)])
    reached = 0.0
    for start, end in covered:
        assert abs(start - reached) <= 1e-3 + 1e-9
        reached = end
    assert reached >= end_s - 1e-3 - 1e-9
    if how == "scenes" and not kept:
        edges = {end for _, end in found} | {end_s}
        previous = 0.0
        for scene in cuts:  # every cut that leaves a second on both sides of it
            if scene - previous >= SHORTEST_S and end_s - scene >= SHORTEST_S:
                assert min(abs(edge - scene) for edge in edges) < 1e-6
                previous = scene


def scene(number: int, at: int) -> npt.NDArray[np.uint8]:
    """A frame of one of several scenes: its own picture, in which something small moves."""
    picture = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    frame = np.kron(picture, np.ones((16, 16, 1), np.uint8))
    frame[40:48, (at * 3) % 120 : (at * 3) % 120 + 8] = 255 - frame[40, 60]
    return frame


def film(path: Path, cuts: Sequence[float], seconds: float, fps: int = 10) -> Path:
    """A film of `seconds` whose scenes begin at 0 and at `cuts`, with a tone."""

    def picture(number: int) -> npt.NDArray[np.uint8]:
        return scene(sum(number / fps >= at - 1e-6 for at in cuts), number)

    return write_video(
        path, evenly(round(seconds * fps), fps), picture, rate=fps, sound=tone(seconds)
    )


def spans(path: Path, reading: Reading) -> list[tuple[float, float]]:
    pieces = [item for item in decode_streams(str(path), reading, 0) if isinstance(item, Piece)]
    for piece in pieces:
        assert piece.clip is not None
        assert len(piece.clip.indices) <= 32
        length = cast("float", piece.span.end_s) - cast("float", piece.span.start_s)
        assert abs(len(piece.sounds[0]) / RATE - length) < 0.1
    return [(cast("float", p.span.start_s), cast("float", p.span.end_s)) for p in pieces]


def test_scenes_of_a_film(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [7.0, 12.5, 50.0, 50.3], 60.0)
    found = spans(path, SCENES)
    assert [start for start, _ in found] == pytest.approx([0.0, 7.0, 12.5, 31.3, 50.0], abs=0.11)
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert found[-1][1] == pytest.approx(60.0, abs=0.1)
    # The first frame of a window is of its scene.
    (first, second, *_) = [p for p in decode_streams(str(path), SCENES, 0) if isinstance(p, Piece)]
    assert first.clip is not None
    assert second.clip is not None
    assert np.abs(second.clip.frames[0].astype(int) - scene(1, 70)).mean() < 10
    assert np.abs(first.clip.frames[-1].astype(int) - scene(0, 60)).mean() < 10


def test_scenes_of_a_part_and_around_what_is_kept(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", [7.0, 12.5, 50.0], 60.0)
    part = replace(SCENES, start_s=9.0, end_s=55.0)
    found = spans(path, part)
    assert [start for start, _ in found] == pytest.approx([9.0, 12.5, 31.3, 50.0], abs=0.11)
    assert found[-1][1] == 55.0
    pieces = [item for item in decode_streams(str(path), SCENES, 0) if isinstance(item, Piece)]
    again = replace(SCENES, keep=tuple(piece.span for piece in pieces[:3]))
    assert spans(path, again) == [(piece.span.start_s, piece.span.end_s) for piece in pieces[3:]]


def test_a_worker_without_the_detector_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.mp4", [], 1.0)
    monkeypatch.setattr("workers.decode.find_spec", lambda name: None)
    decoders = Decoders(1)
    try:
        with pytest.raises(WorkerUnfit, match=r"mediamill\[scenes\]"):
            list(decoders.decode(as_media(path, "video"), SCENES, 0))
        assert len(list(decoders.decode(as_media(path, "video"), Reading(SCENES.kinds), 0))) == 3
    finally:
        decoders.close()
