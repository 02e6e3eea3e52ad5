"""Flags that several commands share, and how flags become settings and values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Place = Annotated[str, typer.Argument(metavar="OUT", help="the job's output place")]
Json = Annotated[bool, typer.Option("--json", help="print JSON for programs")]
BrokerUrl = Annotated[
    str | None, typer.Option("--broker-url", help="Redis; default MEDIAMILL_BROKER_URL")
]
LogLevel = Annotated[
    str | None, typer.Option("--log-level", help="DEBUG (libraries too), INFO, WARNING, ERROR")
]


def as_values(flag: str, pairs: list[str] | None) -> dict[str, Any]:
    """`key=value` pairs as values: JSON where it reads as JSON, else text.

    `key=@FILE` takes the value from a file; a text that begins with @ is written @@.
    """
    values: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{flag} {pair}: write it as key=value")
        if text.startswith("@@"):
            values[key] = text[1:]
            continue
        if text.startswith("@"):
            text = _content(flag, pair, Path(text[1:]).expanduser())
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    return values


def _content(flag: str, pair: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{flag} {pair}: {path} cannot be read: {error}") from error
