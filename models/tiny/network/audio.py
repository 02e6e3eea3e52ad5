"""The audio tower: log-mel frames, subsampled by four, through conformer layers."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from models.tiny import architecture as arch
from models.tiny.network.parts import Clipped, Linear, Norm

_HEAD = arch.AUDIO_HIDDEN // arch.AUDIO_HEADS
_CHUNK = arch.AUDIO_CHUNK
_PAST = arch.AUDIO_LEFT - 1
_CONTEXT = _CHUNK + _PAST


class AudioTower(nn.Module):
    """[n, t, 128] features, of which `frames` [n] are valid, to [n, t / 4, hidden]."""

    places: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.subsample_conv_projection = _Subsample()
        self.layers = nn.ModuleList(_Layer() for _ in range(arch.AUDIO_LAYERS))
        self.output_proj = nn.Linear(arch.AUDIO_HIDDEN, arch.HIDDEN)
        steps = arch.AUDIO_HIDDEN // 2
        scales = torch.exp(torch.arange(steps) * -(math.log(10_000.0) / (steps - 1)))
        angles = torch.arange(_CONTEXT // 2, -1, -1)[:, None] * scales
        places = torch.cat((angles.sin(), angles.cos()), -1)
        self.register_buffer("places", places, persistent=False)

    def forward(self, features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Frames past `frames` must be zero; their outputs are padding."""
        x = self.subsample_conv_projection(features, frames)
        mask = _mask(x.shape[1], x.device)
        for layer in self.layers:
            x = layer(x, self.places, mask)
        out: torch.Tensor = self.output_proj(x)
        return out


