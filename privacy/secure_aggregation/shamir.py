"""Shamir's secret sharing (CACM 1979) of 256-bit secrets over the prime field of 2^256 + 297.

That is the least prime above 2^256, so every 32-byte string is a secret. Fewer than `threshold` shares are
independent of it. Shares are not authenticated here: who reconstructs checks the secret against what was published.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from .errors import BreachError

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def split(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """Split a secret (32 bytes) into `count` shares (33 bytes each) at the points 1..count, any `threshold` of which
    give it back. The polynomial's other coefficients are uniform in the field, from the system's entropy."""
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= count:
        raise ValueError(f"cannot share {len(secret)} bytes among {count} with threshold {threshold}")
    coefficients = [int.from_bytes(secret, "big"), *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]
    return [evaluate(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in range(1, count + 1)]


def evaluate(coefficients: Sequence[int], point: int) -> int:
    """The polynomial with these coefficients (constant first) at `point`, in the field, by Horner's rule."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The secret (32 bytes) behind shares given by their points, by Lagrange interpolation at 0.

    All given shares are used. Raises BreachError when a share is no field element or what comes out is no 256-bit
    secret; too few or false shares otherwise give a wrong secret silently.
    """
    secret = 0
    for point, share in shares.items():
        value = int.from_bytes(share, "big")
        if len(share) != SHARE_BYTES or value >= PRIME:
            raise BreachError(f"the share at point {point} is no element of the field", where="shamir")
        numerator = denominator = 1
        for other in shares:
            if other != point:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - point) % PRIME
        secret = (secret + value * numerator * pow(denominator, -1, PRIME)) % PRIME
    if secret >= 2**256:
        raise BreachError("the shares belong to no common secret", where="shamir")
    return secret.to_bytes(SECRET_BYTES, "big")
