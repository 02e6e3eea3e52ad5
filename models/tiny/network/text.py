"""The language model: sliding and full layers, per-layer embeddings, shared keys and values."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from models.tiny import architecture as arch
from models.tiny.network.parts import INIT_STD, GatedMLP, Linear, Norm, rms, rotate
from models.tiny.tokenizer import IDS, VOCAB_SIZE

_OWN = arch.LAYERS - arch.SHARED_LAYERS
#: The layer whose keys and values the shared ones of its type take.
_SOURCE = {kind: max(i for i in range(_OWN) if arch.LAYER_TYPES[i] == kind)
           for kind in set(arch.LAYER_TYPES)}  # fmt: skip


class LanguageModel(nn.Module):
    """Token ids, with soft embeddings in their places, to logits."""

    sliding_inverse: torch.Tensor
    full_inverse: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB_SIZE, arch.HIDDEN)
        self.embed_tokens_per_layer = nn.Embedding(VOCAB_SIZE, arch.LAYERS * arch.PLE)
        for table in (self.embed_tokens, self.embed_tokens_per_layer):
            nn.init.normal_(table.weight, std=INIT_STD)
        self.per_layer_model_projection = Linear(arch.HIDDEN, arch.LAYERS * arch.PLE)
        self.per_layer_projection_norm = Norm(arch.PLE)
        self.layers = nn.ModuleList(_Layer(i) for i in range(arch.LAYERS))
        self.norm = Norm(arch.HIDDEN)
        sliding, full = (_inverse(kind) for kind in ("sliding_attention", "full_attention"))
        self.register_buffer("sliding_inverse", sliding, persistent=False)
        self.register_buffer("full_inverse", full, persistent=False)

    def forward(
        self, ids: torch.Tensor, soft: torch.Tensor | None, where: torch.Tensor | None
    ) -> torch.Tensor:
        """See `TinyGemma.read`."""
        if soft is None or where is None:
            return self.head(self.hidden(ids, None, None))
        taken = where.clamp(min=0)[..., None].expand(-1, -1, arch.HIDDEN)
        return self.head(self.hidden(ids, soft.gather(1, taken), where >= 0))

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden states [..., hidden] to logits [..., vocabulary], after soft cap."""
        logits = F.linear(x, self.embed_tokens.weight).float()
        return torch.tanh(logits / arch.SOFT_CAP) * arch.SOFT_CAP

    def hidden(
        self,
        ids: torch.Tensor,
        soft: torch.Tensor | None,
        is_soft: torch.Tensor | None,
        segments: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Normalised hidden states [n, s, hidden] of the last layer.

        `soft` [n, s, hidden] stands in place of the token's embedding where `is_soft` [n, s].
        Of `segments` [n, s], tokens see those of their own number alone: several texts in
        one row. Their places go on, for only distances matter.
        """
        length = ids.shape[1]
        window = _window(length, ids.device)
        whole = None
        if segments is not None:
            same = segments[:, :, None] == segments[:, None]
            whole = (same & torch.ones_like(same[0]).tril())[:, None]
            window = whole if window is None else whole & window
        places = torch.arange(length, device=ids.device, dtype=torch.float32).repeat(len(ids))
        turns = {
            "sliding_attention": _turns(places, self.sliding_inverse),
            "full_attention": _turns(places, self.full_inverse),
        }
        x = self.embed_tokens(ids) * arch.HIDDEN**0.5
        if soft is not None and is_soft is not None:
            x = torch.where(is_soft[..., None], soft.type_as(x), x)
            ids = torch.where(is_soft, IDS["<pad>"], ids)
        x = x.flatten(0, 1)
        inputs = self._per_layer(ids.flatten(), x)
        shared: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for i, layer in enumerate(self.layers):
            kind = arch.LAYER_TYPES[i]
            if kind in shared:
                q, (k, v) = layer.ask(x, *turns[kind]), shared[kind]
            else:
                q, k, v = layer.read(x, *turns[kind])
            if _SOURCE[kind] == i:
                shared[kind] = k, v
            y = _attend(q, k, v, length, window if kind == "sliding_attention" else whole)
            x = layer.go_on(x, y, inputs[:, i])
        out: torch.Tensor = self.norm(x).unflatten(0, (-1, length))
        return out

    def _per_layer(self, ids: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        shape = (*ids.shape, arch.LAYERS, arch.PLE)
        token = self.embed_tokens_per_layer(ids).view(shape) * arch.PLE**0.5
        context = self.per_layer_model_projection(x).view(shape) * arch.HIDDEN**-0.5
        out: torch.Tensor = (self.per_layer_projection_norm(context) + token) * 2**-0.5
        return out


def _inverse(kind: str) -> torch.Tensor:
    """Inverse frequencies; a full layer turns a quarter of its head and keeps the rest."""
    head = arch.FULL_HEAD_DIM if kind == "full_attention" else arch.HEAD_DIM
    steps = torch.arange(0, head, 2) / head
    inverse = arch.ROPE_THETA[kind] ** -steps
    if kind == "full_attention":
        inverse[int(arch.FULL_ROPE_FACTOR * head / 2) :] = 0
    return inverse


def _turns(places: torch.Tensor, inverse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    angles = places[:, None] * inverse
    angles = torch.cat((angles, angles), -1)[:, None]
    return angles.cos(), angles.sin()


def _window(length: int, device: torch.device) -> torch.Tensor | None:
    """The sliding mask [length, length], None where the window holds everything."""
    if length <= arch.SLIDING_WINDOW:
        return None
    place = torch.arange(length, device=device)
    distance = place[:, None] - place[None]
    return (distance >= 0) & (distance < arch.SLIDING_WINDOW)


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, length: int, mask: torch.Tensor | None
) -> torch.Tensor:
    """Causal attention in rows of `length`: [n * length, heads, head] to [n * length, width]."""
    q, k, v = (part.unflatten(0, (-1, length)).transpose(1, 2) for part in (q, k, v))
    k, v = (part.expand(-1, arch.HEADS, -1, -1) for part in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=1.0)
    return y.transpose(1, 2).flatten(2).flatten(0, 1)


class _Attention(nn.Module):
    def __init__(self, index: int) -> None:
        super().__init__()
        full = arch.LAYER_TYPES[index] == "full_attention"
        self.head = arch.FULL_HEAD_DIM if full else arch.HEAD_DIM
        # Scores are not scaled by the head's size: the norms' start does it.
        start = self.head**-0.25
        self.q_proj = Linear(arch.HIDDEN, arch.HEADS * self.head)
        self.q_norm = Norm(self.head, start)
        self.o_proj = Linear(arch.HEADS * self.head, arch.HIDDEN)
        if index < _OWN:
            self.k_proj = Linear(arch.HIDDEN, self.head)
            self.v_proj = Linear(arch.HIDDEN, self.head)
            self.k_norm = Norm(self.head, start)

    def queries(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        q = self.q_norm(self.q_proj(x).view(len(x), arch.HEADS, self.head))
        return rotate(q, cos, sin)

    def keys(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        k = rotate(self.k_norm(self.k_proj(x).view(len(x), 1, self.head)), cos, sin)
        return k, rms(self.v_proj(x).view(len(x), 1, self.head))


class _Layer(nn.Module):
    """What a layer does to each token by itself, before and after attention.

    Tokens stand in one axis, so that compiled code serves rows of every length.
    """

    layer_scalar: torch.Tensor

    def __init__(self, index: int) -> None:
        super().__init__()
        self.self_attn = _Attention(index)
        self.mlp = GatedMLP(arch.HIDDEN, arch.MLP * (1 if index < _OWN else 2), Linear)
        for name in (
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
            "post_per_layer_input_norm",
        ):
            setattr(self, name, Norm(arch.HIDDEN))
        self.per_layer_input_gate = Linear(arch.HIDDEN, arch.PLE)
        self.per_layer_projection = Linear(arch.PLE, arch.HIDDEN)
        self.register_buffer("layer_scalar", torch.ones(1))

    def ask(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Queries of a layer that shares another's keys and values."""
        return self.self_attn.queries(self.input_layernorm(x), cos, sin)

    def read(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values."""
        x = self.input_layernorm(x)
        return self.self_attn.queries(x, cos, sin), *self.self_attn.keys(x, cos, sin)

    def go_on(self, x: torch.Tensor, y: torch.Tensor, per_layer: torch.Tensor) -> torch.Tensor:
        """The layer's output, `y` being what attention gave."""
        x = x + self.post_attention_layernorm(self.self_attn.o_proj(y))
        x = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        gate = F.gelu(self.per_layer_input_gate(x), approximate="tanh") * per_layer
        x = x + self.post_per_layer_input_norm(self.per_layer_projection(gate))
        return x * self.layer_scalar
