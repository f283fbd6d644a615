"""The node's key: one 256-bit secret in a file that only the node's user may read, and the keys derived from it.

Everything the store keeps is encrypted under keys derived from this one by HKDF-SHA256 (RFC 5869), each for one
purpose, so that no key serves two algorithms.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import KeyFileError

KEY_BYTES = 32
_PREFIX = "medquorum-node-key-1"
_RESTORE = "restore the key file from where you keep its copy; without it the store cannot be read by anyone"


@dataclass(frozen=True, slots=True)
class NodeKey:
    """The node's secret (32 bytes), never shown by repr()."""

    secret: bytes = field(repr=False)

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose; equal purposes give equal keys, different ones unrelated keys."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"medquorum node\x00" + purpose.encode()).derive(self.secret)


def _checksum(secret: bytes) -> str:
    """Eight hexadecimal digits that notice a mistyped or cut key file; one-way, so they give nothing away."""
    return hashlib.sha256(b"medquorum node key check\x00" + secret).hexdigest()[:8]


def create_node_key(path: Path) -> NodeKey:
    """Write a fresh node key to `path` with permissions 0600, durably, and return it.

    Raises KeyFileError when the file exists already (a key is never overwritten) or cannot be written.
    """
    secret = secrets.token_bytes(KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{_PREFIX} {secret.hex()} {_checksum(secret)}\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except FileExistsError as fault:
        raise KeyFileError(
            "a key file is already there and is never overwritten",
            where=str(path),
            fix="choose another folder, or remove the file if no store needs it",
        ) from fault
    except OSError as fault:
        raise KeyFileError(
            f"the key file cannot be written ({fault.strerror})", where=str(path), fix="make the folder writable"
        ) from fault
    return NodeKey(secret)


def read_node_key(path: Path) -> NodeKey:
    """Read the node key from `path`.

    Raises KeyFileError when the file is missing, cannot be read, is open to group or others, or is not a key.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(1024)
    except FileNotFoundError as fault:
        raise KeyFileError("the node's key file is missing", where=str(path), fix=_RESTORE) from fault
    except OSError as fault:
        raise KeyFileError(
            f"the node's key file cannot be read ({fault.strerror})",
            where=str(path),
            fix=f"run as the user who owns it: ls -l {path}",
        ) from fault
    if mode & 0o077:
        raise KeyFileError(
            f"the node's key file is open to other users (mode {mode:04o})", where=str(path), fix=f"chmod 600 {path}"
        )
    try:
        prefix, digits, check = content.decode("ascii").split()
        secret = bytes.fromhex(digits)
    except ValueError as fault:
        raise KeyFileError("the file is not a node key", where=str(path), fix=_RESTORE) from fault
    if prefix != _PREFIX or len(secret) != KEY_BYTES or check != _checksum(secret):
        raise KeyFileError("the node's key is damaged (its check digits differ)", where=str(path), fix=_RESTORE)
    return NodeKey(secret)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries (creations, renames) durable: POSIX needs an fsync of the folder itself."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
