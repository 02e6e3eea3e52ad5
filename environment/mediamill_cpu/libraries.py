"""What each package needs before its first import, if its own library cannot load."""

import ctypes
import importlib.machinery
import sys
from pathlib import Path

#: Operators of torchvision's library that its Python files name while they are imported.
TORCHVISION_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[object] = []


def prepare(name: str) -> None:
    """Make `name` ("torchvision" or "vllm") importable; does nothing where it already is."""
    if name == "torchvision":
        _torchvision()
    elif name == "vllm":
        _libnuma()


def _torchvision() -> None:
    """Define torchvision's operators by name if its library does not load.

    A torchvision built for CUDA beside a torch built for the CPU is such a case: its
    Python files import once the names exist, and Gemma 4's processor runs none of them.
    """
    spec = importlib.machinery.PathFinder.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return
    folder = Path(next(iter(spec.submodule_search_locations)))
    library = next(folder.glob("_C.*so"), folder / "_C.so")
    try:
        import torch
    except ImportError:
        return  # torchvision's own import says so better
    try:
        torch.ops.load_library(str(library))
    except (ImportError, OSError):
        operators = torch.library.Library("torchvision", "DEF")
        for operator in TORCHVISION_OPERATORS:
            operators.define(operator)
        _kept.append(operators)  # they live as long as the object does


def _libnuma() -> None:
    """Load the environment's own libnuma if the system has none.

    vLLM's kernels for CPUs link to it; where nobody could install it, `make env` puts
    it into the environment's lib folder.
    """
    own = Path(sys.prefix) / "lib" / "libnuma.so.1"
    if own.exists():
        ctypes.CDLL(str(own), mode=ctypes.RTLD_GLOBAL)
