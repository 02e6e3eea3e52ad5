"""Windows hold all speech, once, within their limit, and are cut where nobody speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.pieces import Span
from tests.media import RATE, Floats, silence, speech
from workers.speech import windows
from workers.vad import CHUNK, VoiceActivity

SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "She sells sea shells by the sea shore.",
    "Nobody expects rain on a day like this one.",
    "Please bring me seven green apples and a chair.",
)


class Scripted:
    """Hears speech where a list of chunks says so."""

    def __init__(self, chunks: Sequence[float]) -> None:
        self._chunks = np.array(chunks, np.float32)
        self._samples = self._told = 0

    def feed(self, samples: Floats) -> Floats:
        self._samples += len(samples)
        first, self._told = self._told, self._samples // CHUNK
        return self._chunks[first : self._told]

    def finish(self) -> Floats:
        return self._chunks[self._told : -(-self._samples // CHUNK)]


def blocks_of(sound: Floats, size: int) -> Iterator[Floats]:
    for first in range(0, len(sound), size):
        yield sound[first : first + size]


def cut(
    chunks: Sequence[float],
    limit: int,
    keep: Sequence[Span] = (),
    size: int = RATE,
    over: int = 0,
) -> list[tuple[int, int]]:
    """Windows as (start, end) of a sound whose samples are their own positions."""
    sound = np.arange(len(chunks) * CHUNK, dtype=np.float32)
    found = []
    for start, end, samples in windows(
        blocks_of(sound, size), limit, keep, Scripted(chunks), over=over
    ):
        assert np.array_equal(samples, np.arange(start, start + len(samples)))
        assert end - start <= len(samples) <= min(end - start + over, limit)
        found.append((start, end))
    return found


def script(*parts: tuple[float, float]) -> list[float]:
    """Chunks of (probability, seconds)."""
    return [value for value, seconds in parts for _ in range(round(seconds * RATE / CHUNK))]


def seconds(found: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    return [(round(start / RATE, 1), round(end / RATE, 1)) for start, end in found]


def vowels() -> Floats:
    """Three seconds that sound like a voice: harmonics of a moving pitch under two formants."""
    times = np.arange(3 * RATE) / RATE
    pitch = 130 + 20 * np.sin(2 * np.pi * 0.9 * times)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    first = 550 + 250 * np.sin(2 * np.pi * 2.3 * times)
    second = 1500 + 600 * np.sin(2 * np.pi * 1.7 * times)
    voice = np.zeros(len(times))
    for number in range(1, 30):
        low = np.exp(-(((number * pitch - first) / 120) ** 2))
        high = np.exp(-(((number * pitch - second) / 200) ** 2))
        voice += (low + 0.5 * high + 0.02) * np.sin(number * phase)
    return (voice * 0.15 * np.clip(3 * np.sin(2 * np.pi * 1.5 * times), 0, 1)).astype(np.float32)


def test_probabilities_are_those_of_silero() -> None:
    """Every sixth of what Silero's own TorchScript model (silero-vad 6.2.3) says of this sound."""
    golden = [0.638, 0.967, 0.669, 0.023, 0.983, 0.997, 0.015, 0.921]
    golden += [0.961, 0.110, 0.009, 0.970, 0.998, 0.015, 0.991, 0.995]
    heard = VoiceActivity().feed(vowels())
    assert heard.shape == (93,)
    assert np.abs(heard[::6] - golden).max() < 0.001


