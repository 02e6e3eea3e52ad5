"""`workers.sharing`'s process on a machine without CUDA: the probe finds what the test says."""

from __future__ import annotations

import os

from workers import sharing


def main(arguments: list[str]) -> None:
    """As the process' own, but for the probe."""
    sharing._PROBE = os.environ["MEDIAMILL_PROBE"]
    sharing.main(arguments)
