"""Describe images and videos in words."""

from __future__ import annotations

from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import media_cost
from jobs.tasks.base import Cost, Row
from jobs.tasks.telling import Telling, TellingOptions, telling

#: Google's own wording for an image; the others follow it.
IMAGE_PROMPT = "Write single detailed caption for this image."
IMAGES_PROMPT = "Write single detailed caption for these images."
VIDEO_PROMPT = "Write single detailed caption for this video."


class CaptionOptions(TellingOptions):
    """Options of `caption`."""

    max_tokens: int = Field(256, ge=1, le=32768, description="longest caption, in tokens")


class Caption(Telling):
    """One detailed caption for an image, several images together, or a video.

    Where the model hears, it is given a video's sound too. A video longer than one window
    is described window by window (`segments`), and once more from these captions.
    """

    name = "caption"
    summary = "a detailed caption of an image or a video"
    kinds = frozenset({"image", "video"})
    Options = CaptionOptions
    column = "caption"
    columns = telling("caption")

    def cost(self, options: CaptionOptions) -> Cost:
        """Some 50 tokens of prompt and 70 of answer."""
        return media_cost(options, 120)

    def question(self, row: Row, piece: Piece, options: CaptionOptions) -> str:
        """The wording for an image, for several, or for a video."""
        if piece.span.start_s is not None or piece.clip is not None:
            return VIDEO_PROMPT
        return IMAGE_PROMPT if len(piece.images) == 1 else IMAGES_PROMPT
