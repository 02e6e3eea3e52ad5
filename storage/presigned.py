"""Presigned URLs: what of them is secret, and when they end."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, unquote, urlsplit

from storage.errors import RowError
from storage.objects import REMOTE

#: Parameters that let in whoever has them: signatures, the keys and tokens beside them.
_SECRET = re.compile(
    r"signature|credential|token|secret|passw|access-?_?key|access-?_?id|api-?_?key|hmac|"
    r"^x-goog-|^(?:sig|key|auth|authorization|policy|key-pair-id|jwt)$",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r"([?&;#])([^=&;#?]*)=([^&;#]+)")
_NAME = re.compile(r"[?&;#]([^=&;#?]*)=")
#: `https:` in any spelling that some reader takes, or another scheme that nobody here knows.
_SCHEME = re.compile(r"\s*(https?|[a-z][a-z0-9+.-]*(?=://)):", re.IGNORECASE)
#: What stands for a secret. Of characters that every reader of URLs takes.
MASK = "***"
#: What servers say of one that has ended, beside its own times: AWS, its tokens, Azure.
_SAID = re.compile(rb"ExpiredToken|TokenExpired|[Rr]equest has expired|specified time frame")


class UrlExpired(RowError):
    """Raised when a presigned URL has ended: forbidden, and worth another try, since whoever
    signed it may have it signed anew."""

    @property
    def retryable(self) -> bool:
        """Always."""
        return True


def masked(url: str) -> str:
    """The URL as records show it: whole, so that it can be joined with the manifest, but for
    passwords, signatures, keys and tokens. Paths and objects of stores are left as they are."""
    scheme = _SCHEME.match(url)
    if scheme is None or scheme[1].lower() in (*REMOTE, "file"):
        return url
    without = re.sub(r"\A([^/?#]*//)[^/?#]*@", r"\1", url)
    return _PARAMETER.sub(_mask, without)


def _mask(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    # A URL within the URL carries its own signature, escaped once or twice.
    within = unquote(unquote(value))
    inner = any(_SECRET.search(unquote(inside)) for inside in _NAME.findall(within))
    if inner or _SECRET.search(unquote(name)):
        return f"{before}{name}={MASK}"
    return found[0]


def has_ended(url: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a server that refused this URL did so because its time is over.

    By the server's own clock (its `Date`) where it tells, since ours may be wrong; or as it
    says in the first bytes of its answer, since a token may end before the URL does.
    """
    query = _query(url)
    if not any(name == "sig" or name.endswith("signature") for name in query):
        return False
    if _SAID.search(body):
        return True
    end = _end(query)
    return end is not None and end < _clock(headers)


def _query(url: str) -> dict[str, str]:
    return {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}


def _end(query: Mapping[str, str]) -> float | None:
    """When it ends, in seconds since the epoch; None where it does not say."""
    try:
        for vendor in ("amz", "goog"):
            if signed := query.get(f"x-{vendor}-date"):
                at = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                return at.timestamp() + float(query[f"x-{vendor}-expires"])
        if "sig" in query:  # Azure's
            at = datetime.fromisoformat(query["se"])
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        return float(query["expires"])  # the older form of AWS and Google, and CloudFront's
    except (KeyError, ValueError, OverflowError):
        return None


def _clock(headers: Mapping[str, str]) -> float:
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return time.time()
