"""A Hugging Face hub of one file server, for the tests of whatever asks it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests import services

CONFIG: dict[str, Any] = {
    "model_type": "gemma4",
    "vision_config": {"hidden_size": 8},
    "audio_config": {"hidden_size": 8},
    "text_config": {"max_position_embeddings": 131072},
}
OLD, NEW = "a" * 40, "b" * 40


class Hub(ThreadingHTTPServer):
    """As much of the hub as a model's look-up asks for. `broken` answers 503 to everything."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.main = NEW
        self.broken = False
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.files = {
            "config.json": json.dumps(CONFIG).encode(),
            "model.safetensors": b"weights",
            "weights.gguf": b"no",
            "README.md": b"no",
        }

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        hub = self.server
        hub.asked.append(self.path)
        hub.tokens.add(self.headers["Authorization"])
        path = self.path.split("?")[0]
        if hub.broken:
            return self._send(503)
        if path.startswith(("/api/models/o/none", "/o/none")):
            return self._send(404, error="RepoNotFound")
        if path.startswith("/o/gated/resolve"):
            return self._send(403, error="GatedRepo")
        if path.startswith("/api/models/"):
            return self._api(path.removeprefix("/api/models/").split("/"))
        revision, name = path.split("/resolve/")[1].split("/", 1)
        if name not in hub.files:
            return self._send(404, error="EntryNotFound")
        commit = hub.main if revision == "main" else revision
        return self._send(200, hub.files[name], {"X-Repo-Commit": commit, "ETag": f'"{name}"'})

    do_HEAD = do_GET  # noqa: N815 - http.server's naming

    def _api(self, parts: list[str]) -> None:
        repo, rest = "/".join(parts[:2]), parts[2:]
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", OLD, NEW):
            return self._send(404, error="RevisionNotFound")
        if rest[:1] == ["tree"]:
            listing = [
                {"type": "file", "path": name, "size": len(data), "oid": "c" * 40}
                for name, data in self.server.files.items()
            ]
            return self._send(200, json.dumps(listing).encode())
        commit = self.server.main if revision == "main" else revision
        info = {"id": repo, "sha": commit, "siblings": [], "tags": [], "private": False}
        if repo == "o/counted":
            info["safetensors"] = {"parameters": {"BF16": 1000}, "total": 1000}
        return self._send(200, json.dumps(info).encode())

    def _send(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, error: str = ""
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Start it and end it."""
    server = Hub()
    with services.serving(server):
        yield server
