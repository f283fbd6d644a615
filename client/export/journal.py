"""The record of exports: what is known to be where, and under which signature, so that nothing is sent twice.

It holds random and derived identifiers, the names of PACS entries and of whoever signed; nothing of a patient.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..annotations import utc_now
from .destination import Proof
from .objects import Made
from .structured_report import Signature

_SCHEMA = """
CREATE TABLE IF NOT EXISTS saved (
    destination TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, result TEXT NOT NULL, uid TEXT NOT NULL,
    proof TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (destination, key)
) STRICT;
CREATE TABLE IF NOT EXISTS signed (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, organisation TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
"""


class Journal:
    """The record of one node's exports, in one SQLite file; durable when a method returns."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        # DELETE with EXTRA: a commit that has returned survives a power cut, the journal's removal included.
        self._database.execute("PRAGMA journal_mode = DELETE")
        self._database.execute("PRAGMA synchronous = EXTRA")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def saved(self, destination: str, key: str) -> bool:
        """Whether the object of this key is known to be there."""
        found = self._database.execute(
            "SELECT 1 FROM saved WHERE destination = ? AND key = ?", (destination, key)
        ).fetchone()
        return found is not None

    def note(self, destination: str, made: Made, proof: Proof) -> None:
        """Note that the object is there, and how that is known."""
        self._database.execute(
            "INSERT INTO saved VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET uid = excluded.uid, proof = excluded.proof, at = excluded.at",
            (destination, made.key, made.kind, made.result, made.sop_uid, proof, utc_now().isoformat()),
        )

    def report_of(self, destination: str, results: Sequence[str], but: str) -> str | None:
        """The UID of the newest report there of the first of `results` that has one, the key `but` left out."""
        for result in results:
            row = self._database.execute(
                "SELECT uid FROM saved WHERE destination = ? AND kind = 'findings' AND result = ? AND key != ?"
                " ORDER BY at DESC LIMIT 1",
                (destination, result, but),
            ).fetchone()
            if row is not None:
                return str(row[0])
        return None

    def sign(self, key: str, name: str, organisation: str) -> Signature:
        """The signature of the object of this key, which holds from the first time that it is given."""
        self._database.execute(
            "INSERT INTO signed VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (key, name, organisation, utc_now().isoformat()),
        )
        row = self._database.execute("SELECT name, organisation, at FROM signed WHERE key = ?", (key,)).fetchone()
        return Signature(row[0], row[1], datetime.fromisoformat(row[2]).astimezone(UTC))
