"""Sound and video files to pieces: which streams they have, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from av.stream import Disposition

from jobs.pieces import MAX_AUDIO_S, SAMPLE_RATE, MediaInfo, Piece, Reading, Span
from storage.errors import RowError
from workers.container import account_of, check_part, length_s, opened
from workers.sound import sound
from workers.speech import windows
from workers.video import video_pieces


def decode_streams(path: str, reading: Reading, media_index: int) -> Iterator[MediaInfo | Piece]:
    """A sound or video file's MediaInfo, its pieces in order, and its final MediaInfo.

    What the file is follows from its streams, not from its name: an .mp4 with sound
    alone, or with a still picture for a cover, is audio. Raises RowError: `corrupt`,
    `wrong_kind`, `no_audio`, `too_large`.
    """
    with opened(path) as container:
        heard = next((s for s in container.streams if _is_sound(s)), None)
        seen = next((s for s in container.streams if _is_video(s, heard is not None)), None)
        if seen is None and heard is None:
            raise RowError("corrupt", "the file has neither sound nor video that can be decoded")
        kind = _kind(seen)
        if kind not in reading.kinds:
            takes = " and ".join(sorted(reading.kinds))
            raise RowError("wrong_kind", f"the file is {kind}; the task takes {takes}")
        if seen is not None and reading.video != "sound":
            yield from video_pieces(container, seen, heard, reading, media_index)
            return
        if heard is None:
            raise RowError("no_audio", "the video has no sound track")
        yield from _speech(container, heard, seen, reading, media_index)


def _kind(seen: Any) -> Literal["audio", "video"]:
    return "audio" if seen is None else "video"


def _is_sound(stream: Any) -> bool:
    return bool(stream.type == "audio" and stream.codec_context is not None)


def _is_video(stream: Any, with_sound: bool) -> bool:
    if stream.type != "video" or stream.codec_context is None:
        return False
    if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
        return False
    return not (with_sound and stream.frames == 1)


def _speech(
    container: Any, heard: Any, seen: Any, reading: Reading, media_index: int
) -> Iterator[MediaInfo | Piece]:
    account = account_of(container, heard, reading)
    length = length_s(container, heard)
    check_part(length, reading, "sound")
    width, height = (seen.width, seen.height) if seen is not None else (None, None)
    info = MediaInfo(_kind(seen), width, height, length)
    yield info
    keep = [span for span in reading.keep if span.media_index == media_index]
    blocks = sound(container, heard, account, reading.max_duration_s)
    limit_samples = int(min(reading.window_s, MAX_AUDIO_S) * SAMPLE_RATE)
    first = round(reading.start_s * SAMPLE_RATE)
    silent = not keep
    over = round(reading.over_s * SAMPLE_RATE)
    for start, end, samples in windows(blocks, limit_samples, keep, first=first, over=over):
        silent = False
        span = Span(media_index, start, end, start / SAMPLE_RATE, end / SAMPLE_RATE)
        yield Piece(span, sounds=(samples,))
    account.settle()
    if account.reached_s == 0:
        if seen is not None:
            raise RowError("no_audio", "the video's sound track is empty")
        raise RowError("corrupt", "no sound could be decoded")
    check_part(account.reached_s, reading, "sound")
    if silent:
        account.note("no_speech")
    if account.reached_s < account.end_s:  # read to its end, which is its length
        length = account.reached_s if seen is None else max(length or 0, account.reached_s)
    length = None if length is None else round(length, 6)
    yield replace(info, duration_s=length, warnings=tuple(account.notes))
