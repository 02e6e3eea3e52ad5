"""As much of Google's, Azure's and the hub's HTTP interfaces as reading objects asks for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests import services


class Clouds(ThreadingHTTPServer):
    """Objects by key, the same in each cloud: `gs://b`, `az://b` and `hf://datasets/b/r`.

    `refusing` is a status to answer to everything.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.refusing: int | None = None
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def azure(self) -> str:
        """What AZURE_STORAGE_CONNECTION_STRING names it by."""
        return (
            "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;"
            f"BlobEndpoint={self.url}/a;"
        )

    def below(self, prefix: str) -> tuple[list[str], list[str]]:
        """Keys and folders right below a prefix."""
        rests = [key[len(prefix) :] for key in self.objects if key.startswith(prefix)]
        keys = sorted(prefix + rest for rest in rests if "/" not in rest)
        folders = sorted({prefix + r.split("/")[0] + "/" for r in rests if "/" in r})
        return keys, folders


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Clouds

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        span = self.headers.get("Range") or self.headers.get("x-ms-range")
        self.server.asked.append((f"{self.command} {path}", span))
        if self.server.refusing is not None:
            return self._send(self.server.refusing, b"{}")
        for pattern, answer in (
            (r"/storage/v1/b/b/o", self._google_list),
            (r"/storage/v1/b/b/o/(.+)", self._google_info),
            (r"/download/storage/v1/b/b/o/(.+)", self._content),
            (r"/a/b", self._azure_list),
            (r"/a/b/(.+)", self._content),
            (r"/api/datasets/b/r(?:/revision/main)?()", self._hub_info),
            (r"/api/datasets/b/r/tree/main/?(.*)", self._hub_list),
            (r"/api/datasets/b/r/paths-info/main()", self._hub_paths),
            (r"/datasets/b/r/resolve/main/(.+)", self._content),
        ):
            match = re.fullmatch(pattern, path)
            if match:
                return answer(*match.groups(), **({} if match.groups() else {"query": query}))
        return self._send(404, b"{}")

    do_HEAD = do_POST = do_GET  # noqa: N815 - http.server's naming

    def _content(self, key: str) -> None:
        data = self.server.objects.get(key)
        if data is None:
            return self._send(404, b"", {"x-ms-error-code": "BlobNotFound"})
        more = {"ETag": f'"{_tag(data)}"', "Last-Modified": formatdate(0, usegmt=True)}
        more |= {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        span = self.headers.get("Range") or self.headers.get("x-ms-range")
        if span is None:
            return self._send(200, data, more)
        start, _, end = span.removeprefix("bytes=").partition("-")
        if int(start) >= len(data):
            return self._send(416, b"", {"x-ms-error-code": "InvalidRange"})
        part = data[int(start) : int(end or len(data)) + 1]
        last = int(start) + len(part) - 1
        return self._send(206, part, more | {"Content-Range": f"bytes {start}-{last}/{len(data)}"})

    def _google(self, key: str) -> dict[str, Any]:
        data = self.server.objects[key]
        return {"kind": "storage#object", "name": key, "bucket": "b", "size": str(len(data)),
                "etag": _tag(data), "updated": "2026-01-01T00:00:00Z"}  # fmt: skip

    def _google_info(self, key: str) -> None:
        if key not in self.server.objects:
            return self._send(404, b"{}")
        return self._json(self._google(key))

    def _google_list(self, query: dict[str, str]) -> None:
        keys, folders = self.server.below(query.get("prefix", ""))
        self._json({"items": [self._google(key) for key in keys], "prefixes": folders})

    def _azure_list(self, query: dict[str, str]) -> None:
        keys, folders = self.server.below(query.get("prefix", ""))
        blobs = "".join(
            f"<Blob><Name>{key}</Name><Properties><Etag>{_tag(self.server.objects[key])}</Etag>"
            f"<Content-Length>{len(self.server.objects[key])}</Content-Length>"
            "<Last-Modified>Thu, 01 Jan 1970 00:00:00 GMT</Last-Modified>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>"
            for key in keys
        )
        blobs += "".join(f"<BlobPrefix><Name>{f}</Name></BlobPrefix>" for f in folders)
        root = f'<EnumerationResults ServiceEndpoint="{self.server.url}/a" ContainerName="b">'
        text = f"{root}<Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"
        data = f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode()
        self._send(200, data, {"Content-Type": "application/xml"})

    def _hub_info(self, _: str) -> None:
        info = {"id": "b/r", "sha": "c" * 40, "siblings": [], "tags": [], "private": False}
        self._json(info)

    def _hub_entry(self, path: str) -> dict[str, Any] | None:
        data = self.server.objects.get(path)
        if data is not None:
            return {"type": "file", "path": path, "size": len(data), "oid": _tag(data)}
        return None

    def _hub_list(self, folder: str) -> None:
        keys, folders = self.server.below(f"{folder}/" if folder else "")
        if not keys and not folders:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        entries = [self._hub_entry(key) for key in keys]
        entries += [{"type": "directory", "path": f[:-1], "oid": "0" * 40} for f in folders]
        return self._json(entries)

    def _hub_paths(self, _: str) -> None:
        paths = parse_qs(self.body.decode())["paths"]
        self._json(list(filter(None, map(self._hub_entry, paths))))

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _tag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@contextlib.contextmanager
def serving() -> Iterator[Clouds]:
    """Start it and end it."""
    server = Clouds()
    with services.serving(server):
        yield server
