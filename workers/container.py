"""Sound and video files opened by FFmpeg (through PyAV), and what is wrong with them.

One place for what all streams share: which formats are read, the medium's own clock,
and the account of what could not be decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal

import av
import av.logging
from av.stream import Discard

from jobs.pieces import Reading
from storage.errors import RowError

av.logging.set_level(av.logging.PANIC)

#: Demuxers that may be used. Left out are all that open further files or addresses
#: that the medium names (playlists, concat, SDP, DASH), and all of still images.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dts,dv,eac3,flac,flv,gxf,h261,"
    "h263,h264,hevc,ivf,m4v,matroska,webm,mjpeg,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,"
    "mpegts,mpegvideo,mxf,nut,obu,ogg,oma,rm,sox,tta,voc,vvc,w64,wav,wtv,wv,xa,yuv4mpegpipe"
)
#: Formats whose length is only guessed, from the bit rate.
_GUESSED = frozenset({"aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "mpeg", "mpegts"})
#: Share of a medium that may be missing before it counts as corrupt.
TOLERATED = 0.01
#: Seconds that may be missing of even the shortest medium: containers round their
#: lengths, and an encoder's last frame is often cut.
_SLACK_S = 0.25
#: The same for a whole file: its length may include a subtitle's or a frame's duration.
_FILE_SLACK_S = 2.0
_UNOPENED = "the file cannot be opened as sound or video"
#: Seconds that a packet is taken for which does not say how long it lasts.
_PACKET_S = 0.02


@dataclass
class Account:
    """What was announced of a medium and what came. Times in seconds on its own clock.

    `begin_s` and `end_s` are of the part that is wanted; nothing else is missed.
    """

    announced_s: float | None = None
    begin_s: float = 0.0
    end_s: float = inf
    reached_s: float = 0.0
    lost_s: float = 0.0
    #: The same of the file as a whole, where the stream itself announces nothing.
    file_s: float | None = None
    seen_s: float = 0.0
    notes: list[str] = field(default_factory=list)

    def lose(self, seconds: float, error: Exception | None = None) -> None:
        """Count what could not be decoded. Raises RowError("corrupt") once it is too much."""
        self.lost_s += seconds
        if self.announced_s is None:
            return
        whole = min(self.announced_s, self.end_s)
        if self.lost_s > self._tolerated(whole, _SLACK_S):
            raise self._corrupt(whole) from error

    def settle(self) -> list[str]:
        """At the end: compare with what was announced; gives the warnings.

        Raises RowError("corrupt") if more than 1% is missing or damaged.
        """
        whole = min(self.announced_s or self.reached_s + self.lost_s, self.end_s)
        missing = max(whole - self.reached_s, self.lost_s)
        if missing > self._tolerated(whole, _SLACK_S):
            raise self._corrupt(whole)
        if self.file_s is not None:
            file_s = min(self.file_s, self.end_s)
            if file_s - self.seen_s > self._tolerated(file_s, _FILE_SLACK_S):
                raise self._corrupt(file_s)
        if self.lost_s > 0 or missing > _SLACK_S:
            self.note("truncated")
        return self.notes

    def _tolerated(self, whole: float, slack_s: float) -> float:
        return max(TOLERATED * (whole - self.begin_s), slack_s)

    def _corrupt(self, whole: float) -> RowError:
        return RowError(
            "corrupt",
            f"truncated or damaged: of {whole:.2f} s, decoding reached {self.reached_s:.2f} s and "
            f"lost {self.lost_s:.2f} s on the way",
        )

    def note(self, warning: str) -> None:
        """Add a warning for the record, once."""
        if warning not in self.notes:
            self.notes.append(warning)


def account_of(container: Any, stream: Any, reading: Reading) -> Account:
    """An account of the part of `stream` that is wanted, with nothing in it yet."""
    end_s = inf if reading.end_s is None else reading.end_s
    return Account(announced_s(container, stream), reading.start_s, end_s)


def check_part(length: float | None, reading: Reading, what: str) -> None:
    """Raise RowError if a medium so long lacks the part that is wanted, or has too much of it.

    `invalid_row` where it ends before `start_s`, else `too_large`. `what` it is ("sound")
    stands in the message.
    """
    if length is None:
        return
    if 0 < reading.start_s >= length:
        raise beyond(length, reading, what)
    wanted_s = min(length, reading.end_s or inf) - reading.start_s
    if wanted_s > reading.max_duration_s:
        limit = f"the limit is {reading.max_duration_s:.0f} s; set start_s and end_s"
        raise RowError("too_large", f"{wanted_s:.0f} s of {what}; {limit}")


def beyond(length: float, reading: Reading, what: str) -> RowError:
    """What to raise where `start_s` lies beyond the end of the medium."""
    there = f"the {what} ends at {length:.2f} s"
    return RowError("invalid_row", f"start_s is {reading.start_s:g}, but {there}")


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """The container at `path`. Raises RowError("corrupt") if FFmpeg cannot open it."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(path, options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise RowError("corrupt", f"{_UNOPENED}: {_said(error)}") from error
    with container:
        for stream in container.streams:
            if stream.type in ("audio", "video") and stream.codec_context is not None:
                # Many decoders work side by side, and threads count as address space.
                stream.codec_context.thread_count = 1
        yield container


