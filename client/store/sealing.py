"""Encryption of small values and files (AES-256-GCM, NIST SP 800-38D), data keys, and the keyed hashes for look-ups.

Every ciphertext is bound by its associated data to the place it belongs to, so that two of them cannot be exchanged.
Nonces are random; a data key serves far fewer than the 2^32 messages that random 96-bit nonces allow.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import StoreError, TamperError
from ..keys import KEY_BYTES, NodeKey

NONCE_BYTES = 12
TAG_BYTES = 16
# AESGCM takes at most this many bytes at once.
MAX_PLAINTEXT = 2**31 - 1 - TAG_BYTES


class Seal:
    """One AES-256-GCM key, for values that are sealed and opened whole."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, plaintext: bytes, *place: str) -> bytes:
        """nonce (12 bytes), ciphertext and tag (16 bytes) of `plaintext`, bound to `place`."""
        if len(plaintext) > MAX_PLAINTEXT:
            raise StoreError(f"a file of {len(plaintext)} bytes is too large to be stored", fix="split it below 2 GiB")
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, _associated(place))

    def open(self, sealed: bytes, *place: str) -> bytes:
        """The plaintext; TamperError when the bytes are not what was sealed under this key for this place."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _associated(place))
        except (InvalidTag, ValueError) as fault:
            raise TamperError(
                "stored bytes were changed or damaged: their authentication tag does not fit",
                where=" ".join(place),
                fix="restore the store from a backup",
            ) from fault


def _associated(place: tuple[str, ...]) -> bytes:
    return b"medquorum\x00" + _joined(*(part.encode() for part in place))


def _joined(*parts: bytes) -> bytes:
    """The parts, each after its length, so that no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


class Keyring:
    """What is derived from the node's secret: the database's key, the data keys' wrapping, the look-up hashes."""

    def __init__(self, key: NodeKey) -> None:
        self.database = key.derive("database")
        self.cache = key.derive("cache")
        # Events about no single patient, and the node's own records.
        self.node = Seal(key.derive("node events"))
        # Of the keyed mappings in de-identified files; nothing is encrypted under it.
        self.deidentification = key.derive("de-identification")
        self._wrapping = Seal(key.derive("data keys"))
        self._lookup = key.derive("look-up")
        self._held_out = key.derive("held out")
        self._entry = key.derive("entry")

    def new_data_key(self, owner: str) -> tuple[Seal, bytes]:
        """A fresh data key for `owner` (a patient or a quarantined file), and its wrapped form for the database."""
        key = secrets.token_bytes(KEY_BYTES)
        return Seal(key), self._wrapping.seal(key, "data key", owner)

    def data_key(self, owner: str, wrapped: bytes) -> Seal:
        """The data key that `wrapped` holds for `owner`; TamperError when it is not the owner's."""
        return Seal(self._wrapping.open(wrapped, "data key", owner))

    def blind(self, kind: str, *parts: str | bytes) -> bytes:
        """The keyed hash (32 bytes) by which a known value is found without being stored: HMAC-SHA256."""
        encoded = (part.encode() if isinstance(part, str) else part for part in parts)
        return hmac.digest(self._lookup, _joined(kind.encode(), *encoded), hashlib.sha256)

    def held_out(self, blind: bytes, share: float) -> bool:
        """Whether the patient of this blind index is held out: a keyed coin that comes up with chance `share`."""
        return int.from_bytes(hmac.digest(self._held_out, blind, hashlib.sha256)[:8], "big") < share * 2.0**64

    def coin(self, patient: str) -> float:
        """A patient's own number in [0, 1), which decides when they take part in plans (see entering)."""
        return (int.from_bytes(hmac.digest(self._entry, patient.encode(), hashlib.sha256)[:8], "big") >> 11) / 2.0**53
