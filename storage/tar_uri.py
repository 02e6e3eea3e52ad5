"""References to members of tars: what stands for a medium that lies in a plain tar.

    tar:s3://bucket/x-000.tar#at=1536&bytes=88123&head=9f3ac21b&tag=9b2c…&member=0001.jpg

The tar's URI and the values are percent-escaped (UTF-8), so that `#`, `&` and `%` in them
are none of ours. The member's `bytes` bytes begin at byte `at`, right after its header, whose
CRC-32 is `head`; `tag` is the version of the tar that was planned. `member` is its name: it
tells people what it is, and the planner an extension, and so comes last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from storage.errors import RowError
from storage.references import escaped

#: Bytes of a header, and what members are filled up to.
BLOCK = 512
_FORM = re.compile(
    r"tar:(?P<file>[^#&]+)#at=(?P<at>\d{1,18})&bytes=(?P<size>\d{1,18})&head=(?P<head>[0-9a-f]{8})"
    r"&tag=(?P<tag>[^#&]*)&member=(?P<member>[^#&]+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TarMember:
    """`size` bytes at byte `at` of the version `tag` of `file`; `head` is its header's CRC-32."""

    file: str
    at: int
    size: int
    head: int
    tag: str
    member: str

    @property
    def uri(self) -> str:
        """The reference."""
        return (
            f"tar:{escaped(self.file)}#at={self.at}&bytes={self.size}"
            f"&head={self.head:08x}&tag={quote(self.tag, safe='')}"
            f"&member={escaped(self.member)}"
        )


def parse(uri: str) -> TarMember:
    """The member that a reference means. Raises RowError (not_found) for what is none."""
    match = _FORM.fullmatch(uri)
    if match is None or int(match["at"]) < BLOCK:
        raise RowError(
            "not_found",
            f"{uri}: no reference to a tar's member, such as 'tar:s3://bucket/x.tar#at=512&"
            "bytes=…&head=…&tag=…&member=0001.jpg'; a manifest of tars makes them",
        )
    file, tag, member = (unquote(match[part]) for part in ("file", "tag", "member"))
    at, size = int(match["at"]), int(match["size"])
    return TarMember(file, at, size, int(match["head"], 16), tag, member)
