"""What of the machine a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.machine import cores, memory

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


@pytest.mark.parametrize("told", ["nonsense\n", "", "1 2 3\n"])
def test_what_cannot_be_read_holds_nobody(groups: Path, told: str) -> None:
    own = groups.parent / "own"
    for name in ("cpu.max", "memory.max"):
        (groups / "pod/container" / name).write_text(told)
    assert count(groups) == SEEN
    assert memory(groups, own) == memory(groups, groups / "nowhere")


def test_without_groups_the_machine_holds_alone(groups: Path) -> None:
    assert cores(groups, groups / "nowhere") == SEEN
    assert memory(groups, groups / "nowhere") == memory(groups, groups.parent / "own")


def test_memory_is_the_machines_or_the_least_of_its_groups(groups: Path) -> None:
    own = groups.parent / "own"
    whole = memory(groups, own)
    assert whole == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    (groups / "pod/container/memory.max").write_text("max\n")
    assert memory(groups, own) == whole
    (groups / "pod/memory.max").write_text(f"{64 << 20}\n")
    assert memory(groups, own) == 64 << 20
    (groups / "pod/container/memory.max").write_text(f"{32 << 20}\n")
    assert memory(groups, own) == 32 << 20
