"""Derived data that can be made again (rendered images, frozen features), kept encrypted beside the store.

A database of its own, so that losing it costs time only: it is synced at checkpoints, not at every write, and may be
deleted while the store is closed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import TamperError
from .database import clear_errors, connect
from .sealing import Seal

_SCHEMA = """
CREATE TABLE IF NOT EXISTS derived (
    instance TEXT NOT NULL, name TEXT NOT NULL, patient TEXT NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (instance, name)
)
"""


class Cache:
    """Encrypted bytes by (instance, name); each under the data key of the instance's patient."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._clear_errors():
            self._connection: Any = connect(path, key, "NORMAL")
            self._connection.execute(_SCHEMA)

    @contextmanager
    def _clear_errors(self) -> Generator[None, None, None]:
        with clear_errors(f"{self._path} (may be deleted while the store is closed)"):
            yield

    def put(self, items: Sequence[tuple[str, str, str, bytes]], seal_of: Callable[[str], Seal]) -> None:
        """Keep (instance, name, patient, data) items in one transaction; what was there under a name is replaced."""
        rows = [
            (instance, name, patient, seal_of(patient).seal(data, "derived", instance, name))
            for instance, name, patient, data in items
        ]
        with self._lock, self._clear_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?)", rows)
            except BaseException:
                # A full disk makes SQLite roll back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def get(self, instance: str, name: str, seal_of: Callable[[str], Seal]) -> bytes | None:
        """What was kept, or None; TamperError when it was changed."""
        with self._lock, self._clear_errors():
            found = self._connection.execute(
                "SELECT patient, sealed FROM derived WHERE instance = ? AND name = ?", (instance, name)
            ).fetchone()
        if found is None:
            return None
        patient, sealed = found
        try:
            return seal_of(patient).open(sealed, "derived", instance, name)
        except TamperError as fault:
            raise TamperError(
                "a cached image was changed or damaged",
                where=str(self._path),
                fix="close the store and delete this file; it is made again",
            ) from fault

    def forget(self, patient: str) -> None:
        """Drop everything derived from a patient's images, and overwrite where it lay."""
        with self._lock, self._clear_errors():
            self._connection.execute("DELETE FROM derived WHERE patient = ?", (patient,))
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the database."""
        self._connection.close()
