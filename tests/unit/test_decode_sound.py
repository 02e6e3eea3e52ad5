"""Sound of any container and codec comes out at 16 kHz, mono, on the medium's own clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.pieces import MediaInfo, Piece, Reading
from storage.errors import RowError
from tests.media import (
    RATE,
    Floats,
    cut_short,
    evenly,
    flipped,
    grey,
    silence,
    speech,
    tone,
    write_sound,
    write_video,
)
from workers.container import Account, announced_s, frames, opened, seek
from workers.sound import sound
from workers.streams import decode_streams

READING = Reading(frozenset({"audio", "video"}), video="sound")
TEXT = "The quick brown fox jumps over the lazy dog."


def read(
    path: Path, max_s: float = 3600.0, begin_s: float = 0.0, end_s: float = inf
) -> tuple[Floats, list[str]]:
    with opened(str(path)) as container:
        stream = container.streams.audio[0]
        account = Account(announced_s(container, stream), begin_s, end_s)
        samples = np.concatenate(list(sound(container, stream, account, max_s)))
        return samples, account.settle()


def decoded(path: Path, reading: Reading = READING) -> tuple[MediaInfo, list[Piece]]:
    first, *pieces, last = decode_streams(str(path), reading, 0)
    assert isinstance(first, MediaInfo)
    assert isinstance(last, MediaInfo)
    assert all(isinstance(piece, Piece) for piece in pieces)
    return last, pieces  # type: ignore[return-value]


def refusal(path: Path, reading: Reading = READING) -> RowError:
    with pytest.raises(RowError) as caught:
        list(decode_streams(str(path), reading, 0))
    return caught.value


def click(at_s: float, seconds: float, rate: int) -> Floats:
    """Silence with a burst of 10 ms at a time, which every codec keeps in its place."""
    samples = np.zeros(round(seconds * rate), np.float32)
    first = round(at_s * rate)
    count = rate // 100
    samples[first : first + count] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(count) / rate)
    return samples


def heard_at(samples: Floats) -> float:
    """Seconds at which sound first reaches a quarter of its loudest."""
    loud = np.abs(samples)
    return float(np.argmax(loud > loud.max() / 4)) / RATE


@pytest.mark.parametrize(
    ("name", "codec", "rate", "options"),
    [
        ("a.wav", "pcm_s16le", 8_000, {}),
        ("a.wav", "pcm_s24le", 44_100, {}),
        ("a.wav", "pcm_f32le", 96_000, {}),
        ("a.wav", "pcm_u8", 22_050, {}),
        ("a.wav", "adpcm_ima_wav", 16_000, {}),
        ("a.flac", "flac", 48_000, {}),
        ("a.mp3", "libmp3lame", 44_100, {}),
        ("b.mp3", "libmp3lame", 44_100, {"q": "2"}),
        ("a.ogg", "libopus", 48_000, {}),
        ("a.opus", "libopus", 48_000, {}),
        ("a.webm", "libopus", 48_000, {}),
        ("a.m4a", "aac", 44_100, {}),
        ("a.mp4", "alac", 44_100, {}),
        ("a.aac", "aac", 32_000, {}),
        ("a.mka", "flac", 16_000, {}),
        ("a.wma", "wmav2", 44_100, {}),
        ("a.ac3", "ac3", 48_000, {}),
        ("a.ts", "aac", 48_000, {}),
        ("a.avi", "pcm_s16le", 16_000, {}),
        ("a.mov", "pcm_s16be", 16_000, {}),
    ],
)
def test_times_are_those_of_the_medium(
    tmp_path: Path, name: str, codec: str, rate: int, options: dict[str, str]
) -> None:
    path = write_sound(tmp_path / name, click(1.25, 3.0, rate), codec, rate, **options)
    samples, notes = read(path)
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 1.0
    assert abs(len(samples) / RATE - 3.0) < 0.15
    # These have nowhere to say how long their encoder's delay is.
    assert abs(heard_at(samples) - 1.25) < (0.08 if name in ("a.aac", "a.ts", "a.wma") else 0.02)
    assert notes == []


def test_a_sine_keeps_pitch_and_level(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(2.0, 1000.0, 44_100), "pcm_f32le", 44_100)
    samples, _ = read(path)
    assert len(samples) == 32_000
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) == 2000  # of bins of half a hertz
    assert np.sqrt(np.mean(samples[4000:-4000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


def test_above_8_khz_is_filtered_not_folded(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1.0, 12_000.0, 48_000), "pcm_f32le", 48_000)
    samples, _ = read(path)
    assert np.abs(samples[1000:-1000]).max() < 0.01


@pytest.mark.parametrize(
    ("layout", "channels"), [("stereo", 2), ("5.1", 6), ("7.1", 8), ("quad", 4)]
)
def test_equal_channels_keep_their_level(tmp_path: Path, layout: str, channels: int) -> None:
    planes = np.tile(tone(1.0), (channels, 1))
    path = write_sound(tmp_path / "a.wav", planes, "pcm_f32le", RATE, layout)
    samples, _ = read(path)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("channel", [0, 1])
def test_no_channel_is_dropped(tmp_path: Path, channel: int) -> None:
    planes = np.zeros((2, RATE), np.float32)
    planes[channel] = tone(1.0)
    samples, _ = read(write_sound(tmp_path / "a.wav", planes, "pcm_f32le", RATE, "stereo"))
    assert np.abs(samples).max() == pytest.approx(0.25, abs=0.01)


def test_floats_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    loud = 6 * tone(1.0)
    loud[100:120] = np.nan
    samples, _ = read(write_sound(tmp_path / "a.wav", loud, "pcm_f32le"))
    assert samples.max() == 1.0
    assert samples.min() == -1.0
    assert np.isfinite(samples).all()


def test_a_stream_that_starts_late(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4",
        evenly(100, 25),
        grey,
        sound=click(0.5, 2.0, RATE),
        sound_start_s=1.5,
    )
    samples, _ = read(path)
    assert heard_at(samples) == pytest.approx(2.0, abs=0.03)


@pytest.mark.parametrize("name", ["a.mka", "a.mp4"])
def test_a_gap_in_the_timestamps_is_silence(tmp_path: Path, name: str) -> None:
    both = np.concatenate([click(0.5, 1.0, 48_000), click(0.5, 1.0, 48_000)])
    codec = "flac" if name == "a.mka" else "aac"
    path = write_sound(tmp_path / name, both, codec, 48_000, gaps=((1.0, 3.0),))
    samples, _ = read(path)
    assert heard_at(samples) == pytest.approx(0.5, abs=0.03)
    assert 3.5 + heard_at(samples[round(3.5 * RATE) :]) == pytest.approx(4.5, abs=0.05)
    assert len(samples) / RATE == pytest.approx(5.0, abs=0.1)


def test_timestamps_that_jump_back_lose_nothing(tmp_path: Path) -> None:
    one = write_sound(tmp_path / "1.ts", tone(2.0, rate=48_000), "aac", 48_000, start_s=50.0)
    two = write_sound(tmp_path / "2.ts", tone(3.0, rate=48_000), "aac", 48_000)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    samples, notes = read(joined)
    assert len(samples) / RATE == pytest.approx(5.0, abs=0.3)
    assert "timestamps_jump" in notes
    assert decoded(joined)[0].duration_s == pytest.approx(5.0, abs=0.3)


def test_blocks_are_about_four_seconds(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(10.0))
    with opened(str(path)) as container:
        blocks = list(sound(container, container.streams.audio[0], Account(), 60.0))
    assert [len(block) // 1000 for block in blocks[:-1]] == [64] * (len(blocks) - 1)
    assert sum(map(len, blocks)) == 160_000


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.wav", "pcm_s16le"),
        ("a.avi", "pcm_s16le"),
        ("a.aiff", "pcm_s16be"),
        ("a.flac", "flac"),
        ("a.mp3", "libmp3lame"),
        ("a.m4a", "aac"),
        ("a.mka", "flac"),
        ("a.webm", "libopus"),
    ],
)
def test_half_a_file_is_corrupt(tmp_path: Path, name: str, codec: str) -> None:
    rate = 48_000
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, 20 * rate).astype(np.float32)
    options = {"movflags": "faststart"} if name == "a.m4a" else {}
    path = write_sound(tmp_path / name, noise, codec, rate, **options)
    assert refusal(cut_short(path, 0.5)).kind == "corrupt"
    assert refusal(cut_short(path, 0.01)).kind == "corrupt"


def test_half_a_percent_missing_is_a_warning(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", np.concatenate([speech(TEXT), tone(100.0)]))
    info, pieces = decoded(cut_short(path, 0.995))
    assert info.warnings == ("truncated",)
    assert pieces[0].span.start_s == 0.0


def test_damage_in_the_middle(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, 20 * RATE).astype(np.float32)
    path = write_sound(tmp_path / "a.flac", noise, "flac")
    error = refusal(flipped(path, seed=3, count=4000))
    assert error.kind == "corrupt"
    assert "of 20.00 s" in error.message


def test_silence_has_no_speech(tmp_path: Path) -> None:
    for samples in (silence(5.0), tone(5.0)):
        info, pieces = decoded(write_sound(tmp_path / "a.wav", samples))
        assert pieces == []
        assert info.warnings == ("no_speech",)
        assert info.duration_s == pytest.approx(5.0)


def test_very_short_sound(tmp_path: Path) -> None:
    info, pieces = decoded(write_sound(tmp_path / "a.wav", tone(0.01)))
    assert pieces == []
    assert info.warnings == ("no_speech",)


def test_no_samples_at_all(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1.0))
    header_only = tmp_path / "b.wav"
    header_only.write_bytes(path.read_bytes()[:78])
    assert refusal(header_only).kind == "corrupt"


def test_cover_art_does_not_make_a_video(tmp_path: Path) -> None:
    """An MP3 with an ID3 picture, as shops sell them."""
    mp3 = write_sound(tmp_path / "a.mp3", speech(TEXT), "libmp3lame").read_bytes()
    picture = tmp_path / "p.jpg"
    from PIL import Image

    Image.fromarray(grey(3)).save(picture)
    body = b"\0image/jpeg\0\3\0" + picture.read_bytes()
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = len(frame)
    head = b"ID3\3\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    start = 10 + sum(byte << shift for byte, shift in zip(mp3[6:10], (21, 14, 7, 0), strict=True))
    tagged = tmp_path / "tagged.mp3"
    tagged.write_bytes(head + frame + mp3[start:])
    info, pieces = decoded(tagged, Reading(frozenset({"audio"})))
    assert info.kind == "audio"
    assert len(pieces) == 1


def test_one_still_picture_does_not_make_a_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [0.0], grey, sound=speech(TEXT))
    info, pieces = decoded(path, Reading(frozenset({"audio"})))
    assert info.kind == "audio"
    assert len(pieces) == 1


def test_an_mp4_with_sound_alone_is_audio(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mp4", speech(TEXT), "aac")
    assert decoded(path)[0].kind == "audio"
    error = refusal(path, Reading(frozenset({"video", "image"})))
    assert error.kind == "wrong_kind"
    assert "audio" in error.message


def test_a_video_without_sound(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", evenly(25, 25), grey)
    assert refusal(path).kind == "no_audio"


def test_a_video_for_its_sound(tmp_path: Path) -> None:
    spoken = np.concatenate([silence(1.0), speech(TEXT), silence(1.0)])
    path = write_video(
        tmp_path / "a.mp4", evenly(round(25 * len(spoken) / RATE), 25), grey, sound=spoken
    )
    info, (piece,) = decoded(path)
    assert (info.kind, info.width, info.height) == ("video", 64, 48)
    assert piece.images == ()
    assert piece.clip is None
    assert piece.span.start_s == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.wav", "pcm_s16le", 8_000),
        ("a.flac", "flac", 48_000),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.ogg", "libopus", 48_000),
        ("a.webm", "libopus", 48_000),
        ("a.m4a", "aac", 44_100),
        ("a.aac", "aac", 32_000),
        ("a.wma", "wmav2", 44_100),
        ("a.ts", "aac", 48_000),
        ("a.mov", "pcm_s16be", 16_000),
    ],
)
def test_a_part_is_sought_and_not_decoded_up_to(
    tmp_path: Path, name: str, codec: str, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sound(tmp_path / name, click(40.25, 60.0, rate), codec, rate)
    whole, _ = read(path)
    counted = 0

    def counting(*arguments: Any) -> Iterator[Any]:
        nonlocal counted
        for frame in frames(*arguments):
            counted += frame.samples
            yield frame

    monkeypatch.setattr("workers.sound.frames", counting)
    part, notes = read(path, begin_s=35.0, end_s=45.0)
    assert len(part) == 10 * RATE
    assert 35.0 + heard_at(part) == pytest.approx(heard_at(whole), abs=0.002)
    assert counted < 18 * rate  # key packets may lie five seconds apart
    assert notes == []


def test_a_container_that_seeks_too_far_is_read_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sound(tmp_path / "a.wav", click(20.25, 30.0, RATE))
    sought: list[float] = []

    def guessing(container: Any, to_s: float) -> bool:
        sought.append(to_s)
        return seek(container, to_s + 15 if to_s else 0.0)

    monkeypatch.setattr("workers.sound.seek", guessing)
    part, notes = read(path, begin_s=10.0)
    assert sought == [8.0, 0.0]
    assert len(part) == 20 * RATE
    assert 10.0 + heard_at(part) == pytest.approx(20.25, abs=0.001)
    assert notes == []


def test_times_of_a_part_are_those_of_the_file(tmp_path: Path) -> None:
    spoken = speech(TEXT)
    parts = [silence(8.0), spoken, silence(8.0), spoken, silence(8.0)]
    second = sum(map(len, parts[:3])) / RATE
    path = write_sound(tmp_path / "a.flac", np.concatenate(parts), "flac")
    info, (piece,) = decoded(path, replace(READING, start_s=second - 3, end_s=second + 10))
    assert piece.span.start_s == pytest.approx(second, abs=0.3)
    assert piece.span.end_s == pytest.approx(second + len(spoken) / RATE, abs=0.3)
    assert info.duration_s == pytest.approx(sum(map(len, parts)) / RATE)
    # In the middle of the words: what begins there is of the part, and nothing before it.
    _, (piece,) = decoded(path, replace(READING, start_s=second + 1, end_s=second + 2))
    assert (piece.span.start_s, piece.span.end_s) == (second + 1, second + 2)
    assert len(piece.sounds[0]) == RATE
    info, pieces = decoded(path, replace(READING, end_s=5.0))
    assert pieces == []
    assert info.warnings == ("no_speech",)
    # An end beyond the end is the end.
    assert len(decoded(path, replace(READING, start_s=second, end_s=7000.0))[1]) == 1


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.aac", "aac")])
def test_a_part_beyond_the_end_is_a_fault_of_the_row(tmp_path: Path, name: str, codec: str) -> None:
    path = write_sound(tmp_path / name, tone(5.0), codec)
    error = refusal(path, replace(READING, start_s=8.0, end_s=9.0))
    assert error.kind == "invalid_row"
    assert "start_s is 8, but the sound ends at 5." in error.message


def test_the_limit_is_of_the_part(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(60.0))
    limited = replace(READING, max_duration_s=20.0)
    assert "set start_s and end_s" in refusal(path, limited).message
    assert refusal(path, replace(limited, start_s=30.0)).kind == "too_large"
    assert decoded(path, replace(limited, start_s=30.0, end_s=50.0))[0].duration_s == 60.0
    # Damage elsewhere is not missed.
    half = cut_short(path, 0.5)
    assert refusal(half).kind == "corrupt"
    assert decoded(half, replace(READING, start_s=5.0, end_s=20.0))[0].warnings == ("no_speech",)


def test_longer_than_allowed(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(5.0))
    assert refusal(path, Reading(frozenset({"audio"}), max_duration_s=4.9)).kind == "too_large"
    assert decoded(path, Reading(frozenset({"audio"}), max_duration_s=5.1))[0].duration_s == 5.0
    unannounced = write_sound(tmp_path / "a.aac", tone(5.0), "aac")
    error = refusal(unannounced, Reading(frozenset({"audio"}), max_duration_s=4.0))
    assert error.kind == "too_large"


@pytest.mark.parametrize(
    "content",
    [
        b"no sound at all, and long enough to be looked at" * 100,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"RIFF\x24\0\0\0WAVEfmt ",
    ],
)
def test_what_is_no_sound_is_corrupt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert refusal(path).kind == "corrupt"


def test_a_playlist_reads_no_other_file(tmp_path: Path) -> None:
    write_sound(tmp_path / "secret.ts", tone(1.0, rate=48_000), "aac", 48_000)
    path = tmp_path / "list.m3u8"
    path.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n"
    )
    assert refusal(path).kind == "corrupt"


def test_every_bit_flip_ends_well(tmp_path: Path) -> None:
    """Whatever is broken, the outcome is pieces or a RowError."""
    spoken = np.concatenate([speech(TEXT)] * 2)
    outcomes: list[Any] = []
    for name, codec in (("a.m4a", "aac"), ("a.ogg", "libopus"), ("a.mp3", "libmp3lame")):
        path = write_sound(tmp_path / name, spoken, codec, RATE)
        for seed in range(15):
            try:
                outcomes.append(len(decoded(flipped(path, seed, 8, skip=0))[1]))
            except RowError as error:
                outcomes.append(error.kind)
    assert set(outcomes) <= {0, 1, 2, "corrupt", "too_large", "wrong_kind", "no_audio"}