def _mask(length: int, device: torch.device) -> torch.Tensor:
    """Which keys of its context a query of a block sees: itself and the 11 before it."""
    blocks = -(-length // _CHUNK)
    query = torch.arange(blocks * _CHUNK, device=device).view(blocks, _CHUNK, 1)
    key = torch.arange(blocks, device=device).view(blocks, 1, 1) * _CHUNK - _PAST
    key = key + torch.arange(_CONTEXT, device=device)
    distance = query - key
    return (distance >= 0) & (distance < _PAST) & (key >= 0) & (key < length)


class _Subsample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first, second = arch.AUDIO_CHANNELS
        self.layer0 = _SubsampleLayer(1, first)
        self.layer1 = _SubsampleLayer(first, second)
        self.input_proj_linear = Linear(first // 4 * second, arch.AUDIO_HIDDEN)

    def forward(self, features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        valid = torch.arange(features.shape[1], device=features.device) < frames[:, None]
        x = (features * valid[..., None])[..., None]
        x = self.layer0(x) * valid[:, ::2, None, None]
        out: torch.Tensor = self.input_proj_linear(self.layer1(x).flatten(2))
        return out


class _SubsampleLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(outputs, eps=arch.EPS, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, t, bins, channels] to half as many frames and bins; channels stay last.

        A convolution of one channel is written as a product: it is ten times as fast.
        """
        if x.shape[-1] == 1:
            near = F.pad(x[..., 0], (1, 1, 1, 1)).unfold(1, 3, 2).unfold(2, 3, 2)
            y = F.linear(near.flatten(3), self.conv.weight.flatten(1))
        else:
            y = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.activate(y)

    def activate(self, y: torch.Tensor) -> torch.Tensor:
        """Layer norm in float32, then ReLU."""
        z = y.float()
        z = z - z.mean(-1, keepdim=True)
        z = z * torch.rsqrt(z.pow(2).mean(-1, keepdim=True) + arch.EPS) * self.norm.weight
        return F.relu(z).type_as(y)


class _FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = arch.AUDIO_HIDDEN
        self.ffw_layer_1 = Clipped(width, 4 * width)
        self.ffw_layer_2 = Clipped(4 * width, width)
        self.pre_layer_norm = Norm(width)
        self.post_layer_norm = Norm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ffw_layer_2(F.silu(self.ffw_layer_1(self.pre_layer_norm(x))))
        out: torch.Tensor = x + 0.5 * self.post_layer_norm(y)
        return out


class _LightConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = arch.AUDIO_HIDDEN
        self.linear_start = Clipped(width, 2 * width)
        self.linear_end = Clipped(width, width)
        self.depthwise_conv1d = nn.Conv1d(width, width, arch.AUDIO_CONV, groups=width, bias=False)
        self.pre_layer_norm = Norm(width)
        self.conv_norm = Norm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.glu(self.linear_start(self.pre_layer_norm(x)), -1).transpose(1, 2)
        y = self.depthwise_conv1d(F.pad(y, (arch.AUDIO_CONV - 1, 0))).transpose(1, 2)
        out: torch.Tensor = x + self.linear_end(F.silu(self.conv_norm(y)))
        return out


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = arch.AUDIO_HIDDEN
        for name in ("q_proj", "k_proj", "v_proj", "post"):
            setattr(self, name, Clipped(width, width))
        self.relative_k_proj = Linear(width, width)
        self.per_dim_scale = nn.Parameter(torch.zeros(_HEAD))

    def forward(self, x: torch.Tensor, places: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n, length = x.shape[:2]
        blocks = mask.shape[0]
        shape = (n, length, arch.AUDIO_HEADS, _HEAD)
        scale = _HEAD**-0.5 / math.log(2) * F.softplus(self.per_dim_scale.float())
        q = (self.q_proj(x).view(shape) * scale).type_as(x)
        k = self.k_proj(x).view(shape) * (math.log(1 + math.e) / math.log(2))
        v = self.v_proj(x).view(shape)
        q = F.pad(q, (0, 0, 0, 0, 0, blocks * _CHUNK - length))
        q = q.view(n, blocks, _CHUNK, arch.AUDIO_HEADS, _HEAD).permute(0, 3, 1, 2, 4)
        k, v = _contexts(k, blocks), _contexts(v, blocks)
        near = self.relative_k_proj(places.type_as(x)).view(-1, arch.AUDIO_HEADS, _HEAD)
        scores = q @ k.transpose(-1, -2)
        relative = q.flatten(2, 3) @ near.permute(1, 2, 0)
        scores = scores + _shift(relative.unflatten(2, (blocks, _CHUNK)))
        scores = torch.tanh(scores.float() / arch.AUDIO_CAP) * arch.AUDIO_CAP
        weights = scores.masked_fill(~mask, -1e9).softmax(-1).type_as(v)
        y = (weights @ v).permute(0, 2, 3, 1, 4).reshape(n, blocks * _CHUNK, -1)[:, :length]
        out: torch.Tensor = self.post(y)
        return out


def _contexts(x: torch.Tensor, blocks: int) -> torch.Tensor:
    """[n, length, heads, d] to overlapping contexts [n, heads, blocks, context, d]."""
    x = F.pad(x, (0, 0, 0, 0, _PAST, blocks * _CHUNK - x.shape[1]))
    return x.unfold(1, _CONTEXT, _CHUNK).permute(0, 2, 1, 4, 3)


def _shift(x: torch.Tensor) -> torch.Tensor:
    """Scores by distance to scores by key: Transformer-XL's relative shift, in blocks."""
    n, heads, blocks, chunk, places = x.shape
    x = F.pad(x, (0, _CONTEXT + 1 - places)).reshape(n, heads, blocks, chunk * (_CONTEXT + 1))
    return x[..., : chunk * _CONTEXT].reshape(n, heads, blocks, chunk, _CONTEXT)


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = arch.AUDIO_HIDDEN
        self.feed_forward1 = _FeedForward()
        self.feed_forward2 = _FeedForward()
        self.self_attn = _Attention()
        self.lconv1d = _LightConv()
        self.norm_pre_attn = Norm(width)
        self.norm_post_attn = Norm(width)
        self.norm_out = Norm(width)

    def forward(self, x: torch.Tensor, places: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.feed_forward1(x)
        x = x + self.norm_post_attn(self.self_attn(self.norm_pre_attn(x), places, mask))
        x = self.feed_forward2(self.lconv1d(x))
        out: torch.Tensor = self.norm_out(x)
        return out
