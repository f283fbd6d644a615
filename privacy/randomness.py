"""Where random bits come from: one keystream generator, keyed by the operating system or, in simulation, by a seed.

Both sources are AES-256 in counter mode over zeros (NIST SP 800-38A section 6.5), which is a secure pseudorandom
generator as long as its key is secret. It is fast enough (gigabytes a second) for noise on millions of parameters.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, NoReturn, Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)
# A fresh key long before the 2^64 blocks at which a counter-mode stream becomes distinguishable.
_REKEY_AFTER = 1 << 40


class Randomness(Protocol):
    """A source of independent uniform bits.

    `reproducible` is True when somebody who knows a seed can repeat the stream. Such a source is for simulation
    only, because noise that can be recomputed hides nothing; a node refuses it.
    """

    @property
    def reproducible(self) -> bool:
        """Whether the stream follows from a seed."""
        ...

    def take(self, count: int) -> bytes:
        """Return the next `count` uniform bytes (count >= 0)."""
        ...


def _keystream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()


def _draw(stream: CipherContext, count: int) -> bytes:
    if count <= _BLOCK:
        return stream.update(_ZEROS[:count])
    whole, rest = divmod(count, _BLOCK)
    return b"".join([stream.update(_ZEROS) for _ in range(whole)] + [stream.update(_ZEROS[:rest])])


class SecureRandomness:
    """Bits keyed by the operating system's entropy: the only source that a node draws noise and samples from.

    A forked child keys itself anew, so that two processes never share a stream. It can be neither copied nor
    pickled, for the same reason.
    """

    def __init__(self) -> None:
        self._key_anew()

    @property
    def reproducible(self) -> bool:
        """False: nobody can repeat this stream."""
        return False

    def _key_anew(self) -> None:
        self._stream = _keystream(os.urandom(32))
        self._process = os.getpid()
        self._taken = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` uniform bytes (count >= 0)."""
        if self._process != os.getpid() or self._taken > _REKEY_AFTER:
            self._key_anew()
        self._taken += count
        return _draw(self._stream, count)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secure source of randomness must not be copied: make a new one")


class SeededRandomness:
    """A stream that follows from a seed and a path of labels, for simulation only.

    The key is SHA-256 over the seed and the labels, so `SeededRandomness(7, "site-a", 3)` and
    `SeededRandomness(7, "site-b", 3)` are independent streams.
    """

    def __init__(self, seed: int, *path: str | int) -> None:
        label = repr(("medquorum seeded randomness", int(seed), *path)).encode()
        self._stream = _keystream(hashlib.sha256(label).digest())

    @property
    def reproducible(self) -> bool:
        """True: whoever knows the seed can repeat this stream."""
        return True

    def take(self, count: int) -> bytes:
        """Return the next `count` uniform bytes (count >= 0)."""
        return _draw(self._stream, count)


def words(size: int, source: Randomness) -> NDArray[np.uint64]:
    """Return `size` independent uniform 64-bit words, shape (size,)."""
    return np.frombuffer(source.take(8 * size), dtype="<u8").astype(np.uint64, copy=False)


def uniforms(size: int, source: Randomness) -> NDArray[np.float64]:
    """Return `size` independent uniforms in [0, 1), multiples of 2^-53, shape (size,)."""
    return (words(size, source) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(bounds: NDArray[np.int64], source: Randomness) -> NDArray[np.int64]:
    """Return one uniform integer in [0, bound) for each bound (each >= 1), shape as `bounds`.

    Words that would favour small results are drawn again (rejection), so that the result is exactly uniform.
    """
    limits = bounds.astype(np.uint64)
    # 2^64 modulo the bound, by wrap-around: that many of the lowest words are the surplus.
    surplus = (np.uint64(0) - limits) % limits
    result = np.empty(limits.shape, dtype=np.uint64)
    pending = np.arange(limits.size)
    while pending.size:
        drawn = words(pending.size, source)
        kept = drawn >= surplus[pending]
        result[pending[kept]] = drawn[kept] % limits[pending[kept]]
        pending = pending[~kept]
    return result.astype(np.int64)
