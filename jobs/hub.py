"""The Hugging Face hub, behind two calls; the only place that knows its library."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import InvalidJob, Transient

#: Seconds that the hub may take to answer; a command must complain within 10.
ANSWER_S = 5.0

#: What a checkpoint's repository may hold besides what vLLM loads.
_NEEDLESS = ["*.gguf", "*.pth", "*.onnx", "*.h5", "*.msgpack", "*.tflite", "original/*", "*.md"]


@dataclass(frozen=True, slots=True)
class Found:
    """A model of the hub at one commit: its config.json, and its parameters if it says so."""

    commit: str
    config: Any
    parameters: float | None = None


def look_up(repo: str, revision: str | None) -> Found:
    """The model `repo` at a branch, tag or commit (None: its main branch).

    With HF_HUB_OFFLINE, or for a whole commit that is there already, the cache answers.
    Raises InvalidJob when it is not to be had, Transient when the hub does not answer.
    """
    with _translated(repo, revision):
        # Heavy to import, and most calls name a folder.
        from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache

        cached = try_to_load_from_cache(repo, "config.json", revision=revision)
        parameters = None
        whole = isinstance(cached, str) and _commit(cached) == revision
        if not (whole or constants.HF_HUB_OFFLINE):
            # Asked first, since the download below would quietly take an old copy from
            # the cache when the hub is away.
            info = HfApi().model_info(repo, revision=revision, timeout=ANSWER_S)
            if info.safetensors is not None:
                parameters = float(info.safetensors.total)
        path = hf_hub_download(repo, "config.json", revision=revision, etag_timeout=ANSWER_S)
        try:
            config = json.loads(Path(path).read_bytes())
        except ValueError as error:
            raise InvalidJob(f"model {repo}: its config.json is no JSON: {error}") from error
        return Found(_commit(path), config, parameters)


def snapshot(repo: str, commit: str) -> str:
    """The folder with all files of `repo` at a commit, fetched if they are not in the cache.

    Raises InvalidJob when they are not to be had, Transient when the hub does not answer.
    """
    with _translated(repo, commit):
        from huggingface_hub import snapshot_download

        return snapshot_download(repo, revision=commit, ignore_patterns=_NEEDLESS)


def _commit(path: str) -> str:
    # The cache's layout is public: models--OWNER--NAME/snapshots/COMMIT/FILE.
    return Path(path).parent.name


@contextmanager
def _translated(repo: str, revision: str | None) -> Iterator[None]:
    """Turn the library's errors into ours."""
    # Read by the library when it is first imported; it reports nothing about its users.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import constants, errors

    name = f"{repo}@{revision}" if revision else repo
    try:
        yield
    except errors.GatedRepoError as error:
        raise InvalidJob(
            f"model {name} is gated; accept its terms on its page and set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InvalidJob(
            f"model {name}: the hub knows no such model, or it is private; check the name, "
            "set HF_TOKEN for a private one, or give a folder as ./NAME"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InvalidJob(f"model {name}: the hub has the model, but no such revision") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        if not constants.HF_HUB_OFFLINE:
            raise _silent(name, error) from error
        raise InvalidJob(
            f"model {name} is not in the cache and HF_HUB_OFFLINE is set; "
            "fetch it once with the network, or unset it"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InvalidJob(f"model {name}: the repository has no config.json") from error
    except errors.HFValidationError as error:
        raise InvalidJob(
            f"model {name}: neither a folder nor a Hugging Face id: {error}"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status < 500 and status not in (408, 429):
            raise InvalidJob(
                f"model {name}: the hub refuses with {status}; check HF_TOKEN"
            ) from error
        raise _silent(name, error) from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # httpx', of either name
        raise _silent(name, error) from error


def _silent(name: str, error: Exception) -> Transient:
    return Transient(
        f"model {name}: the Hugging Face hub does not answer ({type(error).__name__}); try again, "
        "or set HF_HUB_OFFLINE=1 to use what is in the cache"
    )
