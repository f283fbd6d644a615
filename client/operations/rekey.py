"""Changing the node's key: a fresh key seals the same secret, and the old key opens nothing any more.

Four steps, each durable before the next: the new key is written beside the old one; the secret sealed under it is
written beside the old sealed form; that takes the old form's place, which is the change; the new key takes the old
one's place. Killed before the change, the node opens with the old key; killed after it, with the new one, which the
next opening puts into place (keys.read_node_key). A node that is running goes on, since it has the secret already.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ..audit_log import AuditLog, this_user
from ..errors import KeyFileError
from ..keys import (
    KEY_BYTES,
    SEALED_SECRET,
    key_path,
    read_node_key,
    seal_secret,
    successor,
    sync_folder,
    write_key,
    write_private,
)


def rekey(store: Path, to: Path | None = None) -> Path:
    """Give the store in this folder a fresh key; returns the file it lies in.

    to: a new file for the key, whose place (a systemd credential, $MEDQUORUM_NODE_KEY) the user then changes; by
    default it replaces the file at `keys.key_path`. Raises KeyFileError when the present key does not open the store,
    when `to` exists, when the key cannot be replaced where it is, or when another change is under way.
    """
    path, sealed = key_path(store), store / SEALED_SECRET
    with _alone(store):
        secret = read_node_key(path, sealed)
        if to is None and not os.access(path.parent, os.W_OK):
            raise KeyFileError(
                "the key lies where it cannot be replaced, as a systemd credential does",
                where=str(path),
                fix="name a new file with --to, and make the credential from it",
            )
        AuditLog(store, secret).append("key", this_user(), step="begun")
        fresh, target = secrets.token_bytes(KEY_BYTES), to or successor(path)
        beside = successor(sealed)
        for left in (beside, *(() if to else (target,))):  # of a change that was interrupted before it counted
            left.unlink(missing_ok=True)
        write_key(target, fresh)
        try:
            write_private(beside, seal_secret(fresh, secret.secret))
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        beside.replace(sealed)
        sync_folder(store)
        if to is None:
            target.replace(path)
            sync_folder(path.parent)
        AuditLog(store, secret).append("key", this_user(), step="done")
    return to or path


@contextmanager
def _alone(store: Path) -> Generator[None]:
    """The right to change this store's key, one process at a time."""
    try:
        descriptor = os.open(store, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as fault:
        raise KeyFileError(
            f"there is no store here ({fault.strerror})", where=str(store), fix="name its node"
        ) from fault
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as fault:
        raise KeyFileError(
            "another process is changing this key", where=str(store), fix="wait until it is done"
        ) from fault
    finally:
        os.close(descriptor)
