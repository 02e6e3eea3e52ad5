"""Several media of a row in one request: what fits, and the piece that they make.

Pieces come with the digest of their medium, as they were decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs.pieces import Piece


def fits(held: Sequence[tuple[str, Piece]], piece: Piece, images: int) -> bool:
    """Whether a piece can be asked about in one request with those held, of at most `images`.

    Each medium is one piece then, and a request has room for one film and one sound.
    """
    pieces = [*(earlier for _, earlier in held), piece]
    return (
        len({p.span.media_index for p in pieces}) == len(pieces)
        and sum(len(p.images) for p in pieces) <= images
        and sum(p.clip is not None for p in pieces) <= 1
        and sum(p.audio is not None for p in pieces) <= 1
    )


def merged(held: list[tuple[str, Piece]]) -> list[tuple[str, Piece]]:
    """One request for all media of a row that has several."""
    if len(held) < 2:
        return held
    pieces = [piece for _, piece in held]
    # Of no medium alone: such an answer is not kept for a later attempt.
    span = replace(pieces[0].span, start=0, end=1, start_s=None, end_s=None)
    whole = Piece(
        span,
        images=tuple(image for piece in pieces for image in piece.images),
        clip=next((piece.clip for piece in pieces if piece.clip is not None), None),
        audio=next((piece.audio for piece in pieces if piece.audio is not None), None),
    )
    return [("", whole)]
