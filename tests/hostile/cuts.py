"""Files that end too early, at every layer, and files under the name of another kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.hostile.case import OK, Case, Make, expect
from tests.hostile.films import film
from tests.hostile.papers import whole as paper
from tests.hostile.pictures import sample
from tests.hostile.sounds import sound
from tests.media import tone

#: A place in a file, by its bytes.
Place = Callable[[bytes], int]


def _picture(form: str) -> Make:
    return lambda _: sample(form)


def _sound(suffix: str, codec: str) -> Make:
    return lambda folder: sound(folder, suffix, codec, tone(4.0, rate=48_000))


def _film(suffix: str, codec: str) -> Make:
    def make(folder: Path) -> bytes:
        return film(folder, suffix, codec, "yuv420p", 100, sound=tone(4.0))

    return make


def _after(mark: bytes, more: int) -> Place:
    return lambda data: data.index(mark) + more


def _share(share: float) -> Place:
    return lambda data: int(len(data) * share)


def _cut(name: str, make: Make, at: Place, *outcomes: str) -> Case:
    def shortened(folder: Path) -> bytes:
        data = make(folder)
        place = at(data)
        assert 0 < place < len(data), (name, place, len(data))
        return data[:place]

    return Case("truncated", name, expect(*(outcomes or ("corrupt",))), shortened)


def truncated() -> list[Case]:
    """The first byte, the magic, the header, tables, a frame's data, the last byte."""
    unknown = ("wrong_kind",)
    png, jpeg, gif = _picture("PNG"), _picture("JPEG"), _picture("GIF")
    webp, tiff, bmp = _picture("WEBP"), _picture("TIFF"), _picture("BMP")
    heif, avif, jp2 = _picture("HEIF"), _picture("AVIF"), _picture("JPEG2000")
    mp4, mkv, avi = _film("mp4", "libx264"), _film("mkv", "libx264"), _film("avi", "mpeg4")
    ts = _film("ts", "mpeg2video")
    wav, flac, mp3 = _sound("wav", "pcm_s16le"), _sound("flac", "flac"), _sound("mp3", "libmp3lame")
    ogg, m4a, mka = _sound("ogg", "libopus"), _sound("m4a", "aac"), _sound("mka", "ac3")
    return [
        _cut("byte.png", png, lambda _: 1, *unknown),
        _cut("magic.png", png, lambda _: 8),
        _cut("header.png", png, lambda _: 20),
        _cut("before-data.png", png, _after(b"IDAT", -4)),
        _cut("data.png", png, _after(b"IDAT", 20)),
        _cut("no-end.png", png, _after(b"IEND", -4), OK),
        _cut("magic.jpg", jpeg, lambda _: 3),
        _cut("tables.jpg", jpeg, _after(b"\xff\xdb", 20)),
        _cut("size.jpg", jpeg, _after(b"\xff\xc0", 6)),
        _cut("scan.jpg", jpeg, _after(b"\xff\xda", 14)),
        _cut("header.gif", gif, lambda _: 10),
        _cut("colours.gif", gif, lambda _: 14),
        _cut("data.gif", gif, _share(0.97)),
        _cut("header.webp", webp, lambda _: 16),
        _cut("data.webp", webp, _share(0.6)),
        _cut("magic.tif", tiff, lambda _: 4),
        _cut("data.tif", tiff, _share(0.5)),
        _cut("header.bmp", bmp, lambda _: 20),
        _cut("data.bmp", bmp, _share(0.5)),
        _cut("boxes.heic", heif, _share(0.3)),
        _cut("data.heic", heif, _share(0.8)),
        _cut("data.avif", avif, _share(0.8)),
        _cut("header.jp2", jp2, lambda _: 30),
        _cut("data.jp2", jp2, _share(0.6), OK, "corrupt"),
        _cut("ftyp.mp4", mp4, lambda _: 24),
        _cut("mdat.mp4", mp4, _after(b"mdat", 400)),
        _cut("moov.mp4", mp4, _after(b"moov", 60)),
        _cut("trak.mp4", mp4, _after(b"stsz", 20)),
        _cut("head.mkv", mkv, lambda _: 30),
        _cut("tracks.mkv", mkv, _after(b"\x16\x54\xae\x6b", 20)),
        _cut("cluster.mkv", mkv, _share(0.5)),
        _cut("hdrl.avi", avi, _after(b"hdrl", 30)),
        _cut("movi.avi", avi, _share(0.5)),
        # Nobody says how long a transport stream was to be.
        _cut("packet.ts", ts, _share(0.5), OK),
        _cut("first.ts", ts, lambda _: 188 * 3 + 90, "corrupt", "wrong_kind"),
        _cut("header.wav", wav, lambda _: 30),
        _cut("data.wav", wav, _share(0.5)),
        _cut("magic.flac", flac, lambda _: 4),
        _cut("info.flac", flac, lambda _: 30),
        _cut("frame.flac", flac, _share(0.5)),
        _cut("tag.mp3", mp3, lambda _: 9),
        _cut("frame.mp3", mp3, _share(0.5)),
        _cut("page.ogg", ogg, lambda _: 40),
        _cut("tags.ogg", ogg, _after(b"OpusTags", 8)),
        # An Ogg file does not say how long it is but at its end.
        _cut("stream.ogg", ogg, _share(0.5), OK, "corrupt"),
        _cut("data.m4a", m4a, _share(0.5)),
        _cut("stream.mka", mka, _share(0.5)),
        _cut("head.pdf", paper, lambda _: 6),
        _cut("pages.pdf", paper, _after(b"/Kids", 3), "corrupt", "empty"),
        _cut("table.pdf", paper, _after(b"xref", 10)),
    ]  # fmt: skip


def misnamed() -> list[Case]:
    """Whole files under another kind's name: what counts is what they are."""
    made = {
        "picture.mp4": _picture("JPEG"), "picture.wav": _picture("PNG"),
        "picture.pdf": _picture("WEBP"), "picture.txt": _picture("GIF"),
        "sound.jpg": _sound("wav", "pcm_s16le"), "sound.mp4": _sound("mp3", "libmp3lame"),
        "sound.pdf": _sound("flac", "flac"), "sound.mkv": _sound("ogg", "libopus"),
        "film.png": _film("mp4", "libx264"), "film.mp3": _film("mkv", "libx264"),
        "film.avi": _film("mp4", "libx264"), "film": _film("avi", "mpeg4"),
        "paper.mp4": paper, "paper.wav": paper,
    }  # fmt: skip
    found = [Case("misnamed", name, expect(OK), make) for name, make in made.items()]
    others = {
        "archive.png": b"PK\3\4" + bytes(60), "program.mp4": b"\x7fELF" + bytes(60),
        "text.wav": b"no sound at all\n", "json.jpg": b'{"a": 1}', "zeros.mov": bytes(5000),
        "gzip.pdf": b"\x1f\x8b\x08" + bytes(40),
    }  # fmt: skip
    for name, data in others.items():
        found.append(Case("misnamed", name, expect("wrong_kind"), lambda _, d=data: d))
    return [*found, Case("misnamed", "nothing.png", expect("empty"), lambda _: b"")]


def cases() -> list[Case]:
    """All of this room."""
    return [*truncated(), *misnamed()]
