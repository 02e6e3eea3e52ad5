"""Sound on the GPU: what happens to it on its way, and the log-mel features of Gemma 4."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

RATE = 16_000
HOP = 160
FRAME = 320
FFT = 512
BINS = 128
FLOOR = 1e-3


class Features:
    """Log-mel features, equal to transformers' extractor within rounding."""

    def __init__(self, device: torch.device) -> None:
        self._window = torch.hann_window(FRAME, periodic=True, device=device)
        self._filters = mel_filters().to(device)

    def __call__(self, waves: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Waves [n, samples] and their lengths [n] to features [n, frames, 128] and counts [n].

        Frames that reach past a wave's end are zero, as the extractor leaves them.
        """
        padded = F.pad(waves, (FRAME // 2, 0))
        frames = padded.unfold(1, FRAME + 1, HOP)[..., :-1] * self._window
        magnitude = torch.fft.rfft(frames, FFT).abs()
        mel = torch.log(magnitude @ self._filters + FLOOR)
        counts = valid_frames(lengths)
        valid = torch.arange(mel.shape[1], device=mel.device) < counts[:, None]
        return mel * valid[..., None], counts


def valid_frames(lengths: torch.Tensor) -> torch.Tensor:
    """Frames that lie wholly in a wave of so many samples."""
    return torch.div(lengths + FRAME // 2 - FRAME - 1, HOP, rounding_mode="floor") + 1


def soft_tokens(samples: int) -> int:
    """Soft tokens of a wave: a quarter of its frames, rounded up twice by halves."""
    frames = (samples + FRAME // 2 - FRAME - 1) // HOP + 1
    return max(0, (((frames + 1) // 2) + 1) // 2)


def mel_filters() -> torch.Tensor:
    """Triangular HTK filters [257, 128] from 0 to 8 kHz."""

    def mel(hertz: float) -> float:
        return float(2595.0 * np.log10(1.0 + hertz / 700.0))

    edges = np.linspace(mel(0.0), mel(RATE / 2), BINS + 2)
    hertz = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    bins = np.linspace(0, RATE // 2, FFT // 2 + 1)
    slopes = hertz[None] - bins[:, None]
    down = -slopes[:, :-2] / np.diff(hertz)[:-1]
    up = slopes[:, 2:] / np.diff(hertz)[1:]
    return torch.from_numpy(np.maximum(0, np.minimum(down, up)).astype(np.float32))


def disturb(waves: torch.Tensor, lengths: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Rooms, telephones, noise and volume, each for some of the waves.

    A third is filtered to a telephone's band, as a recording at 8 kHz has it.
    """
    n, length = waves.shape
    device = waves.device

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, device=device, generator=rng)

    spectrum = torch.fft.rfft(waves)
    hertz = torch.linspace(0, RATE / 2, spectrum.shape[1], device=device)
    # A gentle tilt of the whole spectrum: microphones differ.
    tilt = (draw(n, 1) - 0.5) * 1.2
    gain = (hertz.clamp(min=80.0) / 1000.0) ** tilt
    low = torch.where(draw(n, 1) < 0.4, 80 + 240 * draw(n, 1), 0.0)
    high = torch.where(draw(n, 1) < 0.4, 3300 + 650 * draw(n, 1), RATE / 2 + 1)
    gain = gain * (hertz > low) * (hertz < high)
    waves = torch.fft.irfft(spectrum * gain, length)
    power = waves.pow(2).sum(1, keepdim=True) / lengths[:, None].clamp(min=1)
    waves = waves * power.clamp(min=1e-8).rsqrt() * 10 ** (-(12 + 23 * draw(n, 1)) / 20)
    power = waves.pow(2).sum(1, keepdim=True) / lengths[:, None].clamp(min=1)
    noise = torch.randn(n, length, device=device, generator=rng)
    smooth = F.avg_pool1d(noise[:, None], 9, 1, 4)[:, 0] * 3
    noise = torch.where(draw(n, 1) < 0.5, noise, smooth)
    ratio = torch.where(draw(n, 1) < 0.55, 5 + 30 * draw(n, 1), 60.0)
    noise = noise * power.sqrt() * 10 ** (-ratio / 20)
    within = torch.arange(length, device=device) < lengths[:, None]
    return (waves + noise).clamp(-1, 1) * within


def mask_features(
    features: torch.Tensor, rng: torch.Generator, *, times: int = 2, bands: int = 2
) -> torch.Tensor:
    """SpecAugment for half of the batch: up to 20 frames and 14 bands at a time go to the floor."""
    n, frames, bins = features.shape
    device = features.device

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, device=device, generator=rng)

    hidden = torch.zeros(n, frames, bins, dtype=torch.bool, device=device)
    for count, length, widest, axis in ((times, frames, 20, 1), (bands, bins, 14, 2)):
        place = torch.arange(length, device=device)
        for _ in range(count):
            start = draw(n, 1) * length
            inside = (place >= start) & (place < start + draw(n, 1) * widest)
            hidden |= inside.unsqueeze(3 - axis)
    hidden &= draw(n, 1, 1) < 0.5
    silent = float(np.log(FLOOR)) + 1.0
    return torch.where(hidden & (features != 0), silent, features)
