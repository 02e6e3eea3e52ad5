"""Options of tasks as their examples give them."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobs.tasks.examples import EXAMPLES
from orchestration.options import as_values


def example_options(name: str, folder: Path) -> dict[str, Any]:
    """What the command of a task's example sets; the files that it names are put into `folder`."""
    example = EXAMPLES[name]
    for file, content in example.files.items():
        (folder / file).write_text(content)
    pairs = [word for flag, word in pairwise(shlex.split(example.command)) if flag == "--set"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return as_values("--set", pairs)
