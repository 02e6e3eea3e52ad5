"""Sound: of a moment and of hours, of odd rates and channels, and of samples that are no number."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.hostile.case import OK, Case, Expected, expect
from tests.media import tone, write_sound

#: Container and codec of the sounds that FFmpeg writes here.
CODECS = (
    ("wav", "pcm_s16le"),
    ("wav", "pcm_u8"),
    ("flac", "flac"),
    ("mp3", "libmp3lame"),
    ("m4a", "aac"),
    ("ogg", "libopus"),
    ("mka", "ac3"),
    ("wma", "wmav2"),
    ("tta", "tta"),
    ("aiff", "pcm_s16be"),
    ("au", "pcm_s16be"),
    ("caf", "alac"),
)


def sound(
    folder: Path, suffix: str, codec: str, samples: npt.NDArray[Any], rate: int = 48_000,
    layout: str = "mono", **options: str,
) -> bytes:  # fmt: skip
    """A sound file's bytes."""
    return write_sound(folder / f"a.{suffix}", samples, codec, rate, layout, **options).read_bytes()


def wav(
    body: bytes, rate: int = 16_000, channels: int = 1, bits: int = 16, code: int = 1,
    length: int | None = None,
) -> bytes:  # fmt: skip
    """A WAV by hand: what its header says, whatever follows."""
    block = channels * bits // 8
    head = struct.pack(
        "<HHIIHH", code, channels, rate, rate * block & 0xFFFF_FFFF, block & 0xFFFF, bits
    )
    size = len(body) if length is None else length
    parts = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (size + 36) & 0xFFFF_FFFF) + parts + body


def moments() -> list[Case]:
    """Five milliseconds, in every codec, and less."""
    found = []
    for suffix, codec in CODECS:

        def make(folder: Path, suffix: str = suffix, codec: str = codec) -> bytes:
            return sound(folder, suffix, codec, tone(0.005, 440, 48_000))

        # No more than a part of a frame of WMA, which its decoder keeps; TTA is not known.
        said = {"wmav2": expect("corrupt"), "tta": expect("wrong_kind")}.get(codec, expect(OK))
        found.append(Case("moment", f"{codec}.{suffix}", said, make))
    found.append(Case("moment", "one.wav", expect(OK), lambda _: wav(b"\1\0")))
    found.append(Case("moment", "half.wav", expect("corrupt"), lambda _: wav(b"\1")))
    found.append(Case("moment", "none.wav", expect("corrupt"), lambda _: wav(b"")))
    return found


_HOURS = 3 * 3600


def _silent_wav(path: Path, rate: int, channels: int, bits: int, code: int = 1) -> None:
    """Three hours of zeros: a file with a hole, which takes no room."""
    size = _HOURS * rate * channels * bits // 8
    with path.open("wb") as file:
        file.write(wav(b"", rate, channels, bits, code, length=size))
        file.truncate(file.tell() + size)


def _packed_silence(path: Path, codec: str, rate: int) -> None:
    """Three hours that a codec made small."""
    write_sound(path, np.zeros(_HOURS * rate, np.float32), codec, rate)


def hours() -> list[Case]:
    """Three hours of silence: no window, and no memory for it."""
    said = expect(OK)
    raw = [(8_000, 1, 16, 1), (16_000, 1, 16, 1), (8_000, 2, 16, 1), (4_000, 1, 16, 1),
           (8_000, 1, 32, 3), (8_000, 1, 24, 1), (11_025, 1, 16, 1), (2_000, 1, 32, 1)]  # fmt: skip
    found = []
    for form in raw:

        def write(path: Path, form: tuple[int, int, int, int] = form) -> None:
            _silent_wav(path, *form)

        name = "-".join(map(str, form))
        found.append(Case("hours", f"{name}.wav", said, write=write, slow=True))
    for suffix, codec, rate in (("flac", "flac", 8_000), ("mp3", "libmp3lame", 8_000),
                                ("m4a", "aac", 8_000), ("mka", "flac", 8_000)):  # fmt: skip

        def pack(path: Path, suffix: str = suffix, codec: str = codec, rate: int = rate) -> None:
            made = path.with_name(f"packed.{suffix}")
            _packed_silence(made, codec, rate)
            made.rename(path)

        found.append(Case("hours", f"{codec}.{suffix}", said, write=pack, slow=True))
    return found


