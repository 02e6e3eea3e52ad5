"""The tables that a URI names: Parquet files, or a dataset that `datasets` saved to disk.

`Dataset.save_to_disk` writes a folder of Arrow streams, `data-*.arrow`, whose order is in
`state.json`; `DatasetDict.save_to_disk` writes a folder of such folders, one a split, named
in `dataset_dict.json`.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from storage.errors import InvalidManifest
from storage.listing import Listing, is_pattern, parse_pattern
from storage.objects import is_local, local_path, open_store, split_uri

_PARQUET = frozenset({".parquet", ".pq"})
_STATE, _SPLITS = "state.json", "dataset_dict.json"


def find_tables(uri: str) -> tuple[list[str], str]:
    """The whole URIs of the tables, in order, and what relative URIs in them resolve against.

    Raises InvalidManifest if there are none, Forbidden, StoreUnavailable.
    """
    is_parquet = PurePosixPath(uri).suffix.lower() in _PARQUET
    if is_pattern(uri):
        if not is_parquet:
            raise _no_tables(uri)
        return _listed(uri, parse_pattern(uri))
    if is_parquet and (not is_local(uri) or not local_path(uri).is_dir()):
        whole = str(local_path(uri)) if is_local(uri) else uri
        return [whole], split_uri(uri)[0]
    saved = saved_files(uri)
    if saved is not None:
        root = open_store(uri.rstrip("/")).uri
        return [f"{root}/{name}" for name in saved], root
    return _listed(uri, parse_pattern(f"{escaped(uri.rstrip('/'))}/*.parquet"))


def saved_files(uri: str) -> list[str] | None:
    """Names of the streams of the dataset saved in this folder; None if none is.

    Raises InvalidManifest for one that must be named or saved otherwise, Forbidden,
    StoreUnavailable.
    """
    state = _document(uri, _STATE)
    if state is None:
        splits = _document(uri, _SPLITS)
        if splits is None:
            return None
        names = splits.get("splits", [])
        raise InvalidManifest(
            f"{uri}: a dataset of several splits ({', '.join(names)}); say which, as in "
            f"{uri.rstrip('/')}/{next(iter(names), 'train')}"
        )
    if state.get("_indices_data_files"):
        raise InvalidManifest(
            f"{uri}: a selection of rows that an old version of datasets saved; save it again "
            "after flatten_indices()"
        )
    files = [file["filename"] for file in state.get("_data_files", [])]
    if not files:
        raise InvalidManifest(f"{uri}: {_STATE} names no files; save the dataset again")
    return files


def escaped(uri: str) -> str:
    """The URI with characters that a pattern would read as wildcards taken literally."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in uri)


def _listed(uri: str, listing: Listing) -> tuple[list[str], str]:
    files = [whole for _, whole, _ in listing.find()]
    if not files:
        raise _no_tables(uri)
    return files, listing.root


def _no_tables(uri: str) -> InvalidManifest:
    return InvalidManifest(
        f"{uri}: no table with a media column; --media-column goes with .parquet files (one, a "
        "folder or a pattern) and with the folder of a dataset saved by save_to_disk"
    )


def _document(uri: str, name: str) -> dict[str, Any] | None:
    store = open_store(uri.rstrip("/"))
    if store.head(name) is None:
        return None
    try:
        document = json.loads(store.get(name))
    except ValueError as error:
        raise InvalidManifest(f"{uri}/{name}: not JSON ({error}); save it again") from error
    return document if isinstance(document, dict) else None
