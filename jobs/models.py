"""Which model a name means: resolved to a fixed revision, with what it can take.

No weights are read here and no model library is imported: a submitting client has none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_serializer

from jobs import hub
from jobs.digest import folder_digest, parameters_in
from jobs.tasks.base import Ability
from storage.errors import InvalidJob

#: The model that the project ships; it runs on a laptop's CPU.
TINY = "tiny"

_SEES: frozenset[Ability] = frozenset({"image", "video"})
_HEARS: frozenset[Ability] = frozenset({"image", "video", "audio"})


class Model(BaseModel):
    """A model at a fixed revision.

    `name` and `revision` are what jobs and workers are matched by: a Hugging Face id
    and a commit, or a folder's name and a digest of its files. `path` is the folder,
    None for the hub. `abilities` are the media it takes; `parameters` is their number
    and `context` the longest prompt and answer in tokens, None if not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    revision: str
    path: str | None = None
    abilities: frozenset[Ability]
    parameters: float | None = None
    context: int | None = None

    @property
    def key(self) -> str:
        """`name@revision`, as engines name what they have loaded."""
        return f"{self.name}@{self.revision}"

    @field_serializer("abilities")
    def _in_order(self, abilities: frozenset[Ability]) -> list[Ability]:
        return sorted(abilities)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published Gemma 4: `parameters` in all, `context` in tokens."""

    name: str
    parameters: float
    abilities: frozenset[Ability]
    context: int


#: Google's instruction-tuned sizes, and quantised ones that vLLM loads.
KNOWN: tuple[KnownModel, ...] = (
    KnownModel("google/gemma-4-E2B-it", 5.10e9, _HEARS, 131_072),
    KnownModel("google/gemma-4-E4B-it", 7.94e9, _HEARS, 131_072),
    KnownModel("google/gemma-4-12B-it", 11.95e9, _HEARS, 262_144),
    KnownModel("google/gemma-4-26B-A4B-it", 25.81e9, _SEES, 262_144),
    KnownModel("google/gemma-4-31B-it", 31.27e9, _SEES, 262_144),
    KnownModel("google/gemma-4-E2B-it-qat-w4a16-ct", 5.10e9, _HEARS, 131_072),
    KnownModel("google/gemma-4-E4B-it-qat-w4a16-ct", 7.94e9, _HEARS, 131_072),
    KnownModel("google/gemma-4-12B-it-qat-w4a16-ct", 11.95e9, _HEARS, 262_144),
    KnownModel("google/gemma-4-31B-it-qat-w4a16-ct", 31.27e9, _SEES, 262_144),
    KnownModel("RedHatAI/gemma-4-E4B-it-FP8-dynamic", 7.94e9, _HEARS, 131_072),
    KnownModel("RedHatAI/gemma-4-26B-A4B-it-FP8-dynamic", 25.81e9, _SEES, 262_144),
    KnownModel("RedHatAI/gemma-4-31B-it-FP8-dynamic", 31.27e9, _SEES, 262_144),
)


def resolve(name: str, *, root: Path | None = None) -> Model:
    """The model that `name` means now: `tiny`, a folder, or a Hugging Face id (`id@revision`).

    `root` is the source tree that holds the tiny model. Hugging Face's own variables
    (token, cache, offline) hold. Raises InvalidJob for a model that is not there, may
    not be read or is no Gemma 4, and Transient when the hub does not answer.
    """
    if name == TINY:
        return _from_folder(TINY, _tiny_folder(root))
    if _is_path(name):
        folder = Path(name).expanduser().resolve()
        if not folder.is_dir():
            raise InvalidJob(
                f"model {name}: no such folder; a Hugging Face id has no leading / or ."
            )
        return _from_folder(folder.name, folder)
    return _from_hub(name)


def local_path(model: Model) -> str:
    """The folder with the model's files, fetched from the hub at its commit if need be.

    Raises InvalidJob if they are not to be had here, Transient when the hub does not answer.
    """
    if model.path is None:
        return hub.snapshot(model.name, model.revision)
    if Path(model.path).is_dir():
        return model.path
    raise InvalidJob(
        f"model {model.key}: {model.path} is not on this machine; copy the folder here"
    )


def _tiny_folder(root: Path | None) -> Path:
    tree = Path(__file__).resolve().parent.parent if root is None else root
    folder = tree / "models" / "tiny" / "checkpoint"
    if (folder / "config.json").is_file():
        return folder
    if (tree / "models" / "tiny").is_dir():
        raise InvalidJob(
            f"model tiny is not built in {folder}; run `make env`, or `python -m models.tiny.build`"
        )
    raise InvalidJob(
        f"model tiny comes with the source tree, and {tree} is none; clone the project, "
        "or name a Hugging Face id or a folder"
    )


def _is_path(name: str) -> bool:
    # An id has one slash at most and never begins like a path, so that a folder that
    # happens to be called `google` cannot shadow the hub.
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name


def _from_folder(name: str, folder: Path) -> Model:
    config = folder / "config.json"
    try:
        content = json.loads(config.read_bytes())
    except FileNotFoundError:
        raise InvalidJob(
            f"model {folder}: no config.json; it must be a checkpoint's folder"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidJob(f"model {folder}: config.json cannot be read: {error}") from error
    abilities, context = _read_config(str(folder), content)
    return Model(
        name=name,
        revision=folder_digest(folder),
        path=str(folder),
        abilities=abilities,
        parameters=parameters_in(folder),
        context=context,
    )


def _from_hub(name: str) -> Model:
    repo, _, asked = name.partition("@")
    found = hub.look_up(repo, asked or None)
    abilities, context = _read_config(name, found.config)
    known = next((k.parameters for k in KNOWN if k.name == repo), None)
    return Model(
        name=repo,
        revision=found.commit,
        abilities=abilities,
        parameters=found.parameters or known,
        context=context,
    )


def _read_config(name: str, config: Any) -> tuple[frozenset[Ability], int | None]:
    """Abilities and context of a checkpoint; raises InvalidJob if it is no Gemma 4."""
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in ("gemma4", "gemma4_unified"):
        known = ", ".join(k.name for k in KNOWN[:5])
        raise InvalidJob(f"model {name}: its config.json says {kind!r}, not gemma4; known: {known}")
    abilities: set[Ability] = set()
    if config.get("vision_config"):
        abilities |= _SEES
    if config.get("audio_config"):
        abilities.add("audio")
    text = config.get("text_config") or {}
    return frozenset(abilities), text.get("max_position_embeddings")
