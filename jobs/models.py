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
from jobs.catalog import (
    KNOWN,
    Facts,
    format_of,
    hearing,
    published,
    size_of,
    tuned_sibling,
    weight_bytes,
)
from jobs.digest import folder_digest, parameters_in
from jobs.shape import TOWERED, UNIFIED, Shape, read_shape
from jobs.tasks.base import Ability
from storage.errors import InvalidJob

#: The model that the project ships; it runs on a laptop's CPU.
TINY = "tiny"


class Model(BaseModel):
    """A model at a fixed revision.

    `name` and `revision` are what jobs and workers are matched by: a Hugging Face id
    and a commit, or a folder's name and a digest of its files. `path` is the folder,
    None for the hub. `abilities` are the media it takes; `parameters` is their number,
    `active` how many of them a token is multiplied with, and `context` the longest prompt
    and answer in tokens, None if not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    revision: str
    path: str | None = None
    abilities: frozenset[Ability]
    parameters: float | None = None
    active: float | None = None
    context: int | None = None

    @property
    def key(self) -> str:
        """`name@revision`, as engines name what they have loaded."""
        return f"{self.name}@{self.revision}"

    @field_serializer("abilities")
    def _in_order(self, abilities: frozenset[Ability]) -> list[Ability]:
        return sorted(abilities)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model at a fixed revision, and what its files say of it."""

    model: Model
    facts: Facts


def resolve(name: str, *, base: bool = False, root: Path | None = None) -> Model:
    """The model that `name` means now; as `inspect`, which says more of it."""
    return inspect(name, base=base, root=root).model


def inspect(name: str, *, base: bool = False, root: Path | None = None) -> Checkpoint:
    """The model that `name` means now: `tiny`, a folder, or a Hugging Face id (`id@revision`).

    `root` is the source tree that holds the tiny model. Hugging Face's own variables
    (token, cache, offline) hold. Raises InvalidJob for a model that is not there, may
    not be read, is no Gemma 4 or was not tuned to answer (unless a `base` checkpoint will
    do), and Transient when the hub does not answer.
    """
    if name == TINY:
        return _from_folder(TINY, _tiny_folder(root), base)
    if _is_path(name):
        folder = Path(name).expanduser().resolve()
        if not folder.is_dir():
            raise InvalidJob(
                f"model {name}: no such folder; a Hugging Face id has no leading / or ."
            )
        return _from_folder(folder.name, folder, base)
    return _from_hub(name, base)


def check_abilities(model: Model, task: str, needs: frozenset[Ability]) -> None:
    """Raise InvalidJob, naming models that would do, if a task needs what the model lacks."""
    missing = needs - model.abilities
    if not missing:
        return
    advice = f"; choose {', '.join(hearing())}, or {TINY}" if missing == {"audio"} else ""
    raise InvalidJob(
        f"task {task} needs a model that takes {', '.join(sorted(missing))}; "
        f"{model.name} takes {', '.join(sorted(model.abilities)) or 'text alone'}{advice}"
    )


def folder_facts(folder: Path) -> Facts:
    """What a checkpoint's folder says of it, whatever its name; weights by their files' sizes.

    Raises InvalidJob if its config.json cannot be read or is not that of a Gemma 4.
    """
    config = _config_in(folder)
    shape = _shape(str(folder), config)
    weights = format_of(config)
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return Facts(shape, weights, stored or weight_bytes(shape, weights))


def local_path(model: Model) -> str:
    """The folder with the model's files, fetched from the hub at its commit if need be.

    Raises InvalidJob if they are not to be had here, Transient when the hub does not answer.
    """
    if model.path is None:
        folder = hub.snapshot(model.name, model.revision)
        # With no network the library is content with what a broken download has left.
        missing = _missing_weights(Path(folder))
        if missing is not None:
            raise InvalidJob(
                f"model {model.key}: only a part of it is in the cache ({missing} is missing); "
                f"fetch the rest with the network: mediamill models pull {model.key}"
            )
        return folder
    if Path(model.path).is_dir():
        return model.path
    raise InvalidJob(
        f"model {model.key}: {model.path} is not on this machine; copy the folder here"
    )


