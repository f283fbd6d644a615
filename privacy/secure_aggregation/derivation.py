"""From X25519 (RFC 7748) shared secrets to the session's symmetric keys, by HKDF-SHA256 (RFC 5869).

Every key is bound to the transcript (hence to consortium, plan, purpose, round, attempt, cohort, model and all public
keys), to its use and to its two sites, in order. All keys have 256 bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .. import wire
from .errors import BreachError

SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Use:
    """HKDF's info: what the key is for and between whom."""

    use: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class _Commitment:
    session: bytes
    site: str
    seed: bytes


def seal_key(private: bytes, public: bytes, transcript: bytes, sender: str, receiver: str) -> bytes:
    """The key of the one message that `sender` seals for `receiver` in a session (32 bytes)."""
    return _derive(exchange(private, public), transcript, _Use("seal", sender, receiver))


def pair_key(private: bytes, public: bytes, transcript: bytes, one: str, other: str) -> bytes:
    """The key of the mask between two sites, the same from both sides (32 bytes)."""
    first, second = sorted((one, other))
    return _derive(exchange(private, public), transcript, _Use("pair mask", first, second))


def self_key(seed: bytes, transcript: bytes, site: str) -> bytes:
    """The key of a site's own mask, from its 256-bit seed (32 bytes)."""
    return _derive(seed, transcript, _Use("self mask", site, site))


def commitment(session: bytes, site: str, seed: bytes) -> bytes:
    """A hash (32 bytes) that binds a site to its seed and, the seed being 256 uniform bits, shows nothing of it."""
    return wire.digest(_Commitment(session, site, seed))


def public_key(private: bytes) -> bytes:
    """The X25519 public key (32 bytes) of a private one (32 bytes)."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def exchange(private: bytes, public: bytes) -> bytes:
    """The X25519 shared secret (32 bytes); BreachError for a public key of small order (RFC 7748, section 6.1)."""
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as fault:
        raise BreachError("a public key that shares no secret", where="X25519") from fault


def transcript_of(key_list: bytes) -> bytes:
    """The hash (32 bytes) of the canonical bytes of a session's key list."""
    return hashlib.sha256(b"medquorum transcript v1\x00" + key_list).digest()


def _derive(secret: bytes, transcript: bytes, use: _Use) -> bytes:
    return HKDF(hashes.SHA256(), SEED_BYTES, salt=transcript, info=wire.encode(use)).derive(secret)