def rates() -> list[Case]:
    """Rates that nobody records at, and that nobody can."""
    # One packet of 1 Hz would be hours long, and a filter for 2 GHz takes gigabytes.
    odd: dict[int, Expected] = {
        1: expect("corrupt"), 7: expect("corrupt"), 50: expect("corrupt"),
        999: expect(OK), 3_333: expect(OK),
        8_001: expect(OK), 12_345: expect(OK), 37_800: expect(OK), 44_056: expect(OK),
        96_000: expect(OK), 192_000: expect(OK), 384_000: expect(OK), 768_000: expect(OK),
        0: expect("corrupt"), 2**31 - 1: expect("corrupt"), 2**32 - 1: expect("corrupt"),
    }  # fmt: skip
    found = []
    for rate, said in odd.items():
        count = max(min(rate, 200_000), 16)
        body = (tone(count / 16_000)[:count] * 32_767).astype("<i2").tobytes()
        found.append(Case("rates", f"{rate}.wav", said, lambda _, b=body, r=rate: wav(b, r)))
    return found


def channels() -> list[Case]:
    """Numbers of channels from none to more than a header should hold."""
    said: dict[int, Expected] = {
        3: expect(OK), 4: expect(OK), 5: expect(OK), 6: expect(OK), 7: expect(OK), 8: expect(OK),
        11: expect(OK), 16: expect(OK), 24: expect(OK), 33: expect(OK), 64: expect(OK),
        0: expect("corrupt"), 255: expect("corrupt"), 65_535: expect("corrupt"),
    }  # fmt: skip
    found = []
    for count, outcome in said.items():
        body = np.repeat((tone(0.3) * 32_767).astype("<i2"), min(count, 255) or 1).tobytes()
        found.append(
            Case("channels", f"{count}.wav", outcome, lambda _, b=body, c=count: wav(b, channels=c))
        )
    return found


def no_numbers() -> list[Case]:
    """Float samples that are no number, or endless."""
    count = 16_000
    plain = tone(1.0).astype(np.float64)
    some, most, endless = plain.copy(), np.full(count, np.nan), plain.copy()
    some[::97] = np.nan
    endless[::89], endless[::83] = np.inf, -np.inf
    tiny = plain * 1e-310
    signalling = np.frombuffer(b"\1\0\xa0\x7f" * count, "<f4")
    huge = np.full(count, 3e38)
    patterns = {"some": some, "all": most, "endless": endless, "tiny": tiny,
                "signalling": signalling, "huge": huge}  # fmt: skip
    found = []
    for name, values in patterns.items():
        for bits in (32, 64):
            with np.errstate(all="ignore"):
                body = values.astype(f"<f{bits // 8}").tobytes()
            found.append(
                Case("nan", f"{name}-{bits}.wav", expect(OK),
                     lambda _, b=body, n=bits: wav(b, bits=n, code=3))
            )  # fmt: skip
    return found


def headers() -> list[Case]:
    """Headers whose numbers do not fit together."""
    body = (tone(0.5) * 32_767).astype("<i2").tobytes()
    made: dict[str, tuple[bytes, Expected]] = {
        "no-bits.wav": (wav(body, bits=0), expect(OK, "corrupt")),
        "bits-255.wav": (wav(body, bits=255), expect("corrupt")),
        "no-such-code.wav": (wav(body, code=0x7777), expect("corrupt")),
        "endless.wav": (wav(body, length=2**32 - 1), expect(OK)),
        "lies-long.wav": (wav(body, length=len(body) * 100), expect("corrupt")),
        "lies-short.wav": (wav(body, length=100), expect(OK)),
        "twelve.wav": (wav(body, bits=12), expect(OK, "corrupt")),
    }
    return [Case("headers", name, said, lambda _, d=data: d) for name, (data, said) in made.items()]


def cases() -> list[Case]:
    """All of this room."""
    return [*moments(), *hours(), *rates(), *channels(), *no_numbers(), *headers()]