def test_probabilities_do_not_depend_on_the_blocks() -> None:
    sound = speech(SENTENCES[0])
    whole = VoiceActivity()
    expected = np.concatenate([whole.feed(sound), whole.finish()])
    assert len(expected) == -(-len(sound) // CHUNK)
    for size in (100, 512, 7777):
        activity = VoiceActivity()
        parts = [activity.feed(block) for block in blocks_of(sound, size)]
        assert np.allclose(np.concatenate([*parts, activity.finish()]), expected, atol=1e-5)


def test_windows_start_and_end_with_speech() -> None:
    spoken = [speech(sentence) for sentence in SENTENCES[:3]]
    parts = [
        silence(1.3),
        spoken[0],
        silence(6.0),
        spoken[1],
        silence(7.0),
        spoken[2],
        silence(2.0),
    ]
    sound = np.concatenate(parts)
    starts = np.cumsum([0, *map(len, parts)])
    found = list(windows(blocks_of(sound, RATE), 30 * RATE))
    assert len(found) == 3
    for (start, end, samples), number in zip(found, (1, 3, 5), strict=True):
        assert end == start + len(samples)
        true_start, true_end = starts[number], starts[number + 1]
        assert 0 < true_start - start < 0.3 * RATE
        assert -0.05 * RATE < start + len(samples) - true_end < 0.4 * RATE
        assert np.array_equal(samples, sound[start : start + len(samples)])


def test_long_speech_is_cut_between_sentences() -> None:
    parts: list[Floats] = []
    pauses: list[tuple[int, int]] = []
    at = 0
    for number in range(40):
        spoken = speech(SENTENCES[number % 4])
        parts += [spoken, silence(0.4)]
        pauses.append((at + len(spoken), at + len(spoken) + round(0.4 * RATE)))
        at += len(spoken) + round(0.4 * RATE)
    sound = np.concatenate(parts)
    found = list(windows(blocks_of(sound, RATE), 30 * RATE))
    lengths = [len(samples) / RATE for _, _, samples in found]
    assert max(lengths) <= 30
    assert min(lengths[:-1]) >= 15
    for start, _, _ in found[1:]:
        assert any(begin <= start <= end for begin, end in pauses)


def test_what_ends_a_window() -> None:
    limit = 30 * RATE
    talk = (0.9, 4.0)
    # 4 s held: a pause of 3 s does not part them, one of 6 s does.
    assert seconds(cut(script(talk, (0, 3.0), talk), limit)) == [(0.0, 11.0)]
    assert len(cut(script(talk, (0, 6.0), talk), limit)) == 2
    # 6 s held: 2.5 s do, 1.5 s don't.
    assert len(cut(script((0.9, 6.0), (0, 2.5), talk), limit)) == 2
    assert len(cut(script((0.9, 6.0), (0, 1.5), talk), limit)) == 1
    # 16 s held: 0.8 s do, 0.4 s don't.
    assert len(cut(script((0.9, 16.0), (0, 0.8), talk), limit)) == 2
    assert len(cut(script((0.9, 16.0), (0, 0.4), talk), limit)) == 1


def test_a_full_window_ends_at_the_longest_pause_of_its_second_half() -> None:
    parts = [(0.9, 10.0), (0, 0.5), (0.9, 8.0), (0, 0.4), (0.9, 5.0), (0, 0.2), (0.9, 10.0)]
    found = seconds(cut(script(*parts), 30 * RATE))
    assert found == [(0.0, 18.7), (18.7, 34.0)]
    # No pause in the second half: better one of the first than the middle of a word.
    parts = [(0.9, 10.0), (0, 0.3), (0.9, 25.0)]
    found = cut(script(*parts), 30 * RATE)
    assert seconds(found) == [(0.0, 10.1), (10.1, 35.3)]
    # A sample apart: only windows cut amid speech adjoin.
    assert found[0][1] + 1 == found[1][0]


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    generator = np.random.default_rng(2)
    sound = generator.uniform(-0.5, 0.5, 70 * RATE).astype(np.float32)
    quiet = [round(27.31 * RATE), round(55.0 * RATE)]
    for place in quiet:
        sound[place : place + RATE // 20] *= 0.01
    chunks = [0.9] * (len(sound) // CHUNK)
    windowed = list(windows(blocks_of(sound, RATE), 30 * RATE, (), Scripted(chunks), over=RATE))
    found = [(start, end) for start, end, _ in windowed]
    # Each is heard a second longer, but for the last one.
    assert [start + len(heard) - end for start, end, heard in windowed] == [RATE, RATE, 0]
    assert [start for start, _ in found[1:]] == [end for _, end in found[:-1]]
    for (_, end), place in zip(found, quiet, strict=False):
        assert place <= end <= place + RATE // 20
    assert found[0][0] == 0


def test_a_click_is_no_speech_and_a_stop_no_pause() -> None:
    assert cut(script((0, 1.0), (0.9, 0.064), (0, 1.0)), 30 * RATE) == []
    held = script((0.9, 16.0), (0, 0.096), (0.9, 16.0))
    first, _ = cut(held, 30 * RATE)
    assert first[1] > 24 * RATE  # not at the stop at 16 s, which is in the second half


chunks_of_speech = st.lists(
    st.tuples(st.sampled_from([0.05, 0.4, 0.9, 0.95]), st.integers(1, 120)), min_size=1, max_size=30
)


@settings(max_examples=200, deadline=None)
@given(
    chunks_of_speech,
    st.sampled_from([2, 5, 10, 30]),
    st.sampled_from([160, 5000, RATE]),
    st.sampled_from([0, RATE]),
)
def test_all_speech_is_in_one_window(
    parts: list[tuple[float, int]], limit_s: int, size: int, over: int
) -> None:
    chunks = [value for value, count in parts for _ in range(count)]
    found = cut(chunks, limit_s * RATE, size=size, over=over)
    covered = _covered(found, len(chunks))
    assert covered.max(initial=0) <= 1
    assert all(0 < end - start <= limit_s * RATE for start, end in found)
    assert found == sorted(found)
    speaking = _spoken(chunks)
    assert covered[speaking].all()
    # Windows adjoin where speech was cut without a pause, and nowhere else.
    for (_, end), (start, _) in pairwise(found):
        assert (end == start) == speaking[end - 1 : start + 1].all()
    assert found == cut(chunks, limit_s * RATE, size=3 * RATE, over=over)
    for start, end in found:  # no window is silence alone
        assert speaking[start:end].any()


@settings(max_examples=200, deadline=None)
@given(chunks_of_speech, st.sampled_from([5, 10, 30]), st.data())
def test_kept_windows_are_left_out_and_the_rest_is_covered(
    parts: list[tuple[float, int]], limit_s: int, data: st.DataObject
) -> None:
    chunks = [value for value, count in parts for _ in range(count)]
    before = cut(chunks, limit_s * RATE)
    kept = [window for window in before if data.draw(st.booleans())]
    keep = [Span(0, start, end) for start, end in kept]
    after = cut(chunks, limit_s * RATE, keep)
    covered = _covered(after + kept, len(chunks))
    assert covered.max(initial=0) <= 1
    assert covered[_spoken(chunks)].all()
    if len(kept) == len(before):
        assert after == []


@settings(max_examples=100, deadline=None)
@given(chunks_of_speech, st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 60_000))))
def test_any_span_can_be_kept(
    parts: list[tuple[float, int]], places: list[tuple[int, int]]
) -> None:
    chunks = [value for value, count in parts for _ in range(count)]
    keep, at = [], 0
    for gap, length in places:
        keep.append(Span(0, at + gap, at + gap + length))
        at += gap + length
    found = cut(chunks, 5 * RATE, keep)
    total = max([len(chunks) * CHUNK, *(span.end for span in keep)]) // CHUNK + 1
    covered = _covered(found, total)
    for span in keep:
        assert not covered[span.start : span.end].any()
        covered[span.start : span.end] = 1
    assert covered.max(initial=0) <= 1
    assert covered[: len(chunks) * CHUNK][_spoken(chunks)].all()


def _covered(found: Sequence[tuple[int, int]], chunks: int) -> npt.NDArray[np.int64]:
    covered = np.zeros(chunks * CHUNK, np.int64)
    for start, end in found:
        covered[start:end] += 1
    return covered


def _spoken(chunks: Sequence[float]) -> npt.NDArray[np.bool_]:
    """The samples that must be covered: runs of 96 ms or longer that begin at 0.5."""
    spoken = np.zeros(len(chunks) * CHUNK, np.bool_)
    start = end = None
    silent = 0
    for number, value in enumerate([*chunks, 0.0, 0.0, 0.0, 0.0]):
        if start is None:
            if value >= 0.5:
                start, end, silent = number, number + 1, 0
        elif value >= 0.5 or (value >= 0.35 and silent == 0):
            end, silent = number + 1, 0
        else:
            silent += 1
            if silent == 4:
                assert end is not None
                if end - start >= 3:
                    spoken[start * CHUNK : end * CHUNK] = True
                start = None
    return spoken
