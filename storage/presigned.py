"""Presigned URLs: what of them is secret and shown nowhere, and when they end."""

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
    r"^x-goog-|^hdn|^(?:q-)?(?:sig|sign|ak|key|auth|authorization|policy|key-pair-id|jwt)$|"
    r"(?:auth|client|private|account|shared|subscription)[-_]?key|^(?:md5|sas|pwd|hm|verify)$",
    re.IGNORECASE,
)
#: Of these nothing but a signed URL has any: they are secret in a path or a key too.
_SIGNED = re.compile(r"^x-(?:amz|goog)-(?:signature|credential|security-token)$", re.IGNORECASE)
_PARAMETER = re.compile(r"([?&;#])([^=&;#?]*)=([^&;#]+)")
#: The same in a sentence or a JSON text: a URL ends with its word, before a point or a quote.
_SAID_PARAMETER = re.compile(
    r"([?&;#])([^=&;#?\s]*)=([^&;#\s\"'<>`\\]+?)(?=[.,:)]{0,8}(?:[&;#\s\"'<>`\\]|\Z))"
)
_NAME = re.compile(r"[?&;#]([^=&;#?]*)=")
#: A user and a password before a host. Where what follows a colon is no port it is a password,
#: and may hold the slash or the question mark at which readers of URLs end the host. Lengths are
#: bounded wherever a try may fail at its end: long texts would take the square of their time.
_USER = (
    r"([a-z][a-z0-9+.-]{0,31})(:[/\\]{2,})([^/\\?#%(end)s]*@|"
    r"[^/\\?#\[\]@:%(end)s]*:(?!\d+(?:[/\\?#%(end)s]|\Z))%(any)s{0,2047}@)"
)
_LOGIN = re.compile(_USER % {"end": "", "any": "."}, re.IGNORECASE | re.DOTALL)
_SAID_LOGIN = re.compile(_USER % {"end": r"\s\"'<>`", "any": r"[^\s\"'<>`]"}, re.IGNORECASE)
#: `https:` wherever it stands: in quotes, behind another scheme, behind what nobody sees.
_WEB = re.compile(r"https?:", re.IGNORECASE)
#: Schemes of what is no URL to its store; Azure's may be signed as URLs are.
_PLACES = REMOTE - {"az", "abfs"} | {"file"}
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
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
    passwords, signatures, keys and tokens. Paths and objects of stores are left as they are, but
    for what a signed URL alone has."""
    without = _LOGIN.sub(_no_login, url)
    scheme = _SCHEME.match(url)
    if (scheme is None or scheme[1].lower() in _PLACES) and not _WEB.search(url):
        return _PARAMETER.sub(_mask_signed, without)
    return _PARAMETER.sub(_mask, without)


def told(text: str) -> str:
    """A sentence, such as an error's, with no secret of the URLs that it names."""
    return _SAID_PARAMETER.sub(_mask, _SAID_LOGIN.sub(_no_login, text))


def has_login(url: str) -> bool:
    """Whether a user or a password stands before the host, or before a store's bucket."""
    return _LOGIN.sub(_no_login, url) != url


def _no_login(found: re.Match[str]) -> str:
    scheme, slashes, user = found.groups()
    # `abfs://container@account` names no user.
    return found[0] if scheme.lower() in REMOTE and ":" not in user else f"{scheme}{slashes}"


def _mask(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    # A URL within the URL carries its own signature, escaped once or twice.
    within = unquote(unquote(value))
    inner = any(_SECRET.search(unquote(inside)) for inside in _NAME.findall(within))
    if inner or _LOGIN.search(within) or _SECRET.search(unquote(name)):
        return f"{before}{name}={MASK}"
    return found[0]


def _mask_signed(found: re.Match[str]) -> str:
    before, name, _ = found.groups()
    return f"{before}{name}={MASK}" if _SIGNED.search(unquote(name)) else found[0]


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
