"""The import hook of the environment: it helps a torchvision that cannot load, and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ENVIRONMENT = Path(__file__).parents[2] / "environment"

#: A torch that has what the hook uses, and tells what was done to it.
TORCH = """
class library:
    class Library:
        def __init__(self, name, kind): print("library", name, kind)
        def define(self, schema): print("define", schema.partition("(")[0])
class ops:
    @staticmethod
    def load_library(path):
        if open(path).read() != "loads": raise OSError("libcudart.so: cannot open")
        print("loaded")
"""


def run(folder: Path, script: str) -> list[str]:
    """Lines that the script prints in an interpreter with these stand-ins and the hook."""
    command = [
        sys.executable,
        "-S",
        "-c",
        f"import mediamill_cpu; mediamill_cpu.install()\n{script}",
    ]
    done = subprocess.run(
        command,
        env={"PYTHONPATH": f"{folder}:{ENVIRONMENT}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def stand_ins(folder: Path, library: str | None) -> None:
    (folder / "torch.py").write_text(TORCH)
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text("print('torchvision')")
    if library is not None:
        (folder / "torchvision" / "_C.so").write_text(library)


def test_a_library_that_does_not_load_gets_its_operators_named(tmp_path: Path) -> None:
    stand_ins(tmp_path, "needs cuda")
    assert run(tmp_path, "import torchvision") == [
        "library torchvision DEF",
        "define nms",
        "define qnms",
        "torchvision",
    ]


def test_a_library_that_loads_is_left_alone(tmp_path: Path) -> None:
    stand_ins(tmp_path, "loads")
    assert run(tmp_path, "import torchvision") == ["loaded", "torchvision"]


def test_nothing_happens_to_who_does_not_ask(tmp_path: Path) -> None:
    stand_ins(tmp_path, "needs cuda")
    assert run(tmp_path, "import json, sys; print('torch' in sys.modules)") == ["False"]


def test_no_torchvision_at_all(tmp_path: Path) -> None:
    script = "try: import torchvision\nexcept ModuleNotFoundError as error: print(error.name)"
    assert run(tmp_path, script) == ["torchvision"]
