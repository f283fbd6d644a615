"""The node's key, and the secret that it seals, from which every other key is derived.

The key is one 256-bit value in a file that only the node's user may read, or in a systemd credential. It opens one
small file beside the store, the sealed secret (AES-256-GCM), and serves nothing else; a new key therefore means sealing
32 bytes again, whatever the store's size. Everything the node encrypts lies under keys derived from the secret by
HKDF-SHA256 (RFC 5869), each for one purpose, so that no key serves two algorithms.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import KeyFileError

KEY_BYTES = 32
KEY_FILE = "node.key"
SEALED_SECRET = "node.secret"
# Where systemd's LoadCredential= and LoadCredentialEncrypted= put the key, below $CREDENTIALS_DIRECTORY.
CREDENTIAL = "medquorum-node-key"
# Names the key's file for commands that run outside the service.
KEY_VARIABLE = "MEDQUORUM_NODE_KEY"
_NONCE_BYTES = 12
_PREFIX = "medquorum-node-key-1"
_SECRET_MAGIC = b"MQS1"
_RESTORE = "restore the key file from where you keep its copy; without it the store cannot be read by anyone"
_FITTING = "put back the key file that belongs to this store, or restore the store from a backup"


@dataclass(frozen=True, slots=True)
class NodeKey:
    """The node's secret (32 bytes), never shown by repr()."""

    secret: bytes = field(repr=False)

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose; equal purposes give equal keys, different ones unrelated keys."""
        return _derive(self.secret, b"medquorum node\x00" + purpose.encode())


def _derive(secret: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(secret)


def _checksum(secret: bytes) -> str:
    """Eight hexadecimal digits that notice a mistyped or cut key file; one-way, so they give nothing away."""
    return hashlib.sha256(b"medquorum node key check\x00" + secret).hexdigest()[:8]


def key_path(store: Path) -> Path:
    """Where the key of the store in this folder is: the file that $MEDQUORUM_NODE_KEY names, else the systemd
    credential `medquorum-node-key` if this process was given one, else `node.key` in the folder."""
    if named := os.environ.get(KEY_VARIABLE):
        return Path(named)
    if (given := os.environ.get("CREDENTIALS_DIRECTORY")) and (Path(given) / CREDENTIAL).exists():
        return Path(given) / CREDENTIAL
    return store / KEY_FILE


def create_node_key(path: Path, sealed: Path | None = None) -> NodeKey:
    """Write a fresh node key to `path` and a fresh secret under it to `sealed` (default: `node.secret` beside it), both
    0600 and durable; returns the secret.

    Raises KeyFileError when either file exists already (a key is never overwritten) or cannot be written.
    """
    key, secret = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)
    sealed = sealed or path.with_name(SEALED_SECRET)
    write_key(path, key)
    try:
        write_private(sealed, seal_secret(key, secret))
    except BaseException:
        path.unlink()
        raise
    return NodeKey(secret)


def write_key(path: Path, key: bytes) -> None:
    """Write a key to a new file; see `write_private`."""
    write_private(path, f"{_PREFIX} {key.hex()} {_checksum(key)}\n".encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600, durably. KeyFileError when it exists or cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as fault:
        raise KeyFileError(
            "a key file is already there and is never overwritten",
            where=str(path),
            fix="choose another folder, or remove the file if no store needs it",
        ) from fault
    except OSError as fault:
        raise _unwritable(path, fault) from fault
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as fault:
        path.unlink(missing_ok=True)
        raise _unwritable(path, fault) from fault


def _unwritable(path: Path, fault: OSError) -> KeyFileError:
    return KeyFileError(
        f"the key file cannot be written ({fault.strerror})",
        where=str(path),
        fix="make the folder writable and free space on its disk",
    )


def seal_secret(key: bytes, secret: bytes) -> bytes:
    """The secret's sealed form under a key: magic, nonce (12 bytes), ciphertext and tag."""
    nonce = os.urandom(_NONCE_BYTES)
    cipher = AESGCM(_derive(key, b"medquorum sealed secret\x00"))
    return _SECRET_MAGIC + nonce + cipher.encrypt(nonce, secret, _SECRET_MAGIC)


def _opened(key: bytes, sealed: bytes) -> bytes | None:
    """The secret, or None when it is sealed under another key."""
    start = len(_SECRET_MAGIC)
    nonce, body = sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES :]
    cipher = AESGCM(_derive(key, b"medquorum sealed secret\x00"))
    try:
        return cipher.decrypt(nonce, body, sealed[:start])
    except (InvalidTag, ValueError):
        return None


def successor(path: Path) -> Path:
    """Where a change of key writes the new one, until it takes the old one's place."""
    return path.with_name(f"{path.name}.new")


def open_node_key(store: Path) -> NodeKey:
    """The secret of the store in this folder, opened with the key at `key_path`; see `read_node_key`."""
    return read_node_key(key_path(store), store / SEALED_SECRET)


def read_node_key(path: Path, sealed: Path | None = None) -> NodeKey:
    """Open the sealed secret (default: `node.secret` beside the key) with the key in `path`.

    A change of key that was interrupted after the secret was sealed anew is finished here. Raises KeyFileError when the
    key is missing, cannot be read, is open to group or others, is not a key, or does not open the secret.
    """
    sealed = sealed or path.with_name(SEALED_SECRET)
    key = read_key(path)
    try:
        held = sealed.read_bytes()
    except OSError as fault:
        raise KeyFileError(
            f"the secret that the node's key opens cannot be read ({fault.strerror})",
            where=str(sealed),
            fix="put this file back from a backup of the node; it is useless to anyone without the key",
        ) from fault
    secret = _opened(key, held)
    following = successor(path)
    if secret is None and following.is_file():
        secret = _opened(read_key(following), held)
        if secret is not None:
            with suppress(OSError):  # a disk that is read-only or full; the next opening tries again
                following.replace(path)
                sync_folder(path.parent)
    if secret is None:
        raise KeyFileError("the node's key does not open this store", where=str(path), fix=_FITTING)
    return NodeKey(secret)


def read_key(path: Path) -> bytes:
    """The key (32 bytes) in a file or credential; see `read_node_key`."""
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
    # systemd keeps a credential in memory and gives its reader access by an ACL, which shows as group bits.
    if mode & 0o077 and str(path.parent) != os.environ.get("CREDENTIALS_DIRECTORY"):
        raise KeyFileError(
            f"the node's key file is open to other users (mode {mode:04o})", where=str(path), fix=f"chmod 600 {path}"
        )
    try:
        prefix, digits, check = content.decode("ascii").split()
        key = bytes.fromhex(digits)
    except ValueError as fault:
        raise KeyFileError("the file is not a node key", where=str(path), fix=_RESTORE) from fault
    if prefix != _PREFIX or len(key) != KEY_BYTES or check != _checksum(key):
        raise KeyFileError("the node's key is damaged (its check digits differ)", where=str(path), fix=_RESTORE)
    return key


def sync_folder(folder: Path) -> None:
    """Make the folder's entries (creations, renames) durable: POSIX needs an fsync of the folder itself."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
