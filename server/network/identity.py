"""The coordinator's own identity: an Ed25519 key that signs plans, made where it is used and pinned by every node.

The key file is sealed under a random secret that lies beside it, readable by the operator's user alone, so that an
operator may move the secret elsewhere (a credential store, another disk) and only bring it for `coordinator train`.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from ...privacy.certificates import write_private
from ...privacy.errors import CertificateError
from ...privacy.identity import Identity

SECRET_BYTES = 32


def create_identity(folder: Path) -> bytes:
    """Make the coordinator's identity in `folder`, unless it is there; returns its public key (32 bytes)."""
    if not (folder / "identity").exists():
        if not (folder / "identity.secret").exists():
            write_private(folder / "identity.secret", secrets.token_bytes(SECRET_BYTES))
        Identity.create().save(folder / "identity", _secret(folder))
    return load_identity(folder).public


def load_identity(folder: Path) -> Identity:
    """The coordinator's identity; CertificateError or IdentityError when it or its secret is missing, or readable by
    others."""
    return Identity.load(folder / "identity", _secret(folder))


def _secret(folder: Path) -> bytes:
    path = folder / "identity.secret"
    try:
        if path.stat().st_mode & 0o077:
            raise CertificateError("others may read this secret", where=str(path), fix=f"chmod 600 {path}")
        return path.read_bytes()
    except OSError as fault:
        raise CertificateError(
            f"the secret of the coordinator's identity cannot be read ({fault.strerror})",
            where=str(path),
            fix="bring it back; every node has pinned this identity",
        ) from fault
