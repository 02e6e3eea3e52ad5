"""What a job's records can be exported as: formats by name, each imported when asked for."""

from __future__ import annotations

from importlib import import_module

from jobs.exports.base import Format
from storage.errors import InvalidJob

_OWN = {
    "srt": "jobs.exports.subtitles:Srt",
    "vtt": "jobs.exports.subtitles:Vtt",
    "coco": "jobs.exports.coco:Coco",
    "jsonl": "jobs.exports.lines:Lines",
}

#: Names of the formats, as `--to` takes them.
FORMATS: tuple[str, ...] = tuple(_OWN)


def get_format(name: str) -> type[Format]:
    """The format of this name. Raises InvalidJob naming the known ones."""
    if name not in _OWN:
        raise InvalidJob(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
    module, _, attribute = _OWN[name].partition(":")
    found: type[Format] = getattr(import_module(module), attribute)
    return found
