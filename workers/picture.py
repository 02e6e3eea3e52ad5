"""One frame of video as people see it: upright, with square pixels, in RGB."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from storage.errors import RowError

Pixels = npt.NDArray[np.uint8]

#: Pixel aspect ratios that are believed; others are nonsense from broken headers.
_ASPECTS = (Fraction(1, 4), Fraction(4))


@dataclass(frozen=True)
class View:
    """How a frame is shown. `width` and `height` are its upright size in square pixels."""

    width: int
    height: int
    #: Size before turning, and how the display matrix turns it then.
    scaled: tuple[int, int]
    swapped: bool
    mirrored: tuple[bool, bool]

    def pixels(self, frame: Any, most: int | None = None) -> Pixels:
        """The frame as uint8 [height, width, 3]; over `most` pixels it is scaled down to them.

        Raises RowError("corrupt") for a frame of which FFmpeg can make no picture.
        """
        width, height = self.scaled
        if most is not None and width * height > most:
            share = sqrt(most / (width * height))
            width, height = max(int(width * share), 1), max(int(height * share), 1)
        smaller = width < frame.width or height < frame.height
        way = "AREA" if smaller else "BILINEAR"
        try:
            # One thread: FFmpeg would start as many for each frame as there are processors.
            ready = frame.reformat(width, height, "rgb24", interpolation=way, threads=1)
        except MemoryError:
            raise
        except av.error.FFmpegError as error:
            what = f"a frame of {frame.format.name} cannot be made a picture: {error.strerror}"
            raise RowError("corrupt", what) from error
        shown = ready.to_ndarray()
        if self.swapped:
            shown = shown.transpose(1, 0, 2)
        horizontal, vertical = self.mirrored
        shown = shown[:: -1 if vertical else 1, :: -1 if horizontal else 1]
        return np.ascontiguousarray(shown)


def view(frame: Any, aspect: Fraction | None) -> View:
    """How `frame` is shown, by its display matrix and the pixel aspect ratio of its stream.

    Pixels that are not square are stretched, never thrown away.
    """
    width, height = frame.width, frame.height
    if aspect and _ASPECTS[0] <= aspect <= _ASPECTS[1]:
        width = max(round(width * aspect), width)
        height = max(round(height / aspect), height)
    swapped, mirrored = _turn(frame)
    shown = (height, width) if swapped else (width, height)
    return View(*shown, (width, height), swapped, mirrored)


def _turn(frame: Any) -> tuple[bool, tuple[bool, bool]]:
    """Whether the axes are swapped, and then which (horizontal, vertical) are mirrored.

    FFmpeg's matrix [a b u; c d v; x y w] sends (x, y) to (ax + cy, bx + dy).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, (False, False)
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, (c < 0, b < 0)
    return False, (a < 0, d < 0)
