"""Whole files under names with every odd character that a file's name may have."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.case import OK, Case, expect
from tests.hostile.films import film
from tests.hostile.papers import whole
from tests.hostile.pictures import sample
from tests.hostile.sounds import sound
from tests.media import tone

#: Names without a suffix; all may be made on Linux.
NAMES = (
    "with space", " before and after ", "line\nbreak", "carriage\rreturn", "tab\tstop",
    "single'quote", 'double"quote', "back`tick", "back\\slash", "star*", "question?mark",
    "[brackets]", "{a,b}", "{000..003}", "per%cent", "%41%2f", "%00", "%03d", "hash#tag",
    "plus+sign", "equals=sign", "and&sign", "semi;colon", "pipe|line", "less<than>", "dollar$HOME",
    "$(touch x)", "exclaim!", "caret^", "tilde~", "~root", "-dash", "--help", "..dots", ".hidden",
    "comma,name", "at@sign", "colon:name", "http:name", "file:name", "data:,name", "s3:name",
    "cell:name", "tar:name", "concat:name", "C:name", "bell\x07", "escape\x1b[31m", "del\x7f",
    "caf\u00e9", "cafe\u0301", "\u65e5\u672c\u8a9e", "\u0645\u0644\u0641", "\U0001f600",
    "right\u202eleft", "zero\u200bwidth", "no\u00a0break", "line\u2028sep", "\ufeffbom",
    "\ufffd", "nul\u2400", "x" * 240, "\u00e9" * 120,
)  # fmt: skip


def cases() -> list[Case]:
    """Each name with a medium behind it; the kinds of media take turns."""
    makers = (
        ("png", lambda _: sample("PNG")),
        ("wav", lambda folder: sound(folder, "wav", "pcm_s16le", tone(0.3, rate=16_000), 16_000)),
        ("mp4", lambda folder: film(folder, "mp4", "libx264", "yuv420p", 5)),
        ("pdf", whole),
    )
    found = []
    for number, name in enumerate(NAMES):
        suffix, make = makers[number % len(makers)]
        found.append(Case("name", f"{name}.{suffix}", expect(OK), make))
    return found


def put_all(folder: Path) -> list[Path]:
    """All of them in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return [case.put(folder / case.name) for case in cases()]
