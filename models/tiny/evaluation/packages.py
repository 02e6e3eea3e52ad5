"""Sample files out of packages, fetched once into `.cache/samples/`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: The checkout's root, where `.cache/` and `.demo/` lie.
ROOT = Path(__file__).resolve().parents[3]

_TARGET = ROOT / ".cache" / "samples"

#: Packages that carry sample media, at the versions whose files are named where they are used
#: (photographs behind the drawings of `models.tiny.evaluate`). They are unpacked beside the
#: environment, not installed: none of it is imported.
_PINS = {"scikit-image": "0.26.0"}


def package_folder(package: str) -> Path:
    """The folder into which `package` is unpacked, fetched now if it is not there yet.

    Raises SystemExit with what to do if it cannot be fetched.
    """
    folder = _TARGET / f"{package}-{_PINS[package]}"
    if (folder / ".complete").exists():
        return folder
    asked = f"{package}=={_PINS[package]}"
    complaints = []
    for installer in _installers():
        command = [*installer, "--quiet", "--no-deps", "--target", str(folder), asked]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        if done.returncode == 0:
            (folder / ".complete").touch()
            return folder
        complaints.append(done.stderr.strip())
    raise SystemExit(
        f"{asked} cannot be fetched; check the network and pip's settings\n" + "\n".join(complaints)
    )


def _installers() -> list[list[str]]:
    """pip first, which knows the user's settings; uv where Python came without pip."""
    pip = [sys._base_executable, "-m", "pip", "--disable-pip-version-check"]  # type: ignore[attr-defined]
    only_wheels = ["--only-binary", ":all:"]
    found = [[*pip, "install", "--root-user-action", "ignore", *only_wheels]]
    uv = ROOT / ".cache" / "uv" / "bin" / "uv"
    if uv.exists():
        found.append([str(uv), "pip", "install", *only_wheels, "--python", sys.executable])
    return found
