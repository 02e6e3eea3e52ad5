"""Models by name: the tiny one, folders, and the hub (a small one, served here)."""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from jobs.digest import folder_digest, parameters_in
from jobs.models import KNOWN, Model, local_path, resolve
from storage.errors import InvalidJob, Transient

CONFIG: dict[str, Any] = {
    "model_type": "gemma4",
    "vision_config": {"hidden_size": 8},
    "audio_config": {"hidden_size": 8},
    "text_config": {"max_position_embeddings": 131072},
}
OLD, NEW = "a" * 40, "b" * 40


def checkpoint(folder: Path, **changes: Any) -> Path:
    """A folder with a config and 24 parameters."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    header = json.dumps({
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3, 4], "data_offsets": [0, 96]},
    }).encode()  # fmt: skip
    weights = struct.pack("<Q", len(header)) + header + bytes(96)
    (folder / "model.safetensors").write_bytes(weights)
    return folder


# --- folders ---------------------------------------------------------------------------


def test_a_folder_says_what_it_takes(tmp_path: Path) -> None:
    model = resolve(str(checkpoint(tmp_path / "mine")))
    assert (model.name, model.path) == ("mine", str(tmp_path / "mine"))
    assert model.abilities == {"image", "video", "audio"}
    assert (model.parameters, model.context) == (24.0, 131072)
    assert len(model.revision) == 64
    assert model.key == f"mine@{model.revision}"
    assert local_path(model) == model.path
    deaf = resolve(str(checkpoint(tmp_path / "deaf", audio_config=None)))
    assert deaf.abilities == {"image", "video"}


def test_a_revision_follows_the_files_and_not_the_place(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "a" / "model")
    two = tmp_path / "b" / "model"
    shutil.copytree(one, two)
    (two / "README.md").write_text("words")
    (two / ".hidden").mkdir()
    (two / ".hidden" / "x").write_text("y")
    assert resolve(str(one)).key == resolve(str(two)).key
    (two / "tokenizer.json").write_text("{}")
    assert resolve(str(one)).revision != resolve(str(two)).revision
    weights = one / "model.safetensors"
    before = folder_digest(one)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert folder_digest(one) != before


def test_large_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.digest.REMEMBER_BYTES", 10)
    folder, cache = checkpoint(tmp_path / "m"), tmp_path / "cache" / "digests.json"
    first = folder_digest(folder, cache=cache)
    weights = folder / "model.safetensors"
    facts = weights.stat()
    content = weights.read_bytes()
    # Other bytes of the same size and time: only what was remembered gives the old digest.
    weights.write_bytes(content[:-1] + b"\1")
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert folder_digest(folder, cache=cache) == first
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert folder_digest(folder, cache=cache) != first
    cache.write_text("no JSON")
    weights.write_bytes(content)
    assert folder_digest(folder, cache=cache) == first


def test_a_model_survives_its_json(tmp_path: Path) -> None:
    model = resolve(str(checkpoint(tmp_path / "m")))
    text = model.model_dump_json()
    assert Model.model_validate_json(text) == model
    assert json.loads(text)["abilities"] == ["audio", "image", "video"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/folder", "no such folder"),
        ("./none", "no such folder"),
        ("{tmp}/empty", "no config.json"),
        ("{tmp}/broken", "config.json cannot be read"),
        ("{tmp}/other", "says 'llama', not gemma4; known: google/gemma-4-E2B-it"),
        ("{tmp}/list", "not gemma4"),
        ("{tmp}/cut", "model.safetensors is damaged"),
    ],
)
def test_a_folder_that_is_no_model_says_why(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    checkpoint(tmp_path / "other", model_type="llama")
    (checkpoint(tmp_path / "broken") / "config.json").write_text("{")
    (checkpoint(tmp_path / "list") / "config.json").write_text("[]")
    (checkpoint(tmp_path / "cut") / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(InvalidJob, match=message):
        resolve(name.format(tmp=tmp_path))


def test_parameters_of_a_folder_without_safetensors_are_not_known(tmp_path: Path) -> None:
    assert parameters_in(tmp_path) is None


def test_tiny_lies_in_the_source_tree(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="comes with the source tree"):
        resolve("tiny", root=tmp_path)
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    with pytest.raises(InvalidJob, match=r"run `make env`, or `python -m models.tiny.build`"):
        resolve("tiny", root=tmp_path)
    checkpoint(tmp_path / "models" / "tiny" / "checkpoint")
    assert resolve("tiny", root=tmp_path).name == "tiny"


def test_a_folder_that_is_gone_is_missed_by_name(tmp_path: Path) -> None:
    model = resolve(str(checkpoint(tmp_path / "m")))
    shutil.rmtree(tmp_path / "m")
    with pytest.raises(InvalidJob, match="is not on this machine"):
        local_path(model)


# --- the hub ---------------------------------------------------------------------------


class Hub(ThreadingHTTPServer):
    """As much of the hub as a model's look-up asks for. `broken` answers 503 to everything."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.main = NEW
        self.broken = False
        self.asked: list[str] = []
        self.files = {"config.json": json.dumps(CONFIG).encode(), "weights.gguf": b"no"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        hub = self.server
        hub.asked.append(self.path)
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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    # What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE set when the library is imported.
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + template[template.index("/{repo_id}") :]
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_name_becomes_a_commit(hub: Hub) -> None:
    model = resolve("o/counted")
    assert (model.name, model.revision, model.path) == ("o/counted", NEW, None)
    assert (model.parameters, model.context) == (1000.0, 131072)
    assert model.abilities == {"image", "video", "audio"}
    assert resolve(f"o/counted@{OLD}").revision == OLD


def test_published_sizes_are_known_without_the_hubs_count(hub: Hub) -> None:
    assert resolve(KNOWN[0].name).parameters == KNOWN[0].parameters


def test_a_moved_branch_is_seen_and_a_whole_commit_asks_nobody(hub: Hub) -> None:
    assert resolve("o/model").revision == NEW
    hub.main = OLD
    assert resolve("o/model").revision == OLD
    hub.asked.clear()
    assert resolve(f"o/model@{NEW}").revision == NEW
    assert hub.asked == []


def test_offline_the_cache_answers(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    online = resolve("o/model")
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve("o/model") == online
    with pytest.raises(InvalidJob, match="o/other is not in the cache and HF_HUB_OFFLINE is set"):
        resolve("o/other")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("o/none", "knows no such model"),
        ("o/gated", "is gated; accept its terms"),
        ("o/model@nowhere", "no such revision"),
        ("o/model name", "neither a folder nor a Hugging Face id"),
    ],
)
def test_what_the_hub_refuses_is_explained(hub: Hub, name: str, message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        resolve(name)


def test_a_repository_without_config_is_no_model(hub: Hub) -> None:
    del hub.files["config.json"]
    with pytest.raises(InvalidJob, match=r"no config\.json"):
        resolve("o/model")


def test_a_hub_that_does_not_answer_is_not_taken_for_an_old_copy(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve("o/model")
    hub.broken = True
    with pytest.raises(Transient, match="HF_HUB_OFFLINE=1"):
        resolve("o/model")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Transient, match="does not answer"):
        resolve("o/model")


def test_the_snapshot_leaves_out_what_vllm_does_not_load(hub: Hub) -> None:
    folder = Path(local_path(resolve("o/model")))
    assert folder.name == NEW
    assert [path.name for path in folder.iterdir()] == ["config.json"]
