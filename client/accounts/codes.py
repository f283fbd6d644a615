"""One-time codes: what a new reader types once, in place of a password that somebody else would know. Pure.

A code is drawn from 100 bits, so that a plain hash of it can be kept: nobody tries them all.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

LIFETIME = 7 * 86400.0
# Crockford's base 32: no letter that is read as a digit.
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


def new_code() -> str:
    """A code, in four groups of five."""
    drawn = "".join(secrets.choice(_LETTERS) for _ in range(20))
    return "-".join(drawn[at : at + 5] for at in range(0, 20, 5))


def kept(code: str) -> str:
    """What is kept of a code, however it was typed."""
    return hashlib.sha256(code.upper().translate(_READ_AS).encode("utf-8", "replace")).hexdigest()


def right(held: str | None, code: str) -> bool:
    """Whether a code is the one that was kept."""
    return hmac.compare_digest(held or "", kept(code)) and held is not None
