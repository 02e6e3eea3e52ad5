"""Gather what training is made from into one folder: `python -m models.tiny.gather [FOLDER]`.

Voices, fonts, photographs and one human voice, all from packages: the wheels
`espeakng-loader` and `scikit-image`, and Debian's `libflite1`, `fonts-*` and
`asterisk-core-sounds-en*`. The machine that trains may have no network; the folder
(about 40 MB, not committed) travels with the checkout.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import tempfile
import wave
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parent / ".carry"
WHEELS = ("espeakng-loader==0.2.4", "scikit-image==0.26.0")
PACKAGES = (
    "libflite1",
    # flite's library asks for it, though nothing is played.
    "libasound2",
    "fonts-liberation",
    "fonts-dejavu-core",
    "fonts-freefont-ttf",
    "fonts-lato",
    "asterisk-core-sounds-en",
    "asterisk-core-sounds-en-wav",
)
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "LiberationSans-Regular",
    "LiberationSans-Bold", "LiberationSerif-Regular", "LiberationSerif-Bold",
    "LiberationSans-Italic", "LiberationMono-Regular", "LiberationSansNarrow-Regular",
    "FreeSans", "FreeSerif", "FreeSansBold", "Lato-Regular", "Lato-Bold", "Lato-Medium",
)  # fmt: skip
PHOTOS = (
    "astronaut.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg",
    "coffee.png", "grass.png", "gravel.png", "brick.png", "coins.png", "retina.jpg", "moon.png",
)  # fmt: skip
LANGUAGES = ("en", "de", "es", "fr")
FLITE = ("usenglish", "cmulex", "cmu_us_slt", "cmu_us_rms", "cmu_us_awb", "cmu_us_kal16")


def gather(folder: Path = FOLDER) -> Path:
    """Download the packages and unpack what is needed of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        _run(
            "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", ".", *WHEELS, at=work
        )
        _run("apt-get", "download", *PACKAGES, at=work)
        for package in work.glob("*.deb"):
            _run("dpkg", "-x", str(package), "root", at=work)
        for wheel in work.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(work / "wheels")
        unpack(work / "root", work / "wheels", folder)
    return folder


def unpack(root: Path, wheels: Path, folder: Path) -> None:
    """Take the files of use out of unpacked packages and wheels."""
    shutil.copytree(
        wheels / "espeakng_loader", folder / "espeakng_loader", dirs_exist_ok=True,
        ignore=_other_languages,
    )  # fmt: skip
    for name, files in (("fonts", FONTS), ("photos", PHOTOS), ("flite", ("", *FLITE))):
        (folder / name).mkdir(exist_ok=True)
        for file in files:
            if name == "fonts":
                source = next(root.rglob(f"{file}.ttf"))
            elif name == "photos":
                source = wheels / "skimage" / "data" / file
            else:
                stem = f"libflite_{file}" if file else "libflite"
                source = next(root.rglob(f"{stem}.so.1"))
            target = folder / name / source.name
            shutil.copyfile(source, target)
    shutil.copyfile(next(root.rglob("libasound.so.2")), folder / "flite" / "libasound.so.2")
    asterisk(root, folder / "asterisk.npz")


def _other_languages(folder: str, names: list[str]) -> set[str]:
    """What of espeak-ng is left behind: languages that nothing is said in."""
    kept = {f"{language}_dict" for language in LANGUAGES}
    return {
        name
        for name in names
        if (name.endswith("_dict") and name not in kept) or name.startswith("libespeak-ng.so.")
    }


def asterisk(root: Path, target: Path) -> None:
    """The recordings whose name has an even CRC-32, as 8 kHz samples by name, with texts."""
    texts = transcripts(root)
    kept: dict[str, Any] = {}
    for name in texts:
        path = next(iter(root.rglob(f"en_US_f_Allison/{name}.wav")), None)
        if path is not None and even(name):
            kept[name] = read_wave(path)
    np.savez_compressed(target, names=list(kept), texts=[texts[n] for n in kept], **kept)


def transcripts(root: Path) -> dict[str, str]:
    """What is said in each recording, by its name as in the transcript file."""
    path = next(root.rglob("core-sounds-en.txt.gz"))
    found = {}
    for line in gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines():
        name, colon, text = line.partition(":")
        # Beeps and silence are written in brackets.
        if colon and not line.startswith(";") and not text.strip().startswith(("[", "<", "(")):
            found[name.strip()] = text.strip()
    return found


def even(name: str) -> bool:
    """Whether a recording may be trained on; the odd ones are for the score alone."""
    return zlib.crc32(name.encode()) % 2 == 0


def read_wave(path: Path) -> npt.NDArray[np.int16]:
    """Samples of a mono 16-bit file."""
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def _run(*command: str, at: Path) -> None:
    subprocess.run(command, cwd=at, check=True, capture_output=True)


if __name__ == "__main__":
    print(gather(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
