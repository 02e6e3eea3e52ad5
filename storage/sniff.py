"""What a medium is, told from its first bytes alone: names and content types often lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["image", "audio", "video", "document"]

#: First bytes that are worth having: a PDF's header may lie 1 KiB in, a page of Ogg is longer.
HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Sniffed:
    """`kind` is None for what is no medium that is known; `looks` says what it looks like."""

    kind: Kind | None
    mime: str
    looks: str


#: At the very start. Longer prefixes come before shorter ones that they begin with.
_MAGIC: tuple[tuple[bytes, Kind | None, str, str], ...] = (
    (b"\xff\xd8\xff", "image", "image/jpeg", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "image", "image/png", "PNG"),
    (b"GIF87a", "image", "image/gif", "GIF"),
    (b"GIF89a", "image", "image/gif", "GIF"),
    (b"II*\0", "image", "image/tiff", "TIFF"),
    (b"MM\0*", "image", "image/tiff", "TIFF"),
    (b"II+\0", "image", "image/tiff", "BigTIFF"),
    (b"MM\0+", "image", "image/tiff", "BigTIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image", "image/jp2", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "image", "image/j2c", "JPEG 2000"),
    (b"fLaC", "audio", "audio/flac", "FLAC"),
    (b"#!AMR-WB\n", "audio", "audio/amr-wb", "AMR"),
    (b"#!AMR\n", "audio", "audio/amr", "AMR"),
    (b"\x0b\x77", "audio", "audio/ac3", "AC-3"),
    (b".snd", "audio", "audio/basic", "Sun audio"),
    (b"caff", "audio", "audio/x-caf", "Core Audio"),
    (b"FLV\x01", "video", "video/x-flv", "FLV"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video", "video/x-ms-asf", "ASF (WMV, WMA)"),
    (b"\0\0\x01\xba", "video", "video/mpeg", "MPEG program stream"),
    (b"\0\0\x01\xb3", "video", "video/mpeg", "MPEG video"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", None, "image/jxl", "JPEG XL, which cannot be decoded"),
    (b"\xff\x0a", None, "image/jxl", "JPEG XL, which cannot be decoded"),
    (b"8BPS", None, "image/vnd.adobe.photoshop", "a Photoshop document"),
    (b"\0\0\x01\0", None, "image/vnd.microsoft.icon", "an icon"),
    (b"PK\x03\x04", None, "application/zip", "a ZIP archive or an Office document"),
    (b"\x1f\x8b", None, "application/gzip", "gzip data"),
    (b"\x28\xb5\x2f\xfd", None, "application/zstd", "zstd data"),
    (b"BZh", None, "application/x-bzip2", "bzip2 data"),
    (b"7z\xbc\xaf\x27\x1c", None, "application/x-7z-compressed", "a 7z archive"),
    (b"Rar!", None, "application/vnd.rar", "a RAR archive"),
    (b"PAR1", None, "application/vnd.apache.parquet", "Parquet"),
    (b"\xd0\xcf\x11\xe0", None, "application/x-ole-storage", "an old Office document"),
    (b"\x7fELF", None, "application/x-executable", "a program"),
    (b"MThd", None, "audio/midi", "MIDI, which holds notes and no sound"),
)
_RIFF: dict[bytes, tuple[Kind, str, str]] = {
    b"WAVE": ("audio", "audio/wav", "WAV"),
    b"WEBP": ("image", "image/webp", "WebP"),
    b"AVI ": ("video", "video/x-msvideo", "AVI"),
}
_FTYP: dict[bytes, tuple[Kind, str, str]] = {
    **dict.fromkeys((b"avif", b"avis"), ("image", "image/avif", "AVIF")),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        ("image", "image/heic", "HEIC"),
    ),
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), ("audio", "audio/mp4", "M4A")),
    b"qt  ": ("video", "video/quicktime", "MOV"),
}
#: First atoms of QuickTime files from before there was `ftyp`.
_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def sniff(head: bytes) -> Sniffed:
    """What the content is whose first bytes (up to `HEAD_BYTES`) are `head`, not empty."""
    found = _container(head)
    if found is not None:
        return found
    for magic, kind, mime, looks in _MAGIC:
        if head.startswith(magic):
            return Sniffed(kind, mime, looks)
    if b"%PDF-" in head[:1024]:
        return Sniffed("document", "application/pdf", "PDF")
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:18] in _BMP_HEADERS:
        return Sniffed("image", "image/bmp", "BMP")
    return _transport_stream(head) or _text(head) or _frames(head) or _unknown(head)


_BMP_HEADERS = frozenset(n.to_bytes(4, "little") for n in (12, 16, 40, 52, 56, 64, 108, 124))


def _container(head: bytes) -> Sniffed | None:
    """Formats that name what they hold a few bytes in."""
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX"):
        return Sniffed(*_RIFF.get(head[8:12], (None, "application/octet-stream", "RIFF data")))
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Sniffed("audio", "audio/aiff", "AIFF")
    if head[4:8] == b"ftyp":
        return _mp4(head)
    if head[4:8] in _ATOMS:
        return Sniffed("video", "video/quicktime", "MOV")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        webm = b"webm" in head[:128]
        return Sniffed("video", *(("video/webm", "WebM") if webm else ("video/matroska", "MKV")))
    if head[:4] == b"OggS":
        if b"\x80theora" in head[:512]:
            return Sniffed("video", "video/ogg", "Ogg video")
        return Sniffed("audio", "audio/ogg", "Ogg audio")
    if head[:3] == b"ID3":
        # An ID3 tag says how long it is in four 7-bit bytes; FLAC files carry one at times.
        size = sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False)
        )
        if head[10 + size :].startswith(b"fLaC"):
            return Sniffed("audio", "audio/flac", "FLAC")
        return Sniffed("audio", "audio/mpeg", "MP3")
    return None


def _mp4(head: bytes) -> Sniffed:
    size = min(int.from_bytes(head[:4], "big"), 4096)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, max(16, size), 4))]
    # The major brand first; generic ones (`mif1`) give way to what the others say.
    if brands[0] == b"mif1" and b"avif" in brands:
        return Sniffed(*_FTYP[b"avif"])
    if brands[0] == b"crx ":
        return Sniffed(None, "image/x-canon-cr3", "a Canon raw photograph")
    if brands[0] in _FTYP:
        return Sniffed(*_FTYP[brands[0]])
    if brands[0][:2] == b"3g":
        return Sniffed("video", "video/3gpp", "3GP")
    return Sniffed("video", "video/mp4", "MP4")


def _transport_stream(head: bytes) -> Sniffed | None:
    """MPEG-TS: a sync byte every 188 bytes, or every 192 behind a 4-byte time code."""
    for start, step in ((0, 188), (4, 192)):
        marks = head[start : start + 5 * step : step]
        if len(marks) >= 3 and marks == b"\x47" * len(marks):
            return Sniffed("video", "video/mp2t", "MPEG transport stream")
    return None


_MP3_KBPS = {
    # (MPEG 1 or 2/2.5, layer): kbit/s by index 1 to 14
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _frames(head: bytes) -> Sniffed | None:
    """Bare MP3 or AAC: eleven set bits, and the next frame where this one says it ends."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if length > 7 and _sync(head, length, 0xF6):
            return Sniffed("audio", "audio/aac", "AAC")
        return None
    size = _mp3_length(head)
    if size is not None and _sync(head, size, 0xFE):
        return Sniffed("audio", "audio/mpeg", "MP3")
    return None


