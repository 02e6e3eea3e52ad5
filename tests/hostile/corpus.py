"""The whole corpus: every hostile file, and a part of each kind for every run."""

from __future__ import annotations

from collections import defaultdict

from tests.hostile import bombs, colours, cuts, films, names, papers, pictures, playlists, sounds
from tests.hostile.case import Case, seeded

#: Kinds that the issue asks for; the others come on top.
KINDS = (
    "truncated", "misnamed", "zip_bomb", "pixel_bomb", "one_pixel", "thin", "no_frame",
    "one_frame", "no_length", "moment", "hours", "rates", "channels", "nan", "svg_as_image",
    "pdf_as_image", "broken_pdf", "locked_pdf", "animated", "cmyk", "deep", "exif", "playlist",
    "name",
)  # fmt: skip


def corpus(address: str, secret: str) -> list[Case]:
    """All cases; those that point elsewhere point at `address` and the file `secret`."""
    return [
        *cuts.cases(), *bombs.cases(), *pictures.cases(), *colours.cases(), *sounds.cases(),
        *films.cases(), *papers.cases(), *playlists.cases(address, secret), *names.cases(),
    ]  # fmt: skip


def sample_of(cases: list[Case], each: int) -> list[Case]:
    """`each` quick cases of every kind, chosen by a seed."""
    by_kind: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if not case.slow:
            by_kind[case.kind].append(case)
    return [
        case
        for kind, found in sorted(by_kind.items())
        for case in seeded(kind).sample(found, min(each, len(found)))
    ]
