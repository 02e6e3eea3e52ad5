"""What of the machine this process may use: cores and memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def cores(groups: Path = _GROUPS, own: Path = _OWN_GROUP) -> int:
    """Cores by affinity, and by the quota of its container, where it has one; at least 1.

    A container that may have four cores' time of a host of 64 sees all 64 of them.
    """
    try:
        allowed = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # not on macOS
        allowed = float(os.cpu_count() or 1)
    for quota in _told("cpu.max", groups, own):
        with contextlib.suppress(ValueError):  # "max", or nothing that is known
            most, period = quota
            allowed = min(allowed, int(most) / int(period))
    return max(1, int(allowed))


def memory(groups: Path = _GROUPS, own: Path = _OWN_GROUP) -> int:
    """Bytes of memory that the machine has, or that its container may take if that is less."""
    allowed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for quota in _told("memory.max", groups, own):
        with contextlib.suppress(ValueError):
            (most,) = quota
            allowed = min(allowed, int(most))
    return allowed


def _told(name: str, groups: Path, own: Path) -> Iterator[list[str]]:
    """The words of such a file of each of its control groups (version 2), up to the root."""
    try:
        named = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::/"))
    except (OSError, StopIteration):
        return
    folder = groups / named.strip("/")
    for group in (folder, *folder.parents):
        if not group.is_relative_to(groups):
            return
        try:
            yield (group / name).read_text().split()
        except OSError:  # the root has none
            continue
