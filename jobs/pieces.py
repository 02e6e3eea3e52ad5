"""The parts of a row's media that requests are made from.

A row points at media; decoding turns each medium into one or more pieces (an
image, a window of speech, a window of video); each piece becomes one request.
A piece is a `Span`, which says what part of which medium it is and outlives the
process in checkpoints, and the decoded content.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Samples a second of every decoded sound: what Gemma 4's audio tower was trained on.
SAMPLE_RATE = 16_000
#: Seconds of sound that one request can hold; the model's processor cuts the rest.
MAX_AUDIO_S = 30.0
#: Images of one request: more than a row will have. An engine may be told another number.
MOST_IMAGES = 32
#: Sounds of one request: ten minutes of it.
MOST_SOUNDS = 20
#: Pages of a document that are asked about unless told otherwise.
MOST_PAGES = 2000
#: Frames of video that one request can hold (transformers' and vLLM's limit).
MAX_FRAMES = 32
#: Pixels of a soft token: patches of 16 by 16, pooled 3 by 3.
TOKEN_PIXELS = 48 * 48
#: Soft tokens of one frame of video, fixed in vLLM and transformers.
FRAME_TOKENS = 70
#: Pixels that are decoded for each that the model is given: two along each side, from which its
#: processor scales down as if there were more.
OVERSAMPLING = 4

#: `Span.media_index` of what is asked over a row's own answers, and of no medium.
WHOLE = -1


@dataclass(frozen=True, slots=True)
class Span:
    """Where a piece lies in its medium.

    `start` and `end` count samples at 16 kHz for sound, frames of the source for
    video, pages from 1 for a document (n and n + 1), and are 0 and 1 for an image;
    `start_s` and `end_s` are seconds from the medium's start, None for an image or a
    page. `width` and `height` are pixels of the original after orientation, of a page
    as it was rendered (0 for sound): boxes are given in them.
    """

    media_index: int
    start: int
    end: int
    start_s: float | None = None
    end_s: float | None = None
    width: int = 0
    height: int = 0

    @property
    def page(self) -> int | None:
        """Number of the page from 1; None of what is no page of a document."""
        # Images begin at 0, and windows of sound and video have a time.
        of_page = self.start > 0 and self.start_s is None and self.media_index != WHOLE
        return self.start if of_page else None


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of a video: `frames` is uint8 [n, height, width, 3] RGB.

    `indices` are the frames' numbers in the source, `fps` the source's frames a
    second and `total_frames` its length, so that index / fps is a frame's time.
    """

    frames: npt.NDArray[np.uint8]
    indices: tuple[int, ...]
    fps: float
    total_frames: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Decoded content of one request, in the order in which the model is given it.

    `images` are uint8 [height, width, 3] RGB; `clip` is a window of video; each of
    `sounds` is float32 [samples] mono at 16 kHz in [-1, 1], at most 30 s.
    """

    span: Span
    images: tuple[npt.NDArray[np.uint8], ...] = ()
    clip: Clip | None = None
    sounds: tuple[npt.NDArray[np.float32], ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the content holds."""
        frames = 0 if self.clip is None else self.clip.frames.nbytes
        images = sum(image.nbytes for image in self.images)
        return images + frames + sum(sound.nbytes for sound in self.sounds)


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What decoding learned about a medium, and what the record says of it.

    `kind` is what the streams show (an .mp4 with sound alone is "audio");
    `warnings` name what could not be kept (`truncated`, `first_frame_of:48`),
    or given to the model (`audio_not_heard`). `pages` is how many a document has.
    """

    kind: Literal["image", "audio", "video", "document"]
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    warnings: tuple[str, ...] = ()
    pages: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How a task wants media to be decoded; plain values, since it goes to another process.

    `kinds`: media kinds that the task takes; others are `wrong_kind`.
    `video`: "clip" gives windows of frames (with sound if `sound`), "frames" gives
    each sampled frame as an image piece with its time, "sound" gives only the sound
    track, as speech windows.
    `fps`: frames sampled a second of video. `window_s`: longest window, at most 30 s.
    `start_s`, `end_s`: the part of sound or video that is wanted, in seconds from its
    start; None: to its end. Images and documents are whole.
    `over_s`: a window of speech that is cut amid speech is heard so much longer.
    `windows`: a clip's windows are equal in time, or end with scenes.
    `max_pixels`, `max_duration_s`: media over these are `too_large`.
    `pages`: those wanted of a document, as in "1-3,7" (`jobs.pages`); None: all.
    `max_pages`: with more of them wanted it is `too_large`.
    `page_pixels`: about how many a rendered page has; fewer if that were over 300 dpi.
    `image_pixels`: an image needs no more than so many: a JPEG that has four times as many
    is decoded at half its size, or less, which is much quicker; None: at its own.
    """

    kinds: frozenset[str]
    video: Literal["clip", "frames", "sound"] = "clip"
    sound: bool = True
    fps: float = 1.0
    window_s: float = MAX_AUDIO_S
    start_s: float = 0.0
    end_s: float | None = None
    over_s: float = 0.0
    windows: Literal["time", "scenes"] = "time"
    max_pixels: int = 200_000_000
    max_duration_s: float = 6 * 3600.0
    pages: str | None = None
    max_pages: int = MOST_PAGES
    page_pixels: int = 5_000_000
    image_pixels: int | None = None
    keep: tuple[Span, ...] = field(default=())
    """Spans that an earlier attempt finished: not decoded again, and cuts lie between them."""
