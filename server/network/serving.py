"""Which process serves a coordinator's folder: one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

from ..holding import hold, is_held
from .errors import NetworkError

LOCK = "serving.lock"


@contextlib.contextmanager
def serving(folder: Path) -> Generator[None]:
    """Hold the folder for the time of the block; NetworkError when another service does."""
    try:
        lock = hold(folder / LOCK)
    except BlockingIOError:
        raise NetworkError(
            "another service serves this folder", where=str(folder), fix="stop it first, or leave it running"
        ) from None
    with lock:
        yield


def is_served(folder: Path) -> bool:
    """Whether a service runs on the folder at this moment."""
    return is_held(folder / LOCK)