def _mp3_length(head: bytes) -> int | None:
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, bits = head[2] >> 2 & 3, head[2] >> 4
    generation = 1 if version == 3 else 2
    if version == 1 or rate == 3 or not 1 <= bits <= 14 or (generation, layer) not in _MP3_KBPS:
        return None
    samples = 576 if generation == 2 and layer == 3 else 1152
    kbps = _MP3_KBPS[generation, layer][bits - 1]
    return samples // 8 * kbps * 1000 // _MP3_RATES[version][rate] + (head[2] >> 1 & 1)


def _sync(head: bytes, at: int, mask: int) -> bool:
    """Whether a frame like the first begins at `at`, as far as the bytes go."""
    following = head[at : at + 2]
    return len(following) < 2 or (following[0] == 0xFF and following[1] & mask == head[1] & mask)


def _text(head: bytes) -> Sniffed | None:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Sniffed(None, "text/plain", "UTF-16 text")
    try:
        # A character may be cut at the end of what we have.
        text = head.decode("utf-8", "strict" if len(head) < 4 else "ignore")
    except UnicodeDecodeError:
        return None
    if len(text.encode()) < len(head) - 3 or re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]", text):
        return None
    start = text.lstrip("\ufeff \t\r\n")[:512].lower()
    if start.startswith("version https://git-lfs"):
        return Sniffed(None, "text/plain", "a Git LFS pointer; fetch the file with `git lfs pull`")
    if start.startswith(("<!doctype html", "<html")):
        return Sniffed(None, "text/html", "an HTML page, perhaps an error or a login page")
    if "<svg" in start:
        return Sniffed(None, "image/svg+xml", "SVG, which cannot be decoded; render it first")
    if start.startswith("<?xml"):
        return Sniffed(None, "application/xml", "XML, perhaps an error message of the store")
    if start.startswith(("{", "[")):
        return Sniffed(None, "application/json", "JSON")
    return Sniffed(None, "text/plain", "text")


def _unknown(head: bytes) -> Sniffed:
    if not head.strip(b"\0"):
        return Sniffed(None, "application/octet-stream", "zero bytes, as of a broken download")
    return Sniffed(None, "application/octet-stream", f"unknown data ({head[:8].hex(' ')} …)")
