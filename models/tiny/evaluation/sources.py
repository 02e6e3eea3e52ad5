"""What training never sees: photographs, faces of type, voices and recordings kept out of it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models.tiny.evaluation.packages import ROOT, package_folder
from models.tiny.gather import FONTS, even, read_wave, transcripts
from models.tiny.speech import Samples, Speaker
from models.tiny.voices import plain

HELD_OUT = ROOT / ".cache" / "held-out"
#: Photographs of scikit-image that are not among those of `gather`, nor a second view of one,
#: nor of print: a model that reads would not know whether to describe or to read it.
PHOTOS = ("camera.png", "clock_motion.png", "ihc.png", "cell.png")
#: Faces of the families that training reads, in cuts that it does not.
FACES = (
    "DejaVuSerif-Bold", "DejaVuSansMono-Bold", "LiberationSerif-Italic", "LiberationMono-Bold",
    "FreeSerifBold", "FreeSansOblique", "Lato-Semibold",
)  # fmt: skip
PACKAGES = (
    "fonts-liberation", "fonts-dejavu-core", "fonts-freefont-ttf", "fonts-lato",
    "asterisk-core-sounds-en", "asterisk-core-sounds-en-wav",
)  # fmt: skip
#: Samples a second of the recordings.
TELEPHONE_RATE = 8_000


@dataclass(frozen=True, slots=True)
class Recording:
    """One of the human recordings: what is said, as it is written down, and 8 kHz samples.

    `known`: a recording that may be trained on says the same words.
    """

    name: str
    text: str
    samples: Samples
    known: bool


class Sources:
    """Held-out sources, and the fonts of training, fetched into `folder` when first asked for."""

    def __init__(self, folder: Path = HELD_OUT) -> None:
        self._folder = folder

    @cached_property
    def speaker(self) -> Speaker:
        """espeak-ng of the installed wheel; a process has one."""
        return Speaker()

    @cached_property
    def photos(self) -> Path:
        """A folder of photographs that are no training grounds."""
        folder = self._folder / "photos"
        if not folder.is_dir() or {path.name for path in folder.iterdir()} != set(PHOTOS):
            shutil.rmtree(folder, ignore_errors=True)
            source = package_folder("scikit-image") / "skimage" / "data"
            _whole(folder, {name: source / name for name in PHOTOS})
        return folder

    @property
    def fonts(self) -> Path:
        """A folder of the fonts that training reads."""
        return self._debian / "fonts"

    @property
    def faces(self) -> Path:
        """A folder of fonts that training does not read."""
        return self._debian / "faces"

    @cached_property
    def recordings(self) -> list[Recording]:
        """The recordings whose name has an odd CRC-32 and that hold words, by name."""
        root = self._debian
        texts = transcripts(root)
        trained = {plain(text) for name, text in texts.items() if even(name)}
        found = []
        for name, text in sorted(texts.items()):
            path = root / "sounds" / f"{name}.wav"
            said = plain(text)
            if not even(name) and said and path.is_file():
                found.append(Recording(name, said, read_wave(path), said in trained))
        return found

    @cached_property
    def _debian(self) -> Path:
        target = self._folder / "debian"
        if not target.is_dir():
            with tempfile.TemporaryDirectory() as scratch:
                work = Path(scratch)
                _run("apt-get", "download", *PACKAGES, at=work)
                for package in work.glob("*.deb"):
                    _run("dpkg", "-x", str(package), "root", at=work)
                root = work / "root"
                files = {
                    f"{folder}/{name}.ttf": next(root.rglob(f"{name}.ttf"))
                    for folder, names in (("faces", FACES), ("fonts", FONTS))
                    for name in names
                }
                texts = next(root.rglob("core-sounds-en.txt.gz"))
                files[texts.name] = texts
                voice = next(root.rglob("en_US_f_Allison"))
                for path in voice.rglob("*.wav"):
                    # What may be trained on stays away, so that it cannot be scored by mistake.
                    name = path.relative_to(voice).with_suffix("").as_posix()
                    if not even(name):
                        files[f"sounds/{name}.wav"] = path
                _whole(target, files)
        return target


def _whole(folder: Path, files: dict[str, Path]) -> None:
    """Copy files into a new folder that has its name only once it is whole."""
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, source in files.items():
        target = unfinished / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    unfinished.rename(folder)


def _run(*command: str, at: Path) -> None:
    done = subprocess.run(command, cwd=at, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
