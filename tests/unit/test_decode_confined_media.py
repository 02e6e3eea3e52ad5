"""Real decoders are confined, decode all that they decoded before, and say what is lacking."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image

from jobs.pieces import MediaInfo, Piece, Reading
from storage.errors import RowError
from tests.media import as_media, evenly, grey, speech, tone, write_sound, write_video
from tests.paper import pdf
from workers import decoder, wire
from workers.decode import Decoders

ALL = Reading(frozenset({"image", "audio", "video", "document"}))


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1, timeout_s=120)
    yield pool
    pool.close()


def the_process(pool: Decoders) -> Path:
    """The folder below /proc of a pool's one process."""
    (process,) = [*pool._idle, *pool._busy]
    return Path(f"/proc/{process.pid}")


def image(form: str) -> bytes:
    pillow_heif.register_heif_opener()
    buffer = BytesIO()
    Image.new("RGB", (64, 48), (10, 20, 30)).save(buffer, form)
    return buffer.getvalue()


def media(folder: Path) -> dict[str, tuple[Path, str, Reading]]:
    """A file of each kind that takes libraries of its own: path, kind, and how it is read."""
    for form in ("PNG", "JPEG", "HEIF", "AVIF", "TIFF"):
        (folder / form).write_bytes(image(form))
    (folder / "PDF").write_bytes(pdf("BT /F1 24 Tf 72 700 Td (words) Tj ET"))
    write_sound(folder / "speech.wav", speech("She sells sea shells by the sea shore."))
    film = folder / "film.mp4"
    write_video(film, evenly(100, 10), grey, rate=10, sound=tone(10.0))
    found = {form: (folder / form, "image", ALL) for form in ("PNG", "JPEG", "HEIF", "AVIF")}
    return found | {
        "TIFF": (folder / "TIFF", "image", ALL),
        "PDF": (folder / "PDF", "document", ALL),
        "speech": (folder / "speech.wav", "audio", ALL),
        "film": (film, "video", ALL),
        "frames": (film, "video", Reading(ALL.kinds, video="frames")),
        "scenes": (film, "video", Reading(ALL.kinds, windows="scenes")),
    }


def test_all_kinds_are_decoded_by_one_that_is_confined(decoders: Decoders, tmp_path: Path) -> None:
    pids = set()
    for name, (path, kind, reading) in media(tmp_path).items():
        for source in (path, path.read_bytes()):
            first, *pieces, last = decoders.decode(as_media(source, kind), reading, 0)
            assert isinstance(first, MediaInfo), name
            assert isinstance(last, MediaInfo), name
            assert pieces, name
            assert all(isinstance(piece, Piece) for piece in pieces), name
            pids.add(the_process(decoders))
    (process,) = pids
    status = (process / "status").read_text().split()
    assert status[status.index("Seccomp:") + 1] == "2"
    assert status[status.index("NoNewPrivs:") + 1] == "1"
    # Of root's capabilities no more than to read what is anybody's.
    assert int(status[status.index("CapPrm:") + 1], 16) & ~0b110 == 0