def _said(error: av.error.FFmpegError) -> str:
    """FFmpeg's own last words, without its list of all that would be allowed."""
    said = str(error.log[2] if error.log else error.strerror).strip()
    if said.startswith("Format not on whitelist"):
        return "a playlist, or of another format that is not read; give the medium itself"
    return said


def origin_s(container: Any) -> float:
    """Where the medium's clock starts: all times are counted from here, as players do."""
    return float((container.start_time or 0) / av.time_base)


def seek(container: Any, to_s: float) -> bool:
    """Go to the key frame before `to_s` on the medium's clock; gives whether the container can."""
    try:
        container.seek(round((to_s + origin_s(container)) * av.time_base))
    except av.error.FFmpegError:
        return False
    return True


def announced_s(container: Any, stream: Any) -> float | None:
    """The end of `stream` in seconds of the medium, if its file says so; else None.

    A guess from the bit rate is not an announcement. The container's length is one only
    if there is no longer stream that it could be about.
    """
    name = container.format.name
    if name in _GUESSED or (name == "mp3" and not _mp3_says(container.name)):
        return None
    if stream.duration is not None:
        begin = stream.start_time or 0
        end_s = float((begin + stream.duration) * stream.time_base) - origin_s(container)
    elif container.duration is not None and len(container.streams) == 1:
        end_s = container.duration / av.time_base
    else:
        return None
    return end_s / _present(container.name)


def length_s(container: Any, stream: Any) -> float | None:
    """How long the medium is, in seconds, as far as its file says so; see `announced_s`."""
    announced = announced_s(container, stream)
    if announced is None and container.duration and container.format.name not in _GUESSED:
        return None if container.format.name == "mp3" else float(container.duration / av.time_base)
    return announced


def _present(path: str) -> float:
    """The share of a RIFF or IFF file (WAV, AVI, AIFF) that is there, by its own header.

    FFmpeg takes the size of a truncated one for its length.
    """
    file = Path(path)
    with file.open("rb") as opened_file:
        head = opened_file.read(8)
    order: Literal["little", "big"] = "little" if head[:4] == b"RIFF" else "big"
    length = int.from_bytes(head[4:], order) + 8
    # What was written to a pipe carries no length, or the largest there is.
    if head[:4] not in (b"RIFF", b"FORM") or not 8 < length < 0x7FFF_0000:
        return 1.0
    return min(file.stat().st_size / length, 1.0)


def _mp3_says(path: str) -> bool:
    """Whether an MP3 file has a header that tells its number of frames."""
    with Path(path).open("rb") as file:
        start = file.read(10)
        if start[:3] == b"ID3":  # the tag's length is four times seven bits
            size = 0
            for byte in start[6:10]:
                size = size << 7 | byte
            file.seek(10 + size)
        head = file.read(4096)
    return any(tag in head for tag in (b"Xing", b"Info", b"VBRI"))


def frames(container: Any, stream: Any, account: Account) -> Iterator[Any]:
    """The stream's decoded frames. What cannot be decoded goes to the account.

    A container that breaks ends the frames, and `Account.settle` tells what that means.
    """
    for packet in _packets(container, stream, account):
        try:
            decoded = packet.decode()
        except av.error.FFmpegError as error:
            # "Cannot allocate memory" too: decoders say so of headers that make no sense.
            lost_s = float((packet.duration or 0) * (packet.time_base or 0))
            account.lose(lost_s or _PACKET_S, error)
            continue
        yield from decoded


def _packets(container: Any, stream: Any, account: Account) -> Iterator[Any]:
    # Where only the file as a whole has a length, any stream may be the one that fills it.
    witnesses = len(container.streams) > 1 and announced_s(container, stream) is None
    whole_s = length_s(container, stream) if witnesses else None
    if whole_s is not None:
        account.file_s = whole_s / _present(container.name)
    for other in container.streams:
        if other.index != stream.index and account.file_s is None:
            other.discard = Discard.all
    streams = [stream] if account.file_s is None else list(container.streams)
    try:
        for packet in container.demux(streams):
            if packet.pts is not None and account.file_s is not None:
                end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                account.seen_s = max(account.seen_s, end_s - origin_s(container))
            if packet.stream_index == stream.index:
                yield packet
    except av.error.FFmpegError:
        account.note("truncated")
