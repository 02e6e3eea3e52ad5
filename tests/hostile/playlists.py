"""Files that point elsewhere: playlists, lists of parts, references. None may be followed."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.hostile.case import OK, Case, Expected, expect
from tests.hostile.films import film
from tests.hostile.papers import pdf
from tests.hostile.sounds import wav
from tests.paper import stream

#: Stands for the address of a server that counts its requests, in texts and bytes.
_ADDRESS = "http://address.invalid"


def _texts(address: str, secret: str) -> dict[str, str]:
    host = address.removeprefix("http://")
    return {
        "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/a.ts\n#EXT-X-ENDLIST",
        "file.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n",
        "key.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-KEY:METHOD=AES-128,"
        f'URI="{address}/key"\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST',
        "map.m3u8": f'#EXTM3U\n#EXT-X-MAP:URI="{address}/init"\n#EXTINF:9,\n{secret}\n',
        "master.m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n{address}/b.m3u8\n",
        "nested.m3u8": f"#EXTM3U\n#EXTINF:9,\nconcat:{address}/x|file://{secret}\n",
        "parts.ffconcat": f"ffconcat version 1.0\nfile '{address}/a.mp4'\n",
        "local.ffconcat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "list.pls": f"[playlist]\nFile1={address}/a.mp3\nNumberOfEntries=1\n",
        "list.asx": f"<asx version='3.0'><entry><ref href='{address}/a.wmv'/></entry></asx>",
        "list.xspf": "<?xml version='1.0'?><playlist xmlns='http://xspf.org/ns/0/'><trackList>"
        f"<track><location>{address}/a</location></track></trackList></playlist>",
        "dash.mpd": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' "
        "type='static' mediaPresentationDuration='PT9S'><Period>"
        f"<AdaptationSet mimeType='video/mp4'><BaseURL>{address}/</BaseURL>"
        "<Representation id='1' bandwidth='9'><SegmentList>"
        "<SegmentURL media='a.mp4'/></SegmentList></Representation></AdaptationSet></Period></MPD>",
        "session.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 {host.partition(':')[0]}\n"
        f"t=0 0\nm=video {host.partition(':')[2] or 9} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "list.ram": f"{address}/a.rm\n",
        "list.smil": f"<smil><body><video src='{address}/a.mp4'/></body></smil>",
        "composition.xml": "<?xml version='1.0'?><CompositionPlaylist xmlns='http://www.smpte-ra.org/"
        f"schemas/2067-3/2013'><Id>urn:uuid:0</Id><x>{address}</x></CompositionPlaylist>",
        "vapour.vpy": f"import urllib.request; urllib.request.urlopen('{address}')\n",
        "script.avs": f'DirectShowSource("{address}/a")\n',
        "pattern.txt": f"{secret}%03d\n",
        "image.svg": f"<svg xmlns:xlink='x'><image xlink:href='{address}/a.png'/></svg>",
        "page.html": f"<html><img src='{address}/a.png'></html>",
    }


def _tagged(text: str) -> bytes:
    """Behind an empty ID3 tag, which FFmpeg looks past, as an MP3 begins."""
    return b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + text.encode()


def _reference_film(folder: Path, address: str) -> bytes:
    """A film whose samples are said to lie at an address (QuickTime's data reference)."""
    whole = film(folder, "mov", "mpeg4", "yuv420p", 10)
    place = f"{address}/a.mov".encode() + b"\0"
    other = struct.pack("!I4sI", 12 + len(place), b"url ", 0) + place
    at = whole.index(b"dref")
    old = struct.unpack("!I", whole[at - 4 : at])[0]
    new = struct.pack("!I4sII", 16 + len(other), b"dref", 0, 1) + other
    changed = bytearray(whole[: at - 4] + new + whole[at - 4 + old :])
    grown = len(new) - old
    for box in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        start = changed.index(box) - 4
        size = struct.unpack("!I", changed[start : start + 4])[0]
        changed[start : start + 4] = struct.pack("!I", size + grown)
    return bytes(changed)


def _movie_of_movies(address: str) -> bytes:
    """A QuickTime reference movie (rmra), which holds an address alone."""
    place = f"{address}/a.mov".encode() + b"\0"
    data = b"rdrf" + struct.pack("!I4sI", 0, b"url ", len(place)) + place
    inner = struct.pack("!I", len(data) + 4) + data
    for box in (b"rmda", b"rmra", b"moov"):
        inner = struct.pack("!I", len(inner) + 8) + box + inner
    return struct.pack("!I4s4sI", 16, b"ftyp", b"qt  ", 0) + inner


def _papers(address: str) -> dict[str, tuple[bytes, Expected]]:
    action = f"/OpenAction << /S /URI /URI ({address}/open) >>"
    form = f"/OpenAction << /S /SubmitForm /F << /FS /URL /F ({address}/form) >> >>"
    script = f"/OpenAction << /S /JavaScript /JS (this.getURL('{address}/js')) >>"
    far = stream(b"", f"/F << /FS /URL /F ({address}/bytes) >> /Type /XObject /Subtype /Image")
    paper = f"<xdp><template><image href='{address}/xfa.png'/></template></xdp>".encode()
    return {
        "action.pdf": (pdf("a", catalog=action), expect(OK)),
        "form.pdf": (pdf("a", catalog=form), expect(OK)),
        "script.pdf": (pdf("a", catalog=script), expect(OK)),
        "far.pdf": (pdf("a", more=[far]), expect(OK)),
        "xfa.pdf": (
            pdf("a", more=[stream(paper)], catalog="/AcroForm << /Fields [] /XFA 4 0 R >>"),
            expect(OK),
        ),
    }


def cases(address: str = _ADDRESS, secret: str = "/etc/passwd") -> list[Case]:
    """All of this room, pointing at `address` and at the file `secret`.

    As they are by their first bytes, behind a tag that hides them, and in the place of data.
    """
    found = []
    no = expect("wrong_kind")
    for name, text in _texts(address, secret).items():
        found.append(Case("playlist", name, no, lambda _, t=text: t.encode()))
    for name in ("hls.m3u8", "file.m3u8", "key.m3u8", "parts.ffconcat", "dash.mpd", "session.sdp"):
        text = _texts(address, secret)[name]
        # By its tag it is an MP3, and of that there is nothing.
        found.append(
            Case("playlist", f"{name}.mp3", expect("corrupt"), lambda _, t=text: _tagged(t))
        )
        found.append(
            Case("playlist", f"{name}.wav", expect("corrupt", OK),
                 lambda _, t=text: wav(t.encode(), code=0x55))
        )  # fmt: skip
    for name, (data, said) in _papers(address).items():
        found.append(Case("playlist", name, said, lambda _, d=data: d))
    found.append(
        Case("playlist", "reference.mov", expect("corrupt", OK),
             lambda folder: _reference_film(folder, address))
    )  # fmt: skip
    found.append(
        Case("playlist", "movie.mov", expect("corrupt"), lambda _: _movie_of_movies(address))
    )
    return found
