"""Names of files with every odd character: listed, fetched, and opened by the decoders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.pieces import MediaInfo, Reading
from storage.blocks import Faults
from storage.manifest import open_manifest
from storage.media import MediaSource
from tests.hostile import names
from tests.hostile.pictures import sample
from workers.decode import Decoders

#: Characters of Latin, Greek and Cyrillic, of marks and of directions; NUL and `/` no name has.
_CHARACTERS = [chr(n) for n in (*range(1, 0x530), *range(0x2000, 0x2070)) if chr(n) != "/"]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[MediaSource]:
    with contextlib.closing(MediaSource(local_roots=[tmp_path / "media"])) as made:
        yield made


def listed(folder: Path) -> tuple[list[str], str | None]:
    """The URIs that a folder gives as a manifest, and their base."""
    scratch = folder.with_name("scratch")
    scratch.mkdir()
    with open_manifest(str(folder), scratch) as manifest:
        faults = Faults(manifest.uri)
        uris = [u for block in manifest.source.blocks(faults) for u in block.uris.to_pylist()]
        return uris, manifest.base


def test_every_name_is_found_in_a_folder(tmp_path: Path, source: MediaSource) -> None:
    """What a listing gives is what fetching takes, whatever characters it has."""
    put = names.put_all(tmp_path / "media")
    uris, base = listed(tmp_path / "media")
    fetched = {source.fetch(uri, max_bytes=1 << 30, base=base).sha256 for uri in uris}
    assert len(uris) == len(put)
    assert len(fetched) >= 3


def test_every_character_comes_back_as_it_is(tmp_path: Path, source: MediaSource) -> None:
    """Each name leads to its own file and to no other."""
    folder = tmp_path / "media"
    folder.mkdir()
    picture = sample("PNG")
    for number, character in enumerate(_CHARACTERS):
        (folder / f"a{character}.png").write_bytes(picture + b"%d" % number)
    uris, base = listed(folder)
    found = {}
    for uri in uris:
        media = source.fetch(uri, max_bytes=1 << 20, base=base)
        assert isinstance(media.source, bytes)
        found[uri] = int(media.source.removeprefix(picture))
    assert found == {f"{folder}/a{c}.png": n for n, c in enumerate(_CHARACTERS)}


def test_decoders_open_files_of_every_name(tmp_path: Path, source: MediaSource) -> None:
    """FFmpeg, PDFium and Pillow take names for patterns, protocols and options, if they are let:
    of a small file they see none, since it is handed over as bytes."""
    reading = Reading(frozenset({"image", "audio", "video", "document"}))
    with contextlib.closing(Decoders(1)) as pool:
        for path in names.put_all(tmp_path / "media"):
            media = replace(source.fetch(str(path), max_bytes=1 << 30), source=path)
            told = [item for item in pool.decode(media, reading, 0) if isinstance(item, MediaInfo)]
            assert [info.kind for info in told] == [media.kind] * 2, path
