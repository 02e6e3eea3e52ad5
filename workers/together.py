"""Several pieces of a row in one request: what fits, and the piece that they make.

Pieces come with the digest of their medium, as they were decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs.pieces import Piece
from workers.engine import Capacity


def fits(held: Sequence[tuple[str, Piece]], piece: Piece, capacity: Capacity) -> bool:
    """Whether a piece can be asked about in one request with those held.

    A request has room for one film, and for as many images and sounds as the engine takes.
    """
    pieces = [*(earlier for _, earlier in held), piece]
    return (
        sum(len(p.images) for p in pieces) <= capacity.images
        and sum(p.clip is not None for p in pieces) <= 1
        and sum(len(p.sounds) for p in pieces) <= capacity.sounds
    )


def merged(held: list[tuple[str, Piece]]) -> list[tuple[str, Piece]]:
    """One request for all pieces of a row that has several."""
    if len(held) < 2:
        return held
    pieces = [piece for _, piece in held]
    # Of no medium alone: such an answer is not kept for a later attempt.
    span = replace(pieces[0].span, start=0, end=1, start_s=None, end_s=None)
    whole = Piece(
        span,
        images=tuple(image for piece in pieces for image in piece.images),
        clip=next((piece.clip for piece in pieces if piece.clip is not None), None),
        sounds=tuple(sound for piece in pieces for sound in piece.sounds),
    )
    return [("", whole)]