def _missing_weights(folder: Path) -> str | None:
    """A file of weights that the folder should have and has not; None if all are there."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return None if any(folder.glob("*.safetensors")) else "model.safetensors"
    try:
        named = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidJob(f"model file {index} is damaged: {error!r}; fetch it again") from error
    return next((name for name in sorted(named) if not (folder / name).is_file()), None)


def _tiny_folder(root: Path | None) -> Path:
    tree = Path(__file__).resolve().parent.parent if root is None else root
    folder = tree / "models" / "tiny" / "checkpoint"
    if (folder / "config.json").is_file():
        return folder
    if (tree / "models" / "tiny").is_dir():
        raise InvalidJob(
            f"model tiny is not in {folder}, where it comes with the source; `git checkout` it"
        )
    raise InvalidJob(
        f"model tiny comes with the source tree, and {tree} is none; clone the project, "
        "or name a Hugging Face id or a folder"
    )


def _is_path(name: str) -> bool:
    # An id has one slash at most and never begins like a path, so that a folder that
    # happens to be called `google` cannot shadow the hub.
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name


def _config_in(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError:
        raise InvalidJob(
            f"model {folder}: no config.json; it must be a checkpoint's folder"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidJob(f"model {folder}: config.json cannot be read: {error}") from error
    return _gemma(str(folder), content)


def _from_folder(name: str, folder: Path, base: bool) -> Checkpoint:
    facts = folder_facts(folder)
    if not (base or _has_template(folder)):
        raise _untuned(str(folder), size_of(facts.shape))
    # Packed weights count for fewer than they are.
    counted = parameters_in(folder) if facts.format == "bf16" else None
    model = Model(
        name=name,
        revision=folder_digest(folder),
        path=str(folder),
        abilities=facts.shape.abilities,
        parameters=counted or float(facts.shape.parameters),
        active=float(facts.shape.active),
        context=facts.shape.context,
    )
    return Checkpoint(model, facts)


def _from_hub(name: str, base: bool) -> Checkpoint:
    repo, _, asked = name.partition("@")
    known = published(repo)
    if not base and known is not None and not known.tuned:
        raise _untuned(repo, known.size)
    found = hub.look_up(repo, asked or None)
    config = _gemma(name, found.config)
    shape, weights = _shape(name, config), format_of(config)
    counted = found.parameters if weights == "bf16" else None
    model = Model(
        name=repo,
        revision=found.commit,
        abilities=shape.abilities,
        parameters=counted or float(shape.parameters),
        active=float(shape.active),
        context=shape.context,
    )
    return Checkpoint(model, Facts(shape, weights, weight_bytes(shape, weights)))


def _gemma(name: str, config: Any) -> dict[str, Any]:
    """The content of a config.json; raises InvalidJob if it is not that of a Gemma 4."""
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in (TOWERED, UNIFIED):
        known = ", ".join(k.name for k in KNOWN[:5])
        raise InvalidJob(f"model {name}: its config.json says {kind!r}, not gemma4; known: {known}")
    return dict(config)


def _shape(name: str, config: dict[str, Any]) -> Shape:
    try:
        return read_shape(config)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InvalidJob(f"model {name}: its config.json does not read: {error!r}") from error


def _has_template(folder: Path) -> bool:
    """Whether the folder's tokenizer has a chat template, where transformers looks for it."""
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        tokenizer = json.loads((folder / "tokenizer_config.json").read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise InvalidJob(
            f"model {folder}: tokenizer_config.json cannot be read: {error}"
        ) from error
    return isinstance(tokenizer, dict) and bool(tokenizer.get("chat_template"))


def _untuned(name: str, size: str | None) -> InvalidJob:
    sibling = tuned_sibling(size) if size is not None else "one whose name ends in -it"
    return InvalidJob(
        f"model {name} has no chat template: base checkpoints were not taught to answer; "
        f"use an instruction-tuned one ({sibling}), or give --set prompt_format=raw and a "
        "--set prompt=… that the answer goes on from"
    )
