"""PDFs made for tests, byte by byte: pages of text, forms, odd sizes, encrypted and broken."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
_ID = b"0123456789abcdef"


def pdf(
    *pages: str,
    size: tuple[float, float] = (595, 842),
    page: str = "",
    catalog: str = "",
    more: Sequence[str | bytes] = (),
    password: str | None = None,
) -> bytes:
    """A PDF with a page for each text, in 24 point Helvetica at the top left.

    A text that begins with % is content as it stands. `page` and `catalog` go into the
    dictionaries of every page and of the document, `more` are further objects, numbered
    from 4. With a `password` (it may be empty) it is encrypted by 40-bit RC4.
    """
    first = 4 + len(more)
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(pages)))
    objects: list[bytes] = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode(),
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *(part if isinstance(part, bytes) else part.encode() for part in more),
    ]
    key = None if password is None else _key(password)
    for text in pages:
        number = len(objects) + 1
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] {page} "
            f"/Contents {number + 1} 0 R /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        shown = f"BT /F1 24 Tf 40 {size[1] - 60} Td ({text}) Tj ET"
        content = (text if text.startswith("%") else shown).encode()
        if key is not None:
            content = _rc4(_md5(key + (number + 1).to_bytes(3, "little") + bytes(2))[:10], content)
        objects.append(stream(content))
    trailer = b"/Root 1 0 R"
    if password is not None:
        key = _key(password)
        user = _rc4(key, _PADDING)
        objects.append(
            b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>"
            % (_owner().hex().encode(), user.hex().encode())
        )
        trailer += b" /Encrypt %d 0 R /ID [<%s> <%s>]" % (len(objects), *[_ID.hex().encode()] * 2)
    return _file(objects, trailer)


def stream(content: bytes, entries: str = "") -> bytes:
    """A stream object."""
    return f"<< /Length {len(content)} {entries} >>\nstream\n".encode() + content + b"\nendstream"


def _file(objects: Sequence[bytes], trailer: bytes) -> bytes:
    data = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        trailer,
        table,
    )
    return bytes(data)


# Encryption of PDF 1.4, 3.5.2: algorithms 3.1 to 3.4, revision 2.


def _owner() -> bytes:
    return _rc4(_md5(_padded("owner"))[:5], _padded(""))


def _key(password: str) -> bytes:
    flags = (-4).to_bytes(4, "little", signed=True)
    return _md5(_padded(password) + _owner() + flags + _ID)[:5]


def _padded(password: str) -> bytes:
    return (password.encode() + _PADDING)[:32]


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)
