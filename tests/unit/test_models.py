"""Models by name: the tiny one, folders, and the hub (a small one, served here)."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from jobs.catalog import BASE, SIZES, published_config, size_shape
from jobs.digest import folder_digest, parameters_in
from jobs.models import Model, check_abilities, folder_facts, inspect, local_path, resolve
from storage.errors import InvalidJob, Transient
from tests.unit.small_hub import CONFIG, NEW, OLD, Hub, serving


def checkpoint(folder: Path, **changes: Any) -> Path:
    """A folder with a config, a template and 24 parameters."""
    folder.mkdir(parents=True)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    header = json.dumps({
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3, 4], "data_offsets": [0, 96]},
    }).encode()  # fmt: skip
    weights = struct.pack("<Q", len(header)) + header + bytes(96)
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def tuned(folder: Path, size: str) -> Path:
    """A folder with the config of a published size."""
    checkpoint(folder)
    (folder / "config.json").write_text(json.dumps(published_config(size)))
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
        ("{tmp}/odd", "its config.json does not read"),
        ("{tmp}/layers", "its config.json does not read: IndexError"),
        ("{tmp}/cut", "model.safetensors is damaged"),
        ("{tmp}/base", "no chat template: base checkpoints .* whose name ends in -it"),
        ("{tmp}/words", "tokenizer_config.json cannot be read"),
    ],
)
def test_a_folder_that_is_no_model_says_why(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    checkpoint(tmp_path / "other", model_type="llama")
    checkpoint(tmp_path / "odd", text_config={"hidden_size": "wide"})
    checkpoint(tmp_path / "layers", text_config={"per_layer_config": {"99": {}}})
    for plain in ("base", "words"):
        (checkpoint(tmp_path / plain) / "chat_template.jinja").unlink()
    (tmp_path / "words" / "tokenizer_config.json").write_text("{")
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
    with pytest.raises(InvalidJob, match=r"comes with the source; `git checkout` it"):
        resolve("tiny", root=tmp_path)
    checkpoint(tmp_path / "models" / "tiny" / "checkpoint")
    assert resolve("tiny", root=tmp_path).name == "tiny"


def test_a_folder_that_is_gone_is_missed_by_name(tmp_path: Path) -> None:
    model = resolve(str(checkpoint(tmp_path / "m")))
    shutil.rmtree(tmp_path / "m")
    with pytest.raises(InvalidJob, match="is not on this machine"):
        local_path(model)


def test_a_fine_tune_is_known_by_its_config_and_not_by_its_name(tmp_path: Path) -> None:
    found = inspect(str(tuned(tmp_path / "gemma-4-E2B-it", "31B")))
    assert found.facts.shape == size_shape("31B")
    assert found.model.abilities == {"image", "video"}
    assert found.model.context == 262_144


@pytest.mark.parametrize("size", SIZES)
def test_a_base_folder_names_the_sibling_of_its_size(tmp_path: Path, size: str) -> None:
    folder = tuned(tmp_path / "mine", size)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InvalidJob, match=rf"instruction-tuned one \(google/gemma-4-{size}-it\)"):
        resolve(str(folder))
    assert resolve(str(folder), base=True).context
    # The template may be with the tokenizer too.
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    resolve(str(folder))


def test_packed_weights_are_not_counted_for_parameters(tmp_path: Path) -> None:
    packed = {"quant_method": "awq"}
    folder = checkpoint(tmp_path / "m", quantization_config=packed)
    found = inspect(str(folder))
    assert (found.facts.format, found.model.parameters) == (
        "awq",
        float(found.facts.shape.parameters),
    )
    assert found.facts.weight_bytes == (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").unlink()
    assert folder_facts(folder).weight_bytes > 1e9, "with no files it is what the config says"


def test_a_task_that_needs_ears_names_models_that_have_them() -> None:
    deaf = Model(name="deaf", revision="r", abilities=frozenset({"image", "video"}))
    with pytest.raises(InvalidJob) as caught:
        check_abilities(deaf, "transcribe", frozenset({"audio"}))
    assert str(caught.value) == (
        "task transcribe needs a model that takes audio; deaf takes image, video; choose "
        "google/gemma-4-E2B-it, google/gemma-4-E4B-it, google/gemma-4-12B-it, or tiny"
    )
    check_abilities(deaf, "caption", frozenset())
    check_abilities(deaf, "detect", frozenset({"image"}))


# --- the hub ---------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as server:
        # What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE set when the library is imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            server.url + template[template.index("/{repo_id}") :],
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        yield server


def test_a_hub_name_becomes_a_commit(hub: Hub) -> None:
    model = resolve("o/counted")
    assert (model.name, model.revision, model.path) == ("o/counted", NEW, None)
    assert (model.parameters, model.context) == (1000.0, 131072)
    assert model.abilities == {"image", "video", "audio"}
    assert resolve(f"o/counted@{OLD}").revision == OLD


def test_published_sizes_are_known_without_the_hubs_count(hub: Hub) -> None:
    hub.files["config.json"] = json.dumps(published_config("26B-A4B")).encode()
    model = resolve("google/gemma-4-26B-A4B-it")
    assert model.parameters == pytest.approx(25.81e9, rel=0.001)
    assert model.abilities == {"image", "video"}


@pytest.mark.parametrize("base", BASE, ids=lambda base: base.size)
def test_a_published_base_checkpoint_is_refused_before_the_hub_is_asked(base: Any) -> None:
    with pytest.raises(
        InvalidJob, match=rf"no chat template.*\({base.name}-it\), or .*prompt_format=raw"
    ):
        resolve(f"{base.name}@{NEW}")


def test_a_published_base_checkpoint_will_do_for_raw_prompts(hub: Hub) -> None:
    hub.files["config.json"] = json.dumps(published_config("E2B")).encode()
    assert resolve("google/gemma-4-E2B", base=True).key == f"google/gemma-4-E2B@{NEW}"


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
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_half_a_download_is_no_model(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    model = resolve("o/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidJob, match=r"model\.safetensors is missing.*models pull o/model@b"):
        local_path(model)
    folder = Path(constants.HF_HUB_CACHE) / "models--o--model" / "snapshots" / NEW
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "1.safetensors"}}')
    with pytest.raises(InvalidJob, match=r"1\.safetensors is missing"):
        local_path(model)
    index.write_text("[]")
    with pytest.raises(InvalidJob, match="is damaged"):
        local_path(model)
