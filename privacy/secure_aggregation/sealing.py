"""Sealing a pair of shares for one peer: ChaCha20-Poly1305 (RFC 8439) with the session and both names bound."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .. import wire
from ..errors import WireError
from .errors import BreachError
from .steps import SharePair

# The key of each direction is fresh in every session and seals one message, so a constant nonce never repeats.
_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class _Bound:
    transcript: bytes
    sender: str
    receiver: str


def seal(key: bytes, transcript: bytes, sender: str, receiver: str, shares: SharePair) -> bytes:
    """Seal a pair of shares under a key made for this message alone."""
    bound = wire.encode(_Bound(transcript, sender, receiver))
    return ChaCha20Poly1305(key).encrypt(_NONCE, wire.encode(shares), bound)


def unseal(key: bytes, transcript: bytes, sender: str, receiver: str, box: bytes) -> SharePair:
    """Open a sealed pair; BreachError when it was made by or for another, for another session, or altered."""
    bound = wire.encode(_Bound(transcript, sender, receiver))
    try:
        return wire.decode(SharePair, ChaCha20Poly1305(key).decrypt(_NONCE, box, bound))
    except (InvalidTag, WireError) as fault:
        raise BreachError(f"the shares sealed by {sender!r} for {receiver!r} do not open", where="inbox") from fault
