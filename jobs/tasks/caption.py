"""Describe images and videos in words."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import ask, media_cost, told
from jobs.tasks.base import Answer, Cost, Parsed, Prompt, Row, Task, TaskOptions

#: Google's own wording for an image; the others follow it.
IMAGE_PROMPT = "Write single detailed caption for this image."
IMAGES_PROMPT = "Write single detailed caption for these images."
VIDEO_PROMPT = "Write single detailed caption for this video."


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

    def cost(self, options: CaptionOptions) -> Cost:
        """Some 50 tokens of prompt and 70 of answer."""
        return media_cost(options, 120)

    def prompt(self, row: Row, piece: Piece, options: CaptionOptions) -> Prompt:
        """Ask in the checkpoint's own sampling."""
        if piece.clip is not None:
            text = VIDEO_PROMPT
        else:
            text = IMAGES_PROMPT if len(piece.images) > 1 else IMAGE_PROMPT
        return ask(text, row, piece, options, greedy=False)

    def parse(self, row: Row, answers: Sequence[Answer], options: CaptionOptions) -> Parsed:
        """One answer is the caption; several become a line each."""
        caption = told(answers, "caption", "prompt")
        return Parsed(text=caption, columns={"caption": caption})
