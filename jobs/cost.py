"""What rows will cost: tokens and seconds of one engine, estimated before any medium is opened."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.pieces import MAX_AUDIO_S, MOST_PAGES
from jobs.tasks.base import Cost
from storage.blocks import Block

#: Seconds a token takes Gemma 4 E2B (2.28 billion parameters beside tables) in one vLLM
#: engine on one H100, prompt, media and answer counted alike. Measured with vLLM 0.26 and
#: dummy weights: 24.3 images/s of 280 + 30 + 128 tokens, and sound at 415 times real time
#: in clips of 30 s (750 + 70 + 100 tokens) come to 10,600 and 12,700 tokens/s.
_GPU_SECONDS = 9e-5
_GPU_PARAMETERS = 2.28e9
#: The same for the tiny model on two CPU cores, measured with vLLM 0.32: 13.8 captions/s of
#: about 320 tokens. There the engine's own work is the limit, not the parameters.
_CPU_SECONDS = 2.3e-4
#: Floating-point operations a second of such a CPU; a token takes two a parameter.
_CPU_FLOPS = 1e11

#: Seconds taken for sound or video about which nothing is known, where the task has no default.
_UNKNOWN_S = 60.0
#: Bytes a second of video, at 2 Mbit/s, to guess a length from a size.
_VIDEO_RATE = 250_000.0
#: The same by extension: images have no length, audio is taken as 128 kbit/s compressed,
#: and as 16-bit sound of one channel at 22 kHz otherwise.
_KINDS = (
    (r"(?i)\.(jpe?g|png|gif|webp|avif|hei[cf]|tiff?|bmp|jp2|pdf)([?#]|$)", np.inf),
    (r"(?i)\.(mp4|m4v|mov|mkv|webm|avi|m?ts|mpe?g|flv|3gp|wmv)([?#]|$)", _VIDEO_RATE),
    (r"(?i)\.(mp3|ogg|oga|opus|aac|m4a|amr|ac3|wma)([?#]|$)", 16_000.0),
    (r"(?i)\.(wav|aiff?|flac)([?#]|$)", 44_100.0),
)
_DOCUMENT = r"(?i)\.pdf([?#]|$)"
#: Bytes of a page, to guess their number: text alone has fewer, a scan more.
_PAGE_BYTES = 100_000.0


def seconds_per_token(active: float | None, device: str = "cuda") -> float:
    """Seconds of one engine that a token takes.

    `active` is how many of a model's parameters a token is multiplied with: of experts
    those it is sent to, of tables none (2.28e9 for E2B); None takes E2B's. `device` is
    "cuda" (an H100) or "cpu" (two cores). Good to a factor of two or three, which shards need.
    """
    if device == "cpu":
        return max(_CPU_SECONDS, 2 * (active or _GPU_PARAMETERS) / _CPU_FLOPS)
    # A small model does not get faster than the engine's own work allows.
    return _GPU_SECONDS * max(0.5, (active or _GPU_PARAMETERS) / _GPU_PARAMETERS)


def tokens(block: Block, cost: Cost) -> npt.NDArray[np.float64]:
    """Tokens of each row of the block: prompts, media and answers of all its requests.

    Sound and video take requests of 30 s each; every medium of a row counts. A row's
    length is its `duration_s`, else guessed from `bytes` and the URI's extension, else
    the task's default; one with `width` and `height`, or of an image's extension, is
    an image. A document is as many images as its `bytes` have pages. Of a part, which a
    job may ask for, its seconds are counted.
    """
    media = block.media.astype(np.float64)
    images = _images(block, media)
    # A row of text alone is a request too.
    still = np.maximum(images, 1) * cost.request_tokens + images * cost.image_tokens
    if not cost.second_tokens:
        return still
    seconds = _part(_seconds(block, cost), cost)
    # The hints of a row are of the whole row, so its length is not multiplied by its media.
    requests = np.maximum(np.ceil(seconds / MAX_AUDIO_S), media)
    timed = requests * cost.request_tokens + seconds * cost.second_tokens
    return np.where(seconds > 0, timed, still)


def _images(block: Block, media: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Images of each row: a document's pages, guessed from its size, else one a medium."""
    size = block.hints.get("bytes")
    if size is None:
        return media
    pages = np.where(_is(block.uris, _DOCUMENT) & _positive(size), size / _PAGE_BYTES, 0.0)
    images: npt.NDArray[np.float64] = np.maximum(media, np.minimum(np.ceil(pages), MOST_PAGES))
    return images


def _seconds(block: Block, cost: Cost) -> npt.NDArray[np.float64]:
    """Length of each row's sound or video; 0 for images."""
    unknown = np.full(len(block.numbers), np.nan)
    known = block.hints.get("duration_s", unknown)
    seconds = np.where(_positive(known), known, np.nan)
    at = np.flatnonzero(np.isnan(seconds))
    if not len(at):
        return seconds
    uris = block.uris if len(at) == len(seconds) else block.uris.take(pa.array(at))
    size = block.hints.get("bytes", unknown)[at]
    # Every image is scaled to the task's budget: its size says only that it is one.
    shown = _positive(block.hints.get("width", unknown)[at])
    shown &= _positive(block.hints.get("height", unknown)[at])
    # What no extension tells is taken for what the task usually gets.
    image = shown | (cost.default_seconds == 0)
    rates = np.where(image, np.inf, _VIDEO_RATE)
    lengths = np.where(image, 0.0, cost.default_seconds)
    for pattern, rate in _KINDS:
        of_kind = _is(uris, pattern)
        rates[of_kind] = rate
        lengths[of_kind] = 0.0 if rate == np.inf else cost.default_seconds or _UNKNOWN_S
    seconds[at] = np.where(_positive(size), size / rates, lengths * block.media[at])
    return seconds


def _part(seconds: npt.NDArray[np.float64], cost: Cost) -> npt.NDArray[np.float64]:
    """What is asked about of sound or video so long: a second at least, but 0 of an image."""
    start_s, end_s = cost.part
    wanted = np.minimum(seconds, np.inf if end_s is None else end_s) - start_s
    return np.where(seconds > 0, np.maximum(wanted, np.minimum(seconds, 1.0)), 0.0)


def _is(uris: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    matched = pc.fill_null(pc.match_substring_regex(uris, pattern), False)
    result: npt.NDArray[np.bool_] = matched.to_numpy(zero_copy_only=False)
    return result


def _positive(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    result: npt.NDArray[np.bool_] = np.isfinite(values) & (values > 0)
    return result
