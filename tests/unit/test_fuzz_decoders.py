"""Any bytes through the decoders: pieces, or an error of the medium; the process lives on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.pieces import Reading
from storage.errors import RowError
from tests.hostile.films import film
from tests.hostile.mutation import every, mutated, tried
from tests.hostile.papers import whole
from tests.hostile.pictures import FORMATS, sample
from tests.hostile.sounds import sound
from tests.media import as_media, tone
from tests.paper import pdf, stream
from workers.decode import Decoders

_ALL = Reading(frozenset({"image", "audio", "video", "document"}), max_pixels=4_000_000)
#: What a damaged file may be called. Its process may not end, nor take longer than this.
_KINDS = {"corrupt", "wrong_kind", "no_audio", "too_large", "empty", "forbidden", "invalid_row"}
_LIMIT_S = 20.0
#: Four bytes of a header can ask for much: that is refused and costs the row alone.
_MEMORY = 2 << 30


@pytest.fixture(scope="module")
def pool() -> Iterator[Decoders]:
    decoders = Decoders(1, timeout_s=_LIMIT_S, memory=_MEMORY)
    yield decoders
    decoders.close()


def hold(pool: Decoders, kind: str, tries: int, wholes: list[bytes]) -> None:
    """Damaged files of one kind, each of which must give pieces or a fitting error."""

    def check(data: bytes) -> None:
        try:
            for _ in pool.decode(as_media(data, kind), _ALL, 0):
                pass
        except RowError as error:
            assert error.kind in _KINDS, str(error)  # noqa: PT017

    every(tries, mutated(wholes), check)


@tried(60, 3000)
def test_images(pool: Decoders, tries: int) -> None:
    hold(pool, "image", tries, [sample(form) for form in FORMATS])


@tried(30, 2000)
def test_documents(pool: Decoders, tries: int, tmp_path: Path) -> None:
    odd = pdf("a", more=[stream(b"x" * 30, "/Filter /LZWDecode")], catalog="/AcroForm 4 0 R")
    hold(pool, "document", tries, [whole(tmp_path), pdf("a", password=""), odd])


@tried(40, 2000)
def test_sounds(pool: Decoders, tries: int, tmp_path: Path) -> None:
    forms = (("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus"),
             ("m4a", "aac"), ("aiff", "pcm_s16be"), ("wma", "wmav2"), ("caf", "alac"))  # fmt: skip
    samples: Any = tone(0.4, rate=48_000)
    hold(pool, "audio", tries, [sound(tmp_path, *form, samples) for form in forms])


@tried(40, 2000)
def test_films(pool: Decoders, tries: int, tmp_path: Path) -> None:
    forms = (
        ("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("ts", "mpeg2video"),
        ("flv", "flv"), ("webm", "libvpx"), ("mov", "mpeg4"), ("mpg", "mpeg2video"),
    )  # fmt: skip
    hold(pool, "video", tries, [film(tmp_path, *form, "yuv420p", 10) for form in forms])
