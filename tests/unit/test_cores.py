"""Cores that a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.cores import cores

SEEN = 8


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(SEEN)))
    (tmp_path / "own").write_text("1:name=systemd:/elsewhere\n0::/pod/container\n")
    (tmp_path / "groups/pod/container").mkdir(parents=True)
    return tmp_path / "groups"


def count(groups: Path) -> int:
    return cores(groups, groups.parent / "own")


def test_without_a_quota_they_are_those_of_the_affinity(groups: Path) -> None:
    assert count(groups) == SEEN
    (groups / "pod/container/cpu.max").write_text("max 100000\n")
    assert count(groups) == SEEN


@pytest.mark.parametrize(
    ("quota", "whole"),
    [("400000", 4), ("250000", 2), ("50000", 1), ("9900000", SEEN)],
    ids=["whole", "rounded down", "under one", "more than there are"],
)
def test_a_quota_holds(groups: Path, quota: str, whole: int) -> None:
    (groups / "pod/container/cpu.max").write_text(f"{quota} 100000\n")
    assert count(groups) == whole


def test_the_tightest_of_the_groups_above_holds(groups: Path) -> None:
    (groups / "pod/container/cpu.max").write_text("600000 100000\n")
    (groups / "pod/cpu.max").write_text("300000 100000\n")
    assert count(groups) == 3


def test_what_cannot_be_read_holds_nobody(groups: Path) -> None:
    (groups / "pod/container/cpu.max").write_text("nonsense\n")
    assert count(groups) == SEEN
    assert cores(groups, groups / "nowhere") == SEEN
