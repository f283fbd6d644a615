"""The accounts' file: one small SQLite database, that a running node and commands beside it use at the same time.

Nothing in it opens anything by itself: of passwords, codes and sessions there are hashes. It says nothing of patients.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ..disk import DiskFullError, is_full
from ..errors import NodeError

FILE = "accounts.sqlite"
_SECONDS = 15.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS account (
    folded TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, enabled INTEGER NOT NULL DEFAULT 1, password TEXT,
    code TEXT, code_until REAL NOT NULL DEFAULT 0, subject TEXT UNIQUE, made REAL NOT NULL, last_in REAL
) STRICT;
CREATE TABLE IF NOT EXISTS session (
    hash TEXT PRIMARY KEY, folded TEXT NOT NULL REFERENCES account, made REAL NOT NULL, seen REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS browser (
    hash TEXT NOT NULL, folded TEXT NOT NULL REFERENCES account, at REAL NOT NULL, PRIMARY KEY (hash, folded)
) STRICT;
CREATE TABLE IF NOT EXISTS failure (
    kind TEXT NOT NULL, key TEXT NOT NULL, count INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (kind, key)
) STRICT;
"""


class Book:
    """An open accounts' file; made, readable by its user alone, when missing. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._turn = threading.RLock()
        with self._clear():
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=_SECONDS
            )
            self._database.row_factory = sqlite3.Row
            # DELETE with EXTRA: what was revoked stays revoked through a power cut. What is deleted is overwritten.
            for pragma in ("journal_mode = DELETE", "synchronous = EXTRA", "foreign_keys = ON", "secure_delete = ON"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.executescript(_SCHEMA)

    def end_all_sessions(self) -> None:
        """End every session of every account, as in a copy whose sessions may have been ended since it was made."""
        with self.writing() as database:
            database.execute("DELETE FROM session")

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._database.close()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """The database, for one question."""
        with self._turn, self._clear():
            yield self._database

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """One transaction: committed and durable when the block ends, undone when it raises."""
        with self._turn, self._clear():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _clear(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as fault:
            if is_full(fault):
                raise DiskFullError(
                    "the disk is full", where=str(self._path), fix="free space on this disk, then repeat the step"
                ) from fault
            raise NodeError(
                f"the accounts cannot be read or written ({fault})",
                where=str(self._path),
                fix="check that this user owns the file and that it is a database; else restore it from a backup",
            ) from fault
