"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def cores(groups: Path = _GROUPS, own: Path = _OWN_GROUP) -> int:
    """Cores by affinity, and by the quota of its container, where it has one; at least 1.

    A container that may have four cores' time of a host of 64 sees all 64 of them. Its quota is
    read of version 2 of control groups, from its own group up to the root.
    """
    try:
        allowed = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # not on macOS
        allowed = float(os.cpu_count() or 1)
    try:
        named = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::/"))
    except (OSError, StopIteration):
        return max(1, int(allowed))
    folder = groups / named.strip("/")
    for group in (folder, *folder.parents):
        if not group.is_relative_to(groups):
            break
        try:
            quota, period = (group / "cpu.max").read_text().split()
        except (OSError, ValueError):  # the root has none
            continue
        if quota != "max":
            allowed = min(allowed, int(quota) / int(period))
    return max(1, int(allowed))