def test_a_picture_starts_no_program(
    decoders: Decoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow gives PostScript to Ghostscript, wherever that is installed."""
    program, ran = tmp_path / "gs", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\necho >> {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    buffer = BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "EPS")
    with pytest.raises(RowError) as caught:
        list(decoders.decode(as_media(buffer.getvalue(), "image"), ALL, 0))
    assert caught.value.kind == "corrupt"
    assert not ran.exists()
    assert len(list(decoders.decode(as_media(image("PNG"), "image"), ALL, 0))) == 3


def test_nobody_is_told_what_is_decoded(decoders: Decoders, tmp_path: Path) -> None:
    """ONNX Runtime has threads that send its makers telemetry, unless it is told not to."""
    path = write_sound(tmp_path / "a.wav", speech("She sells sea shells by the sea shore."))
    list(decoders.decode(as_media(path, "audio"), ALL, 0))
    process = the_process(decoders)
    assert "onnxruntime" in (process / "maps").read_text()
    assert len(list((process / "task").iterdir())) == 1


def test_a_medium_in_memory_leaves_nothing_to_the_next(decoders: Decoders, tmp_path: Path) -> None:
    for seconds in (20.0, 2.0, 8.0):
        path = write_sound(tmp_path / "a.wav", tone(seconds))
        *_, last = decoders.decode(as_media(path.read_bytes(), "audio"), ALL, 0)
        assert isinstance(last, MediaInfo)
        assert last.duration_s == pytest.approx(seconds)
        files = (the_process(decoders) / "fd").iterdir()
        (held,) = [file for file in files if "medium" in str(file.readlink())]
        assert held.stat().st_size == 0


def test_a_decoder_has_its_socket_and_nothing_else_of_its_worker(
    decoders: Decoders, tmp_path: Path
) -> None:
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        list(decoders.decode(as_media(image("PNG"), "image"), ALL, 0))
    files = {
        int(file.name): str(file.readlink()) for file in (the_process(decoders) / "fd").iterdir()
    }
    assert files.pop(0) == files.pop(1) == "/dev/null"
    files.pop(2)  # what libraries say goes where the worker's own goes
    kinds = sorted(name.partition(":")[0] for name in files.values())
    assert kinds == ["/memfd", "socket"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (PermissionError(errno.EPERM, "Operation not permitted"), "forbidden"),
        (OSError(errno.EMFILE, "Too many open files"), "corrupt"),
        (OSError(errno.EFBIG, "File too large"), "corrupt"),
    ],
)
def test_what_is_refused_costs_the_medium_alone(
    fault: OSError, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Iterator[Any]:
        raise fault
        yield

    monkeypatch.setattr(decoder, "decode", refused)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        for _ in range(2):
            wire.send(ours, {"kind": "image"})
            wire.send(ours, {"do": "next"})
            decoder._serve_one(theirs)
            answer, _ = wire.receive(ours)
            assert answer["error"][0] == kind
            assert str(fault.strerror) in answer["error"][1]


#: Puts itself where system calls 317 (seccomp) and 444 (Landlock) are refused, as some
#: containers do, and decodes by two processes.
_BARE = """
import ctypes, json, logging, struct, sys
from tests.unit.test_decode_confined_media import ALL, Decoders, as_media, image
given = ([0x20, 0, 0, 0], [0x15, 1, 0, int(sys.argv[1])], [0x15, 0, 1, 444],
         [0x06, 0, 0, 0x50001], [0x06, 0, 0, 0x7FFF0000])
code = b"".join(struct.pack("=HBBI", *each) for each in given)
held = ctypes.create_string_buffer(code, len(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("@HP", 5, ctypes.addressof(held)), 0, 0) == 0
class Told(logging.Handler):
    def emit(self, record):
        print(json.dumps([record.action, record.getMessage()]))
logging.getLogger("workers").addHandler(Told())
for _ in range(2):
    pool = Decoders(1)
    assert len(list(pool.decode(as_media(image("PNG"), "image"), ALL, 0))) == 3
    pool.close()
"""


def test_where_nothing_can_be_confined_the_log_says_so_once() -> None:
    number = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
    done = subprocess.run(
        [sys.executable, "-c", _BARE, str(number)], stdout=subprocess.PIPE, check=True, text=True
    )
    (line,) = done.stdout.splitlines()
    action, message = json.loads(line)
    assert action == "decoders_unconfined"
    assert "Landlock (Operation not permitted)" in message
    assert "seccomp (Operation not permitted), which keeps them off the network" in message


def test_where_all_is_confined_the_log_says_nothing(
    decoders: Decoders, caplog: pytest.LogCaptureFixture
) -> None:
    list(decoders.decode(as_media(image("PNG"), "image"), ALL, 0))
    assert not caplog.records
