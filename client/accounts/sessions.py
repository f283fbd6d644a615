"""Sessions, which live in the accounts' file alone: closed there, a session is over with the next request."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass
from typing import cast

from .roles import Role

# NIST SP 800-63B-4, section 2.2.3, asks for no more than a day in all and an hour of rest.
LIFETIME, IDLE = 12 * 3600.0, 3600.0
_NOTED = 60.0
_MOST_BROWSERS = 20


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody was let in. secret: opens the session. browser: by which this browser is known next time."""

    name: str
    role: Role
    secret: str
    browser: str


@dataclass(frozen=True, slots=True)
class Session:
    """An open session: whose it is, their role, and the hash by which it is kept."""

    name: str
    role: Role
    hash: str


def hashed(secret: str) -> str:
    """What is kept of a secret drawn here."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def admit(database: sqlite3.Connection, folded: str, browser: str, now: float) -> Admission:
    """Open a new session for an account, within a transaction. browser: the one it came with, "" or unknown: a new."""
    account = database.execute("SELECT name, role FROM account WHERE folded = ?", (folded,)).fetchone()
    # Readers share workstations: one browser may be known for several of them.
    if database.execute("SELECT 1 FROM browser WHERE hash = ?", (hashed(browser),)).fetchone() is None:
        browser = secrets.token_urlsafe(32)
    database.execute("INSERT OR REPLACE INTO browser VALUES (?, ?, ?)", (hashed(browser), folded, now))
    database.execute(
        "DELETE FROM browser WHERE folded = ?1 AND hash NOT IN"
        " (SELECT hash FROM browser WHERE folded = ?1 ORDER BY at DESC LIMIT ?2)",
        (folded, _MOST_BROWSERS),
    )
    database.execute("DELETE FROM session WHERE made <= ? OR seen <= ?", (now - LIFETIME, now - IDLE))
    secret = secrets.token_urlsafe(32)
    database.execute("INSERT INTO session VALUES (?, ?, ?, ?)", (hashed(secret), folded, now, now))
    database.execute("UPDATE account SET last_in = ? WHERE folded = ?", (now, folded))
    return Admission(account["name"], cast(Role, account["role"]), secret, browser)


def known_browser(database: sqlite3.Connection, folded: str, browser: str) -> bool:
    """Whether this account was signed in to from this browser before."""
    found = database.execute("SELECT 1 FROM browser WHERE hash = ? AND folded = ?", (hashed(browser), folded))
    return bool(browser) and found.fetchone() is not None


def find(database: sqlite3.Connection, secret: str, provider: bool, now: float) -> tuple[Session | None, bool]:
    """The session of a secret, if it is open, and whether it is to be noted (`rest_over`) that it was used.

    provider: look only at accounts that sign in with the hospital's identity provider; False: only at all others.
    """
    row = database.execute(
        "SELECT session.hash, session.seen, name, role FROM session JOIN account USING (folded)"
        " WHERE hash = ? AND enabled AND (subject IS NOT NULL) = ? AND session.made > ? AND session.seen > ?",
        (hashed(secret), provider, now - LIFETIME, now - IDLE),
    ).fetchone()
    if row is None:
        return None, False
    return Session(row["name"], cast(Role, row["role"]), row["hash"]), now - row["seen"] > _NOTED


def rest_over(database: sqlite3.Connection, session: Session, now: float) -> None:
    """Note that a session was used."""
    database.execute("UPDATE session SET seen = ? WHERE hash = ?", (now, session.hash))


def close_all(database: sqlite3.Connection, folded: str) -> int:
    """Close every session of an account; how many there were."""
    return database.execute("DELETE FROM session WHERE folded = ?", (folded,)).rowcount
