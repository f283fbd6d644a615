"""Which process serves a coordinator's folder: one at a time, told by a lock that dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Generator
from pathlib import Path

from .errors import NetworkError


@contextlib.contextmanager
def serving(folder: Path) -> Generator[None]:
    """Hold the folder for the time of the block; NetworkError when another service does."""
    with (folder / "serving.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NetworkError(
                "another service serves this folder", where=str(folder), fix="stop it first, or leave it running"
            ) from None
        yield


def is_served(folder: Path) -> bool:
    """Whether a service runs on the folder at this moment."""
    path = folder / "serving.lock"
    if not path.exists():
        return False
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
