"""Masks: AES-256 in counter mode (NIST SP 800-38A) read as little-endian 32-bit words, added or subtracted mod 2^32.

The counter starts at 0 under a key that is used for one mask only. A vector is worked through in pieces that stay in
the second-level cache, all masks on one piece before the next, so that memory is read and written once. One thread:
cryptography holds the interpreter's lock while it encrypts, so a second one gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

Ring = NDArray[np.uint32]

PIECE = 32768
_ZEROS = bytes(4 * PIECE)


@dataclass(frozen=True, slots=True)
class Mask:
    """A key (32 bytes) and whether its words are added (+1) or subtracted (-1)."""

    key: bytes
    sign: Literal[1, -1]


class Words:
    """The keystream of one key, word after word."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def fill(self, buffer: Ring) -> None:
        """Overwrite `buffer` (at most PIECE contiguous words) with the next words."""
        size = 4 * buffer.size
        self._cipher.update_into(_ZEROS if size == len(_ZEROS) else _ZEROS[:size], buffer.data.cast("B"))


class Masker:
    """Several masks at once, walking along a vector from its first word."""

    def __init__(self, masks: Sequence[Mask]) -> None:
        self._streams = [(Words(mask.key), np.add if mask.sign == 1 else np.subtract) for mask in masks]
        self._buffer: Ring = np.empty(PIECE, dtype="<u4")

    def apply(self, piece: Ring) -> None:
        """Put every mask's next words onto `piece` (at most PIECE words) in place."""
        buffer = self._buffer[: piece.size]
        for words, combine in self._streams:
            words.fill(buffer)
            combine(piece, buffer, out=piece)


def apply_masks(masks: Sequence[Mask], vector: Ring) -> None:
    """Put whole masks onto a vector in place."""
    masker = Masker(masks)
    for begin in range(0, vector.size, PIECE):
        masker.apply(vector[begin : begin + PIECE])
