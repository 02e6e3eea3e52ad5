"""Describe images and videos in words."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jobs.pieces import Piece
from jobs.tasks.asking import media_cost, one_line
from jobs.tasks.base import Cost, Row
from jobs.tasks.languages import MaybeLanguage, language_name
from jobs.tasks.telling import Telling, TellingOptions, telling

#: Google's own wording for an image; the others follow it.
IMAGE_PROMPT = "Write single detailed caption for this image."
IMAGES_PROMPT = "Write single detailed caption for these images."
VIDEO_PROMPT = "Write single detailed caption for this video."
#: What stands for "detailed" by a caption's length, and what is said of it.
LENGTHS = {
    "short": ("short", "Use one sentence of at most 15 words."),
    "medium": ("detailed", "Use two or three sentences."),
    "long": ("very detailed", "Use a paragraph of six to eight sentences."),
}


class CaptionOptions(TellingOptions):
    """Options of `caption`."""

    max_tokens: int = Field(256, ge=1, le=32768, description="longest caption, in tokens")
    length: Literal["short", "medium", "long"] | None = Field(
        None, description="short (a sentence), medium (two or three), long (six to eight)"
    )
    style: str | None = Field(None, description="in your words: for children, a museum label")
    language: MaybeLanguage = Field(None, description="of the caption: a name or BCP-47 code")


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
        """The wording for an image, for several, or for a video, and what is wished of it."""
        film = piece.span.start_s is not None or piece.clip is not None
        said = [VIDEO_PROMPT if film else IMAGES_PROMPT if len(piece.images) != 1 else IMAGE_PROMPT]
        if options.length is not None:
            kind, sentences = LENGTHS[options.length]
            said = [said[0].replace("detailed", kind), sentences]
        if options.style is not None and options.style.strip():
            said.append(f"Style: {one_line(options.style).rstrip('.')}.")
        if options.language is not None:
            said.append(f"Write it in {language_name(options.language)}.")
        return " ".join(said)
