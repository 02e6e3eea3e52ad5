"""Several pieces of a row in one request: what fits, and the piece that they make."""

from __future__ import annotations

from dataclasses import replace

from jobs.pieces import Piece
from jobs.tasks.base import Prompt
from storage.errors import RowError
from workers.engine import Engine, Request

#: A piece as it was decoded, with the digest of its medium.
Held = tuple[str, Piece]


def one_request(held: list[Held], prompt: Prompt, engine: Engine) -> bool:
    """Whether the engine takes all these pieces with one prompt.

    A request has room for one film, for as many images and sounds as the engine takes, and
    for as many tokens as its context holds.
    """
    if sum(piece.clip is not None for _, piece in held) > 1:
        return False
    _, piece = merged(held)
    if len(piece.images) > engine.capacity.images or len(piece.sounds) > engine.capacity.sounds:
        return False
    try:
        engine.measure(Request("", prompt, piece))
    except RowError:
        return False
    return True


def merged(held: list[Held]) -> Held:
    """All pieces as one; it is of no medium alone, unless there is but one."""
    if len(held) == 1:
        return held[0]
    pieces = [piece for _, piece in held]
    # Without times and digest: such an answer is not kept for a later attempt.
    span = replace(pieces[0].span, start=0, end=1, start_s=None, end_s=None)
    whole = Piece(
        span,
        images=tuple(image for piece in pieces for image in piece.images),
        clip=next((piece.clip for piece in pieces if piece.clip is not None), None),
        sounds=tuple(sound for piece in pieces for sound in piece.sounds),
    )
    return "", whole
