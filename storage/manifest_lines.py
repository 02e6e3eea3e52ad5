"""Lines of a text manifest, a block at a time: none lies in memory that is too long to be one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from storage.errors import InvalidManifest


def line_blocks(
    name: str, file: BinaryIO, block: int, most: int, what: str
) -> Iterator[tuple[int, list[bytes]]]:
    """The number (from 1) of the first of some lines, and these without their ends.

    `block` bytes are read at a time. Raises InvalidManifest for a line of more than `most`
    bytes (or a block less); `what` says what a line should be.
    """
    rest, number, ended = b"", 1, False
    while not ended:
        data = file.read(block)
        ended = not data
        lines = (rest + data).split(b"\n")
        # What is behind the last end of a line is one only if it is anything.
        rest = lines.pop()
        if ended and rest:
            lines, rest = [rest], b""
        if len(rest) > most:
            raise InvalidManifest(
                f"{name}, line {number + len(lines)}: longer than {most >> 20} MiB; {what}"
            )
        if lines:
            yield number, lines
        number += len(lines)
