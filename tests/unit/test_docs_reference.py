"""The reference says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.pieces import Reading
from jobs.tasks.base import TaskOptions
from storage.blocks import HINTS
from storage.errors import ERROR_KINDS, RETRYABLE_KINDS
from workers.engine import EngineOptions

PAGE = (Path(__file__).parents[2] / "docs/reference.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> dict[str, list[str]]:
    """Cells behind the first, by the names in the first."""
    found = {}
    for line in section(title).splitlines():
        first, *others = [cell.strip() for cell in line.strip("|").split(" | ")]
        for name in re.findall(r"`(\w+)`", first) if line.startswith("| `") else ():
            found[name] = others
    return found


def test_every_kind_of_error_is_told_and_whether_it_passes() -> None:
    told = rows("Errors of a row")
    assert sorted(told) == sorted(ERROR_KINDS)
    assert {kind for kind, cells in told.items() if cells[-1].startswith("yes")} == RETRYABLE_KINDS


def test_every_engine_option_is_told() -> None:
    assert sorted(rows("Engine options")) == sorted(EngineOptions.model_fields)


def test_limits_are_those_of_the_decoders() -> None:
    [limits, _] = rows("Errors of a row")["too_large"]
    most = TaskOptions.model_fields["max_media_bytes"].default
    reading = Reading(frozenset({"image"}))
    for told in (
        f"{most >> 30} GiB",
        f"{reading.max_pixels // 10**6} million pixels",
        f"{reading.max_duration_s / 3600:g} hours",
    ):
        assert told in limits


@pytest.mark.parametrize("name", HINTS)
def test_columns_that_say_what_a_row_costs_are_told(name: str) -> None:
    assert name in rows("A manifest")
