"""Hours of media through whole rows: every second asked about once, in flat memory.

Rows, decode processes and their memory are real, and the engine is scripted: what it
would be asked is what is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
import psutil
import pytest

from storage.media import Media, MediaSource
from storage.records import Record
from tests.media import RATE, Floats, as_media, silence, speech, tone
from tests.unit.fakes import MemoryStore
from tests.unit.row_bench import Bench
from tests.unit.scripted import FAST, ScriptedEngine, plan_job
from workers.engine import Request
from workers.services import Services

#: Bytes that a decode process may hold at its peak.
MEMORY = 1_000_000_000
#: Frames a second of the films here.
FPS = 5

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "She sells sea shells by the sea shore.",
    "Nobody expects rain on a day like this one.",
    "Please bring me seven green apples and a chair.",
    "We will meet again at the old bridge behind the mill, when the bells have rung twice.",
)
#: Seconds of silence between sentences: within a thought, between two, between speakers.
PAUSES = (0.4, 0.7, 0.5, 1.2, 0.4, 3.0, 0.6, 0.3, 25.0)


class Shelf:
    """One file, whatever is asked for."""

    def __init__(self, path: Path, kind: str) -> None:
        self._media = as_media(path, kind)

    def fetch(self, uri: str, *, max_bytes: int, base: str | None = None) -> Media:
        return self._media

    def close(self) -> None:
        pass


@dataclass
class Heard:
    """What the engine was asked about one file, and the record that came of it."""

    record: Record
    spans: list[tuple[float, float]]
    #: The highest resident memory of any decode process, in bytes.
    memory: int


@dataclass
class Watch:
    """Looks at each request as it comes, and at what the decoders hold by then."""

    look: Callable[[Request], None]
    spans: list[tuple[float, float]] = field(default_factory=list)
    memory: int = 0

    def __call__(self, request: Request) -> str:
        span = request.piece.span
        # Several sounds in one request have no times of their own.
        start_s, end_s = span.start_s or 0.0, span.end_s or 0.0
        self.spans.append((start_s, end_s))
        self.look(request)
        # Often enough: it is the kernel's own record of the highest.
        if len(self.spans) % 10 == 1:
            self.memory = max(self.memory, *_peaks())
        return f"{start_s:.3f}-{end_s:.3f}"


def _peaks() -> Iterator[int]:
    yield 0
    for child in psutil.Process().children():
        status = Path(f"/proc/{child.pid}/status").read_text()
        if "VmHWM" in status:
            yield int(status.partition("VmHWM:")[2].split()[0]) * 1024


class Forgetful(ScriptedEngine):
    """Keeps no requests: their media would be hours of sound."""

    def submit(self, request: Request) -> Any:
        answer = super().submit(request)
        self.asked.clear()
        return answer


def through(
    path: Path,
    kind: str,
    task: str,
    look: Callable[[Request], None] = lambda request: None,
    **options: Any,
) -> Heard:
    """The file as a job of one row."""
    watch = Watch(look)
    engine = Forgetful(watch)
    shelf = cast("MediaSource", Shelf(path, kind))
    with closing(
        Services(engine, shelf, worker="w", tempo=FAST, fetchers=1, decoders=1, in_hand=path.parent)
    ) as services:
        store = MemoryStore()
        job = plan_job(store, [["file:long"]], task=task, options=options)
        (record,) = Bench(services, store, job).make_all()
        budgets = (services.ahead, services.decoding, services.in_engine)
        assert [budget.holders for budget in budgets] == [0, 0, 0]
    assert record.status == "ok", record.error
    return Heard(record, sorted(watch.spans), watch.memory)


class Recorder:
    """Writes a file as it comes, so that the test's own memory stays flat too."""

    def __init__(self, path: Path, sound: str, video: str | None = None) -> None:
        self._container = av.open(str(path), "w")
        self._video: Any = None
        if video is not None:
            self._video = self._container.add_stream(
                video, rate=FPS, options={"preset": "ultrafast"}
            )
            self._video.width, self._video.height, self._video.pix_fmt = 160, 96, "yuv420p"
            self._video.codec_context.gop_size = 10 * FPS
            self._video.bit_rate = 400_000
        self._sound: Any = self._container.add_stream(
            sound,
            rate=RATE,
            layout="mono",
            options={"aac_coder": "fast"} if sound == "aac" else {},
        )
        context = self._sound.codec_context
        self._resampler = av.AudioResampler(
            context.format, "mono", RATE, frame_size=context.frame_size or 4096
        )
        self._frames = self._samples = 0

    def hear(self, samples: Floats) -> None:
        frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._samples, Fraction(1, RATE)
        self._samples += len(samples)
        for ready in self._resampler.resample(frame):
            self._container.mux(self._sound.encode(ready))

    def see(self, picture: npt.NDArray[np.uint8]) -> None:
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = self._frames, Fraction(1, FPS)
        self._frames += 1
        self._container.mux(self._video.encode(frame))

    def close(self) -> None:
        for ready in self._resampler.resample(None):
            self._container.mux(self._sound.encode(ready))
        for stream in filter(None, (self._sound, self._video)):
            self._container.mux(stream.encode(None))
        self._container.close()


