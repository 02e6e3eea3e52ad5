"""Subtitles: a file for each medium in which something is said, as SubRip or WebVTT."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import pyarrow as pa

from jobs.exports.base import File, Format, Tally
from jobs.exports.cues import Cue, make_cues

#: The column that is shown, and what its items must have.
SEGMENTS = ("segments", frozenset({"start_s", "end_s", "text"}))

#: File systems take names of up to 255 bytes.
_LONGEST_NAME = 200
_HASH_DIGITS = 32


class Subtitles(Format):
    """What both formats do: name files, and count what has none."""

    folder = True
    needs = SEGMENTS

    def files(
        self, tables: Iterator[pa.Table], kinds: Mapping[str, str], tally: Tally
    ) -> Iterator[File]:
        """A file for each record with words."""
        for table in tables:
            for record in table.select(["row_id", "status", "segments", "media"]).to_pylist():
                tally.records += 1
                cues, why = cues_of(record)
                if not cues:
                    tally.left_out[why] += 1
                    continue
                tally.written += 1
                data = self.render(cues).encode()
                yield File([data], name=file_name(record["row_id"], self.name))

    @staticmethod
    @abstractmethod
    def render(cues: Sequence[Cue]) -> str:
        """The file's text."""


class Srt(Subtitles):
    """SubRip. It has no way to escape anything: an arrow in the text would begin a cue."""

    name: ClassVar[str] = "srt"

    @staticmethod
    def render(cues: Sequence[Cue]) -> str:
        """Numbered cues, apart by a blank line; no line within a cue is blank."""
        blocks = []
        for number, cue in enumerate(cues, 1):
            times = f"{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}"
            text = "\n".join(cue.lines).replace("-->", "→")
            blocks.append(f"{number}\n{times}\n{text}\n")
        return "\n".join(blocks)


class Vtt(Subtitles):
    """WebVTT, whose text has entities as HTML has."""

    name: ClassVar[str] = "vtt"

    @staticmethod
    def render(cues: Sequence[Cue]) -> str:
        """Cues without names or settings."""
        blocks = ["WEBVTT\n"]
        for cue in cues:
            times = f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}"
            text = "\n".join(cue.lines)
            for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
                text = text.replace(character, entity)
            blocks.append(f"{times}\n{text}\n")
        return "\n".join(blocks)


def cues_of(record: Mapping[str, Any]) -> tuple[list[Cue] | None, str]:
    """A record's cues, or why there are none: a reason as exports count them.

    Speech that was translated is shown so, as in the record's `text`.
    """
    if record["status"] != "ok":
        return None, str(record["status"])
    if not record["segments"]:
        return None, "no_speech"
    if len(record["media"] or ()) > 1:
        # Segments do not say whose they are, and each medium's times begin at 0.
        return None, "several_media"
    cues = make_cues([{**s, "text": s.get("translation") or s["text"]} for s in record["segments"]])
    return cues, "no_times" if cues is None else "no_speech"


def file_name(row_id: str, extension: str) -> str:
    """A file's name of an id of any characters and length: safe, and another for every id.

    What is neither a letter or digit of ASCII nor one of `_.-~` is percent-escaped, and so
    is a dot in front, which would hide the file. A long name is cut, and has `@` (which no
    escaped name has) and a hash of the whole id behind.
    """
    name = quote(row_id, safe="") or "%"
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(row_id.encode()).hexdigest()[:_HASH_DIGITS]
        name = f"{name[: _LONGEST_NAME - _HASH_DIGITS - 1]}@{digest}"
    return f"{name}.{extension}"


def _time(milliseconds: int, point: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{thousandths:03}"
