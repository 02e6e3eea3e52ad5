"""Describe images and videos in words."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece, Reading
from jobs.tasks.asking import ask, clock, one_line
from jobs.tasks.base import Answer, Cost, Parsed, Prompt, Row, Task, TaskOptions
from storage.errors import RowError

#: Google's own wording for an image; the others follow it.
IMAGE_PROMPT = "Write single detailed caption for this image."
IMAGES_PROMPT = "Write single detailed caption for these images."
VIDEO_PROMPT = "Write single detailed caption for this video."

#: Soft tokens of one video frame, fixed by the model's processor, with its timestamp.
FRAME_TOKENS = 78
#: Soft tokens of a second of sound.
SOUND_TOKENS = 25


class CaptionOptions(TaskOptions):
    """Options of `caption`."""

    max_tokens: int = Field(256, ge=1, le=32768, description="longest caption, in tokens")


class Caption(Task):
    """One detailed caption for an image, several images together, or a video.

    A video longer than one window is told window by window, a line each:
    `[mm:ss-mm:ss] what is seen`. Where the model hears, it is given the sound too.
    """

    name = "caption"
    summary = "a detailed caption of an image or a video"
    kinds = frozenset({"image", "video"})
    together = True
    Options = CaptionOptions
    columns = (pa.field("caption", pa.string()),)

    def reading(self, options: CaptionOptions, abilities: frozenset[str]) -> Reading:
        """Windows of frames at `fps`, with sound if the model hears."""
        return Reading(kinds=self.kinds, video="clip", sound="audio" in abilities, fps=options.fps)

    def cost(self, options: CaptionOptions) -> Cost:
        """Sound is counted whether or not the model hears: a third at most, and safe."""
        return Cost(
            request_tokens=120,
            image_tokens=options.image_tokens,
            second_tokens=FRAME_TOKENS * options.fps + SOUND_TOKENS,
        )

    def prompt(self, row: Row, piece: Piece, options: CaptionOptions) -> Prompt:
        """Ask in the checkpoint's own sampling."""
        if piece.clip is not None:
            text = VIDEO_PROMPT
        else:
            text = IMAGES_PROMPT if len(piece.images) > 1 else IMAGE_PROMPT
        return ask(text, row, piece.span, options, greedy=False)

    def parse(self, row: Row, answers: Sequence[Answer], options: CaptionOptions) -> Parsed:
        """One answer is the caption; several become a line each."""
        if not any(answer.text.strip() for answer in answers):
            raise RowError(
                "unparsable", "the model gave no caption; raise max_tokens or change the prompt"
            )
        if len(answers) == 1:
            caption = answers[0].text.strip()
        else:
            several = len({answer.span.media_index for answer in answers}) > 1
            caption = "\n".join(_line(answer, several) for answer in answers)
        return Parsed(text=caption, columns={"caption": caption})


def _line(answer: Answer, several: bool) -> str:
    """`[mm:ss-mm:ss] text`, with the medium's number before the times if there are several."""
    span = answer.span
    parts = [f"#{span.media_index + 1}"] if several else []
    if span.start_s is not None and span.end_s is not None:
        parts.append(f"{clock(span.start_s)}-{clock(span.end_s)}")
    where = f"[{' '.join(parts)}] " if parts else ""
    return where + one_line(answer.text)
