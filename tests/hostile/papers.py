"""PDFs that are broken, locked, endless, or called an image."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.case import OK, Case, Expected, expect
from tests.hostile.pictures import seeded_bytes
from tests.paper import pdf

_WHOLE = pdf("first", "second", "third")


def _given(kind: str, made: dict[str, tuple[bytes, Expected]]) -> list[Case]:
    return [Case(kind, name, said, lambda _, d=data: d) for name, (data, said) in made.items()]


def broken() -> list[Case]:
    """PDFs that are cut, bent, looped or of nonsense."""
    repaired, lost = expect(OK), expect("corrupt")
    noise = seeded_bytes("pdf", 3000)
    loop = _WHOLE.replace(b"/Kids [", b"/Kids [2 0 R ")
    deep = f"% {'[' * 20_000}"
    return _given("broken_pdf", {
        "no-end.pdf": (_WHOLE[:-20], repaired),
        "no-table.pdf": (_WHOLE[: _WHOLE.index(b"xref")], lost),
        "half.pdf": (_WHOLE[: len(_WHOLE) // 2], expect(OK, "corrupt", "empty")),
        "head.pdf": (_WHOLE[:12], lost),
        "noise.pdf": (b"%PDF-1.7\n" + noise, lost),
        "late.pdf": (bytes(900) + _WHOLE, repaired),
        "loop.pdf": (loop, expect(OK, "corrupt", "empty")),
        "no-pages.pdf": (pdf(), expect("empty")),
        "no-root.pdf": (_WHOLE.replace(b"/Root 1 0 R", b"/Root 9 9 R"), expect("empty")),
        "self.pdf": (_WHOLE.replace(b"/Pages 2 0 R", b"/Pages 1 0 R"), repaired),
        "million.pdf": (_WHOLE.replace(b"/Count 3", b"/Count 9999999"),
                        expect("too_large", "corrupt", OK)),
        "below.pdf": (_WHOLE.replace(b"/Count 3", b"/Count -3"), expect(OK, "corrupt", "empty")),
        "no-size.pdf": (pdf("a", size=(0, 0)), expect(OK, "corrupt")),
        "endless.pdf": (pdf("a", size=(1e30, 1e30)), expect(OK, "corrupt")),
        "thin.pdf": (pdf("a", size=(1, 14_400)), repaired),
        "turned.pdf": (pdf("a", page="/Rotate 45"), repaired),
        "deep.pdf": (pdf(deep), repaired),
        "units.pdf": (pdf("a", page="/UserUnit 1e9"), repaired),
    })  # fmt: skip


def locked() -> list[Case]:
    """PDFs that take a password, or a way of locking that nobody has."""
    no = expect("forbidden")
    whole = pdf("secret", password="open sesame")
    made: dict[str, tuple[bytes, Expected]] = {
        "plain.pdf": (whole, no),
        "empty-password.pdf": (pdf("secret", password=""), expect(OK)),
        "long-password.pdf": (pdf("secret", password="x" * 32), no),
        "many-pages.pdf": (pdf(*"abcdefgh", password="p"), no),
        "no-id.pdf": (whole.replace(b"/ID [", b"/Id ["), no),
        "no-user.pdf": (whole.replace(b"/U <", b"/X <"), expect("forbidden", "corrupt")),
        "no-owner.pdf": (whole.replace(b"/O <", b"/X <"), expect("forbidden", "corrupt")),
        "other-lock.pdf": (whole.replace(b"/Filter /Standard", b"/Filter /Adobe.PubSec"), no),
        "version-9.pdf": (whole.replace(b"/V 1 /R 2", b"/V 9 /R 9"), no),
        "rights.pdf": (whole.replace(b"/P -4", b"/P 0"), no),
    }
    user, owner = b"a1" * 48, b"b2" * 48
    for version, revision, method in ((4, 4, b"AESV2"), (5, 5, b"AESV3"), (5, 6, b"AESV3")):
        lock = (
            b"<< /Filter /Standard /V %d /R %d /Length 256 /P -4 /O <%s> /U <%s> /OE <%s> /UE <%s> "
            b"/Perms <%s> /CF << /StdCF << /CFM /%s /Length 32 /AuthEvent /DocOpen >> >> "
            b"/StmF /StdCF /StrF /StdCF >>"
            % (version, revision, owner, user, owner[:64], user[:64], b"00" * 16, method)
        )
        bare = pdf("secret", more=[lock])
        locked_so = bare.replace(
            b"/Root 1 0 R", b"/Root 1 0 R /Encrypt 4 0 R /ID [<00112233> <00112233>]"
        )
        made[f"aes-{version}-{revision}.pdf"] = (locked_so, no)
    return _given("locked_pdf", made)


_IMAGES = ("jpg", "png", "gif", "tif", "webp", "bmp", "heic", "avif", "jp2", "jpeg", "JPG", "img")
_SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'>"
    "<rect width='9' height='9'/></svg>"
)


def posing() -> list[Case]:
    """PDFs and SVGs under the names of images."""
    found = [
        Case("pdf_as_image", f"paper.{suffix}", expect(OK), lambda _: _WHOLE) for suffix in _IMAGES
    ]
    ways = {
        "plain": _SVG,
        "declared": f"<?xml version='1.0' encoding='UTF-8'?>\n{_SVG}",
        "doctype": f"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'http://x/svg.dtd'>\n{_SVG}",
        "entities": "<!DOCTYPE svg [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]>" + _SVG,
        "outside": "<!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>" + _SVG,
        "comment": f"<!-- {'x' * 400} -->{_SVG}",
        "space": f"\ufeff\n\n   {_SVG}",
        "upper": _SVG.replace("<svg", "<SVG"),
        "prefix": _SVG.replace("<svg", "<s:svg").replace("</svg", "</s:svg"),
        "html": f"<!DOCTYPE html><html><body>{_SVG}</body></html>",
        "script": _SVG.replace("<rect", "<script>alert(1)</script><rect"),
    }
    for (name, text), suffix in zip(ways.items(), _IMAGES, strict=False):
        found.append(
            Case("svg_as_image", f"{name}.{suffix}", expect("wrong_kind"),
                 lambda _, t=text: t.encode())
        )  # fmt: skip
    for name, encoding in (("utf-16", "utf-16"), ("utf-16-be", "utf-16-be")):
        found.append(
            Case("svg_as_image", f"{name}.png", expect("wrong_kind"),
                 lambda _, e=encoding: _SVG.encode(e))
        )  # fmt: skip
    return found


def cases() -> list[Case]:
    """All of this room."""
    return [*broken(), *locked(), *posing()]


def whole(_: Path) -> bytes:
    """A PDF of three pages with nothing wrong."""
    return _WHOLE
