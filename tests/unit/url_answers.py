"""What servers may answer to do harm, or to learn what is not theirs."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterable

from tests.unit.url_vector import CANARY, Guard, Vector
from tests.unit.url_world import PNG, Page, Wire, answer, dripped, redirect


def _paged(group: str, expect: str, guard: Guard, **pages: Page) -> Iterable[Vector]:
    url = "https://media.example/x"
    return [Vector(group, n, url, expect, guard, pages={"/x": p}) for n, p in pages.items()]


def _continues(wire: Wire) -> None:
    wire.drip(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 30)
    wire.send(answer())


def _chunk_by_chunk(wire: Wire) -> None:
    wire.send(_CHUNKED)
    wire.drip(*(b"1\r\n" + PNG[i : i + 1] + b"\r\n" for i in range(30)), b"0\r\n\r\n")


def _without_a_pause(wire: Wire) -> None:
    wire.send(_CHUNKED + b"80\r\n" + PNG + b"\r\n0\r\n")
    end = time.monotonic() + 0.9
    while time.monotonic() < end:
        wire.send(b"X: y\r\n" * 1000)
    wire.send(b"\r\n")


def _late(wire: Wire) -> None:
    wire.wait(0.9)
    wire.send(answer())


def _hop(to: str) -> Page:
    def page(wire: Wire) -> None:
        wire.wait(0.08)
        wire.send(redirect(to))

    return page


def _signed(name: str, query: str, page: Page, expect: str, guard: Guard) -> Vector:
    url = f"https://media.example/x?{query}"
    retryable = True if guard == "ended" else None
    group = "expired" if guard == "ended" else "secrets"
    return Vector(group, name, url, expect, guard, pages={"/x": page}, retryable=retryable)


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_WHOLE = answer()
_BODY_AT = len(_WHOLE) - len(PNG)
_BIG = PNG + bytes(300_000)
_MANY = [f"X-{n}: {'y' * 20}" for n in range(150)]
_WIDE = [f"X-{n}: {'y' * 1000}" for n in range(90)]
_DATE = "Date: Tue, 24 Nov 2026 12:00:00 GMT"
_NO = answer(_DATE, status="403 Forbidden", body=b"<Code>AccessDenied</Code>")
_TOKEN = answer(_DATE, status="400 Bad Request", body=b"<Code>ExpiredToken</Code>")
_MISNAMED = _TOKEN.replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1)
_V4 = f"X-Amz-Credential={CANARY}&X-Amz-Security-Token={CANARY}&X-Amz-Signature={CANARY}"
_GOOG = f"X-Goog-Credential={CANARY}&X-Goog-Signature={CANARY}"
_OLD, _NEW = "20261124T100000Z&", "20261124T115900Z&"
_SLOW_LINE = b"X-Slow: " + b"y" * 30 + b"\r\n"


ANSWERS: tuple[Vector, ...] = (
    *_paged(
        "slow",
        "timeout",
        "deadline",
        status=dripped(b"", b"HTTP/1.1 200 " + b"y" * 30, b"\r\nContent-Length: 128\r\n\r\n" + PNG),
        header=dripped(b"HTTP/1.1 200 OK\r\n", _SLOW_LINE, _WHOLE.split(b"\r\n", 1)[1]),
        continues=_continues,
        content=dripped(_WHOLE[: _BODY_AT + 20], PNG[20:50], PNG[50:]),
        chunks=_chunk_by_chunk,
        chunk_size=dripped(_CHUNKED, b"80;" + b"y" * 30, b"\r\n" + PNG + b"\r\n0\r\n\r\n"),
        trailer=dripped(_CHUNKED + b"80\r\n" + PNG + b"\r\n0\r\n", _SLOW_LINE, b"\r\n"),
        silence=_late,
        without_a_pause=_without_a_pause,
    ),
    Vector(
        "slow",
        "redirects",
        "https://media.example/x",
        "timeout",
        "deadline",
        pages={"/x": _hop("/1"), "/1": _hop("/2"), "/2": _hop("/3"), "/3": _late},
    ),
    Vector(
        "slow",
        "handshake",
        "https://media.example/x",
        "timeout",
        "deadline",
        pages={"/x": answer()},
        handshake_s=0.9,
    ),
    *_paged(
        "size",
        "too_large",
        "size",
        told=answer(body=_BIG),
        not_told=answer("Connection: close", body=_BIG, length=False),
        chunked=_CHUNKED + b"%x\r\n" % len(_BIG) + _BIG + b"\r\n0\r\n\r\n",
        many_chunks=_CHUNKED
        + b"".join(b"1000\r\n" + _BIG[i : i + 4096] + b"\r\n" for i in range(0, 204_800, 4096))
        + b"0\r\n\r\n",
        old=b"HTTP/1.0 200 OK\r\n\r\n" + _BIG,
        by_one=answer(body=_BIG[:100_001]),
    ),
    *_paged(
        "head",
        "unavailable",
        "head",
        many=answer(*_MANY),
        wide=answer(*_WIDE),
        line=answer(f"X: {'y' * 70_000}"),
        status=b"HTTP/1.1 200 " + b"y" * 70_000 + _WHOLE[15:],
        continues=b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000 + _WHOLE,
        hints=(b"HTTP/1.1 100 Continue\r\n" + b"X: y\r\n" * 90 + b"\r\n") * 200 + _WHOLE,
    ),
    *_paged(
        "packed",
        "wrong_kind",
        "packed",
        **{
            label: answer(f"Content-Encoding: {label}")
            for label in ("gzip", "x-gzip", "deflate", "br", "zstd", "GZIP", "gzip, gzip")
        },
        among_others=answer("Content-Encoding: identity , gzip"),
        twice=answer("Content-Encoding: identity", "Content-Encoding: br"),
    ),
    _signed("AWS", _V4, _NO, "forbidden", "shown"),
    _signed("AWS, older", f"AWSAccessKeyId={CANARY}&Signature={CANARY}", _NO, "forbidden", "shown"),
    _signed("Google", _GOOG, _NO, "forbidden", "shown"),
    _signed("Azure", f"sv=2024-11-04&sig={CANARY}", _NO, "forbidden", "shown"),
    _signed("CloudFront", f"Policy={CANARY}&Key-Pair-Id={CANARY}", _NO, "forbidden", "shown"),
    _signed("a web page", _V4, answer(body=b"<!doctype html>"), "wrong_kind", "shown"),
    _signed("too large", _V4, answer(body=_BIG), "too_large", "shown"),
    _signed("a redirect", _V4, redirect(f"http://h/?sig={CANARY}"), "forbidden", "shown"),
    _signed("packed", _V4, answer("Content-Encoding: br"), "wrong_kind", "shown"),
    _signed("reset", _V4, lambda wire: None, "unavailable", "shown"),
    _signed("AWS", f"{_V4}&X-Amz-Date={_OLD}X-Amz-Expires=3600", _NO, "forbidden", "ended"),
    _signed("AWS, older", "Expires=1795518000&Signature=y", _NO, "forbidden", "ended"),
    _signed("Google", f"{_GOOG}&X-Goog-Date={_OLD}X-Goog-Expires=60", _NO, "forbidden", "ended"),
    _signed("Azure", "se=2026-11-24T11%3A59%3A59Z&sig=y", _NO, "forbidden", "ended"),
    _signed("Azure, a day", "se=2026-11-24&sig=y", _NO, "forbidden", "ended"),
    _signed("token", f"{_V4}&X-Amz-Date={_NEW}X-Amz-Expires=99", _TOKEN, "forbidden", "ended"),
    _signed("token, said to be packed", _V4, _MISNAMED, "forbidden", "ended"),
    *_paged(
        "nonsense",
        "unavailable",
        "nonsense",
        location=redirect("https://[::1"),
        location_short=redirect("//[x"),
        retry=answer("Retry-After: \xb2", status="503 Away", body=b""),
        lengths=answer("Content-Length: 1", "Content-Length: 2", length=False),
        status=b"HELLO\r\n\r\n",
        version=b"HTTP/7.5 200 OK\r\n\r\n",
        chunk=_CHUNKED + b"xyz\r\n" + PNG,
        cut=_WHOLE[:-5],
        nothing=lambda wire: None,
    ),
    *_paged(
        "nonsense",
        "ok",
        "nonsense",
        length=answer("Content-Length: \xb2", "Connection: close", length=False),
        length_long=answer(f"Content-Length: {'9' * 5000}", "Connection: close", length=False),
    ),
)
#: Unpacks to a thousand times its size, and is not unpacked.
BOMB = gzip.compress(PNG + bytes(50_000_000), 9)
