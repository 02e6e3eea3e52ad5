"""Where the scenes of a video end, by PySceneDetect's content detector.

It looks at every frame, and its cuts must be known before the windows that they end:
so it reads a film of its own, somewhat ahead, and holds nothing but times. Only what
was asked for `windows=scenes` imports this room: PySceneDetect is an extra.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2
from av.video.reformatter import VideoReformatter
from scenedetect import ContentDetector, FrameTimecode

from workers.film import SAME_S, Film

#: Frames are looked at in so many pixels of width, PySceneDetect's own choice.
_WIDTH = 256

# Many decoders work side by side.
cv2.setNumThreads(1)


class Scenes:
    """The cuts of a film, found as far ahead as they are asked for.

    Raises RowError("corrupt") as the film does.
    """

    def __init__(self, film: Film) -> None:
        self._film = film
        # Which scenes are too short depends on where windows begin: not for the detector.
        self._detector = ContentDetector(min_scene_len=0)
        self._small = VideoReformatter()
        first = film.last[1]
        share = min(_WIDTH / first.width, 1.0)
        self._size = max(round(first.width * share), 1), max(round(first.height * share), 1)
        self._cuts: deque[float] = deque()

    def skip(self, to_s: float) -> None:
        """Go on at a later moment, without a look at what lies between if that is far."""
        self._film.skip(to_s)

    def between(self, from_s: float, until_s: float) -> float | None:
        """The first cut from one moment to another, if there is one; in seconds."""
        self._look(until_s)
        while self._cuts and self._cuts[0] < from_s - SAME_S:
            self._cuts.popleft()
        return self._cuts[0] if self._cuts and self._cuts[0] <= until_s else None

    def end_s(self, by_s: float) -> float | None:
        """Where the pictures end; None if that is after `by_s`."""
        self._look(by_s)
        return self._film.end_s if self._film.ended else None

    def _look(self, until_s: float) -> None:
        while (found := self._film.step(until_s)) is not None:
            at_s, frame = found
            moment = FrameTimecode(max(at_s, 0.0), self._film.fps)
            if self._detector.process_frame(moment, self._picture(frame)):
                self._cuts.append(at_s)

    def _picture(self, frame: Any) -> Any:
        """The frame as the detector wants it: small, uint8 [height, width, 3] BGR."""
        width, height = self._size  # of the first: a stream may change its own on the way
        return self._small.reformat(frame, width, height, "bgr24").to_ndarray()