@cache
def talk() -> tuple[Floats, tuple[tuple[float, float], ...]]:
    """Some minutes of sentences and pauses, and where each sentence lies, in seconds."""
    parts: list[Floats] = []
    spoken: list[tuple[float, float]] = []
    at = 0
    for number in range(9 * len(TEXTS)):
        sentence = speech(TEXTS[number % len(TEXTS)])
        pause = silence(PAUSES[number % len(PAUSES)])
        spoken.append((at / RATE, (at + len(sentence)) / RATE))
        parts += [sentence, pause]
        at += len(sentence) + len(pause)
    return np.concatenate(parts), tuple(spoken)


@pytest.mark.parametrize(
    ("name", "codec", "seconds"),
    [
        ("a.flac", "flac", 400),
        pytest.param("a.mp3", "libmp3lame", 7200, marks=pytest.mark.full),
    ],
)
def test_hours_of_sound(tmp_path: Path, name: str, codec: str, seconds: int) -> None:
    block, of_block = talk()
    times = -(-seconds * RATE // len(block))
    spoken = [
        (start + number * len(block) / RATE, end + number * len(block) / RATE)
        for number in range(times)
        for start, end in of_block
    ]
    path = tmp_path / name
    with closing(Recorder(path, codec)) as recorder:
        for _ in range(times):
            recorder.hear(block)

    def sounds_as_it_should(request: Request) -> None:
        (sound,) = request.piece.sounds
        span = request.piece.span
        assert len(sound) == span.end - span.start <= 15 * RATE
        first = span.start % len(block)
        expected = np.resize(np.roll(block, -first), len(sound))
        assert np.corrcoef(sound, expected)[0, 1] > 0.95

    heard = through(path, "audio", "transcribe", sounds_as_it_should)
    assert heard.memory < MEMORY
    assert [(s["start_s"], s["end_s"]) for s in heard.record.columns["segments"]] == heard.spans
    assert all(before[1] <= after[0] for before, after in pairwise(heard.spans))
    _all_said(spoken, heard.spans)
    # Segments begin and end with sentences.
    starts, ends = np.array(spoken).T
    for start_s, end_s in heard.spans:
        assert np.abs(starts - start_s).min() < 0.5
        assert np.abs(ends - end_s).min() < 0.5


def _all_said(spoken: Sequence[tuple[float, float]], spans: Sequence[tuple[float, float]]) -> None:
    """Each sentence lies in the spans, which adjoin where one is cut; soft edges may be out."""
    for start_s, end_s in spoken:
        covered = sum(max(0.0, min(end_s, b) - max(start_s, a)) for a, b in spans)
        assert covered >= end_s - start_s - 0.2, (start_s, end_s)


def test_a_speech_longer_than_a_request_is_heard_whole(tmp_path: Path) -> None:
    """One breath of 45 s: transformers alone would hear 30 s of it."""
    sentence = " ".join(text.rstrip(".") for text in TEXTS)
    sound = np.concatenate([silence(1.0), *[speech(sentence)] * 6])[: 46 * RATE]
    sound = np.concatenate([sound, silence(1.0)])
    path = tmp_path / "a.flac"
    with closing(Recorder(path, "flac")) as recorder:
        recorder.hear(sound)
    heard = through(path, "audio", "transcribe")
    assert len(heard.spans) >= 4
    _all_said([(1.0, 46.0)], heard.spans)
    together: list[Request] = []
    heard = through(path, "audio", "describe-audio", together.append)
    (request,) = together
    assert len(request.piece.sounds) > 1
    assert sum(map(len, request.piece.sounds)) / RATE == pytest.approx(45.0, abs=0.5)


def _noise(kind: str, seconds: int) -> Floats:
    """Silence, or noise whose power falls with the frequency (pink) or does not (white)."""
    if kind == "silence":
        return silence(seconds)
    noise = np.random.default_rng(4).standard_normal(seconds * RATE)
    if kind == "pink":
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        noise = np.fft.irfft(spectrum, len(noise))
    return (0.2 * noise / noise.std()).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("seconds", [60, pytest.param(600, marks=pytest.mark.full)])
@pytest.mark.parametrize("kind", ["silence", "white", "pink"])
def test_where_nobody_speaks_nothing_is_asked(tmp_path: Path, kind: str, seconds: int) -> None:
    path = tmp_path / "a.mp3"
    with closing(Recorder(path, "libmp3lame")) as recorder:
        recorder.hear(_noise(kind, seconds))
    heard = through(path, "audio", "transcribe")
    assert heard.spans == []
    assert heard.record.text == ""
    assert heard.record.columns["segments"] == []
    assert heard.record.warnings == ["no_speech"]


#: Lengths of scenes in seconds: short ones join their neighbours, long ones are cut evenly.
LENGTHS = (3.0, 12.0, 0.4, 47.0, 1.6, 95.0, 29.8, 200.0)


def _cuts(seconds: float) -> list[float]:
    """Where scenes begin."""
    cuts, at = [0.0], 0.0
    while at < seconds:
        for length in LENGTHS:
            at += length
            cuts.append(round(at, 3))
    return [cut for cut in cuts if cut < seconds]


def _picture(number: int, cuts: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Dark and bright scenes by turns, in which each frame tells its number modulo 10."""
    scene = int(np.searchsorted(cuts, number / FPS + 1e-6, side="right")) - 1
    return np.full((96, 160, 3), 20 + 150 * (scene % 2) + 4 * (number % 10), np.uint8)


@pytest.fixture(scope="module", params=[400, pytest.param(3600, marks=pytest.mark.full)])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A film whose sound gets louder from minute to minute: its path and length."""
    seconds = int(request.param)
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    cuts = np.array(_cuts(seconds))
    hum = tone(1.0)
    with closing(Recorder(path, "aac", "libx264")) as recorder:
        for second in range(seconds):
            for number in range(second * FPS, (second + 1) * FPS):
                recorder.see(_picture(number, cuts))
            recorder.hear(hum * np.float32(0.1 + 0.8 * (second // 60) / 60))
    return path, seconds


@pytest.mark.parametrize("windows", ["time", "scenes"])
def test_an_hour_of_video(film: tuple[Path, int], windows: str) -> None:
    path, seconds = film

    def looks_as_it_should(request: Request) -> None:
        clip, span = request.piece.clip, request.piece.span
        assert clip is not None
        assert span.start_s is not None
        assert span.end_s is not None
        assert len(clip.indices) <= 32
        for number, frame in zip(clip.indices, clip.frames, strict=True):
            assert round(((float(frame.mean()) - 18) % 150 - 2) / 4) == number % 10
        asked = [round((number / FPS) - span.start_s, 3) for number in clip.indices]
        assert asked == pytest.approx([*range(len(asked))], abs=0.11)
        (sound,) = request.piece.sounds
        assert len(sound) / RATE == pytest.approx(span.end_s - span.start_s, abs=0.1)
        second = int(span.start_s) + 1
        loud = np.abs(sound[RATE // 2 : RATE]).max(initial=0)
        if span.end_s - span.start_s >= 1 and second % 60 > 1:
            assert loud == pytest.approx(0.5 * (0.1 + 0.8 * (second // 60) / 60), rel=0.1)

    heard = through(path, "video", "caption", looks_as_it_should, windows=windows, summary=False)
    assert heard.memory < MEMORY
    assert [(s["start_s"], s["end_s"]) for s in heard.record.columns["segments"]] == heard.spans
    assert heard.spans[0][0] == 0.0
    assert heard.spans[-1][1] == pytest.approx(seconds, abs=0.5)
    for (_, end_s), (start_s, _) in pairwise(heard.spans):
        assert end_s == start_s
    lengths = [end_s - start_s for start_s, end_s in heard.spans]
    assert max(lengths) <= 30.000001
    if windows == "time":
        assert min(lengths[:-1]) > 28.0
        return
    starts = np.array([start_s for start_s, _ in heard.spans])
    previous = 0.0
    for cut in _cuts(seconds)[1:]:
        if cut - previous >= 1.0 and seconds - cut >= 1.0:
            assert np.abs(starts - cut).min() < 1 / FPS, cut
            previous = cut
    assert min(lengths) >= 0.99
