"""A site's identity: an Ed25519 key pair (RFC 8032) made where it is used, and its fingerprint in six words.

The private key is written once, encrypted, readable by its owner only, and never travels. Every signature names what
it is for (its domain), so that a signature given for one kind of statement is worthless for any other.

The fingerprint is the first 96 bits of SHA-256 over the public key, as six five-letter words of 16 bits each that can
be read over a telephone. Whoever wants to be taken for an existing site must find a second key with the same 96 bits:
about 2^96 key generations, and still 2^86 when any of a thousand sites will do. Two keys of one's own that collide
cost about 2^48, which is feasible and gains nothing: both belong to the same site, and a roster holds whole keys.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from . import wire
from .errors import IdentityError, WireError

KEY_BYTES = 32
SIGNATURE_BYTES = 64
FINGERPRINT_WORDS = 6

# Consonant, vowel, consonant, vowel, consonant: 4 + 2 + 4 + 2 + 4 = 16 bits a word (Wilkerson's proquints, 2009).
_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aiou"

# scrypt's cost (RFC 7914): 128 * r * n bytes = 32 MiB and about a tenth of a second for every guessed passphrase.
_SCRYPT_N = 2**15
_SCRYPT_R = 8
_SCRYPT_P = 1


@dataclass(frozen=True, slots=True)
class _Signed:
    """What is really signed: the statement together with what the signature is for."""

    domain: str
    statement: bytes


@dataclass(frozen=True, slots=True)
class _KeyFile:
    """The private key at rest: AES-256-GCM under a key that scrypt derives from the secret; the header is bound."""

    public: bytes
    salt: bytes
    nonce: bytes
    sealed: bytes


class Identity:
    """A site's Ed25519 private key, in memory. `repr` and pickling show nothing of it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return f"Identity({' '.join(fingerprint(self.public))})"

    def __reduce__(self) -> Any:
        raise IdentityError("an identity does not travel", fix="save it encrypted and load it where it belongs")

    @classmethod
    def create(cls) -> Identity:
        """Make a fresh key pair from the operating system's entropy."""
        return cls(Ed25519PrivateKey.generate())

    @property
    def public(self) -> bytes:
        """The public key (32 bytes)."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, domain: str, statement: Any) -> bytes:
        """Sign a wire dataclass for one purpose; returns 64 bytes (deterministic, RFC 8032)."""
        return self._key.sign(_signed_bytes(domain, statement))

    def save(self, path: Path, secret: bytes) -> None:
        """Write the private key to a new file with mode 0600, encrypted under a passphrase or a node key's bytes.

        Raises IdentityError when the secret is empty or the file exists: an identity is never overwritten.
        """
        if not secret:
            raise IdentityError("the private key would be stored without a passphrase", where=str(path), fix="give one")
        salt, nonce, public = os.urandom(16), os.urandom(12), self.public
        sealed = AESGCM(_stretch(secret, salt)).encrypt(nonce, self._key.private_bytes_raw(), public + salt)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as fault:
            raise IdentityError(
                "an identity is already stored here", where=str(path), fix="keep it, or choose another file"
            ) from fault
        with os.fdopen(handle, "wb") as file:
            file.write(wire.encode(_KeyFile(public, salt, nonce, sealed)))
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def load(cls, path: Path, secret: bytes) -> Identity:
        """Read a private key back. Raises IdentityError on a missing, damaged or readable-by-others file, or a wrong
        secret."""
        where = str(path)
        try:
            if path.stat().st_mode & 0o077:
                raise IdentityError("others may read the private key", where=where, fix=f"chmod 600 {where}")
            stored = wire.decode(_KeyFile, path.read_bytes())
        except FileNotFoundError as fault:
            raise IdentityError("there is no identity here", where=where, fix="create one first") from fault
        except WireError as fault:
            raise IdentityError("the identity file is damaged", where=where, fix="restore it from a backup") from fault
        try:
            raw = AESGCM(_stretch(secret, stored.salt)).decrypt(
                stored.nonce, stored.sealed, stored.public + stored.salt
            )
            identity = cls(Ed25519PrivateKey.from_private_bytes(raw))
        except (InvalidTag, ValueError) as fault:
            raise IdentityError(
                "the secret does not open this identity, or the file was altered", where=where, fix="check the secret"
            ) from fault
        if identity.public != stored.public:
            raise IdentityError("the stored public key is another one's", where=where, fix="restore it from a backup")
        return identity


def verify(public: bytes, domain: str, statement: Any, signature: bytes) -> bool:
    """Whether `signature` is `public`'s word on exactly this statement in this domain. Never raises on bad bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _signed_bytes(domain, statement))
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(public: bytes) -> tuple[str, ...]:
    """The six words of a public key (32 bytes): 96 bits of SHA-256 over a fixed prefix and the key."""
    if len(public) != KEY_BYTES:
        raise IdentityError(f"a public key of {len(public)} bytes", fix="give the 32 bytes of an Ed25519 public key")
    head = hashlib.sha256(b"medquorum identity fingerprint v1\x00" + public).digest()[: 2 * FINGERPRINT_WORDS]
    return tuple(_word(int.from_bytes(head[i : i + 2], "big")) for i in range(0, len(head), 2))


def same_fingerprint(public: bytes, spoken: str) -> bool:
    """Whether six words, as an admin typed them (any case, spaces, commas or hyphens between), are this key's."""
    words = spoken.lower().replace("-", " ").replace(",", " ").split()
    return tuple(words) == fingerprint(public)


def _word(bits: int) -> str:
    return (
        _CONSONANTS[bits >> 12]
        + _VOWELS[(bits >> 10) & 3]
        + _CONSONANTS[(bits >> 6) & 15]
        + _VOWELS[(bits >> 4) & 3]
        + _CONSONANTS[bits & 15]
    )


def _signed_bytes(domain: str, statement: Any) -> bytes:
    return wire.encode(_Signed(domain, wire.encode(statement)))


def _stretch(secret: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(secret)
