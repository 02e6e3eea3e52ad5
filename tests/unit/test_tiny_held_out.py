"""What the score is taken on never reaches training: voices, recordings, photographs, fonts."""

from __future__ import annotations

import gzip
import random
import wave
from pathlib import Path

import numpy as np
import pytest

from models.tiny import gather, speech
from models.tiny.evaluation import sources
from models.tiny.evaluation.kinds import KINDS, seeds
from models.tiny.evaluation.sabotage import SABOTAGED
from models.tiny.rows import Writer
from models.tiny.speech import ACCENTS, HELD_OUT, VOICES, Manner, Said, draw_manner
from models.tiny.voices import LANGUAGES, Voices

TEXTS = {
    "activated": "Activated.",
    "agent-pass": "Please enter your password, followed by the pound key.",
    "digits/3": "three",
    "digits/7": "seven",
    "dir-nomatch": "No directory entries match your search.",
    "goodbye": "Goodbye.",
    "letters/zed": "zed",
    "vm-goodbye": "Goodbye!",
    "beep": "[a beep]",
}
#: Those with an even CRC-32.
EVEN = ["agent-pass", "digits/7", "goodbye", "letters/zed"]


class Noted:
    """Stands for espeak-ng: notes how it was asked to speak."""

    has_flite = True

    def __init__(self) -> None:
        self.manners: list[Manner] = []

    def say(self, text: str, manner: Manner) -> Said:
        self.manners.append(manner)
        return Said(np.ones(8000, np.int16), [])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Debian package of recordings, unpacked."""
    docs, voice = tmp_path / "root/usr/share/doc", tmp_path / "root/sounds/en_US_f_Allison"
    docs.mkdir(parents=True)
    lines = "".join(f"{name}: {text}\n" for name, text in TEXTS.items())
    (docs / "core-sounds-en.txt.gz").write_bytes(gzip.compress(lines.encode()))
    for number, name in enumerate(TEXTS):
        path = voice / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.full(800, number, np.int16).tobytes())
    return tmp_path / "root"


@pytest.fixture
def voices(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Voices, Noted]:
    """Training's own drawing of speech, with a silent speaker."""
    noted = Noted()
    monkeypatch.setattr("models.tiny.voices.Speaker", lambda folder: noted)
    gather.asterisk(root, tmp_path / "asterisk.npz")
    return Voices(tmp_path, Writer()), noted


def variant(manner: Manner) -> str:
    return manner.voice.partition("+")[2]


def test_voices_are_parted() -> None:
    assert not set(HELD_OUT) & set(VOICES)
    rng = random.Random(0)
    trained = {variant(draw_manner(rng)) for _ in range(5000)}
    assert trained == {*VOICES, ""}
    kept = {variant(draw_manner(rng, held_out=True)) for _ in range(500)}
    assert kept == set(HELD_OUT)


def test_training_never_speaks_in_a_held_out_voice(voices: tuple[Voices, Noted]) -> None:
    drawn, noted = voices
    rng = random.Random(1)
    languages = {drawn.draw(rng).language for _ in range(1500)}
    assert languages == {"English", *LANGUAGES}
    assert not {variant(manner) for manner in noted.manners} & set(HELD_OUT)
    noted.manners.clear()
    for _ in range(50):
        drawn.draw(rng, held_out=True)
    assert {variant(manner) for manner in noted.manners} <= set(HELD_OUT)


def test_training_hears_the_even_recordings_alone(
    voices: tuple[Voices, Noted], tmp_path: Path
) -> None:
    drawn, _ = voices
    rng = random.Random(2)
    # A recording's number is its loudness, which survives a change of pace.
    heard = {
        int(np.median(said.samples))
        for said in (drawn.draw(rng) for _ in range(2000))
        if said.human
    }
    assert heard == {n for n, name in enumerate(TEXTS) if name in EVEN}
    with np.load(tmp_path / "asterisk.npz") as kept:
        assert sorted(kept["names"]) == EVEN


def test_the_score_hears_the_odd_recordings_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack(*command: str, at: Path) -> None:
        if command[0] == "apt-get":
            (at / "all.deb").touch()
        else:
            (at / "root").symlink_to(root)

    for face in (*sources.FACES, *gather.FONTS):
        (root / f"{face}.ttf").touch()
    monkeypatch.setattr(sources, "_run", unpack)
    held = sources.Sources(tmp_path / "held-out")
    names = {recording.name for recording in held.recordings}
    assert names == set(TEXTS) - {*EVEN, "beep"}
    # Said in a recording of training, too.
    assert {recording.name for recording in held.recordings if recording.known} == {"vm-goodbye"}
    files = {p.stem for p in (tmp_path / "held-out").rglob("*.wav")}
    assert not files & {Path(name).name for name in EVEN}
    assert {path.stem for path in held.faces.iterdir()} == set(sources.FACES)
    assert {path.stem for path in held.fonts.iterdir()} == set(gather.FONTS)
    # Kept: nothing is fetched a second time.
    monkeypatch.setattr(sources, "_run", None)
    # What strayed into the folder is not scored either.
    stray = tmp_path / "held-out/debian/sounds/goodbye.wav"
    stray.write_bytes((root / "sounds/en_US_f_Allison/goodbye.wav").read_bytes())
    again = sources.Sources(tmp_path / "held-out").recordings
    assert {recording.name for recording in again} == names


def test_which_recordings_may_be_trained_on() -> None:
    assert [name for name in TEXTS if gather.even(name)] == EVEN


def test_photographs_and_faces_are_parted() -> None:
    assert not set(sources.PHOTOS) & set(gather.PHOTOS)
    assert not set(sources.FACES) & set(gather.FONTS)


def test_every_voice_is_one_of_its_own() -> None:
    """espeak-ng takes a variant that it does not have for the plain voice, without a word."""
    folder = speech._installed() / "espeak-ng-data/voices/!v"
    contents: dict[str, str] = {}
    for name in {*VOICES, *HELD_OUT} - {""}:
        lines = (folder / name).read_text().splitlines()
        contents[name] = "\n".join(line for line in lines if not line.startswith(("name", "//")))
    for name in HELD_OUT:
        assert [n for n, text in contents.items() if text == contents[name]] == [name]


def test_accents_and_languages_are_spoken() -> None:
    speaker = speech.Speaker()
    for voice in {*ACCENTS, *LANGUAGES.values()}:
        assert len(speaker.say("hello", Manner(voice, 150, 50, 50)).samples) > 1600
    with pytest.raises(ValueError, match="no voice"):
        speaker.say("hello", Manner("xx-none", 150, 50, 50))


def test_items_have_seeds_of_their_own() -> None:
    names = [*KINDS, *SABOTAGED]
    assert len(set(names)) == len(names)
    drawn = {seeds(kind, seed, n).random() for kind in names for seed in (0, 1) for n in range(20)}
    assert len(drawn) == len(names) * 40
