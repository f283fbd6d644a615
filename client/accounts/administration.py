"""What an admin does with accounts, on the page or by commands: add, give a code, change a role, disable, sign out.

Accounts are never deleted: a name stands in annotations, and nobody else must get it. Whatever changes what somebody
may do closes their sessions within the same transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import cast

from ..audit_log import Trail
from .account import Account, Standing, folded, reader_name
from .book import Book
from .codes import LIFETIME as CODE_LIFETIME
from .codes import kept, new_code
from .errors import AccountError, AccountRefusedError
from .roles import Role
from .sessions import IDLE, LIFETIME, close_all, hashed


class Administration:
    """The accounts of one node. trail: where each change is noted, before it counts."""

    def __init__(self, book: Book, trail: Trail, clock: Callable[[], float] = time.time) -> None:
        self._book, self._trail, self._clock = book, trail, clock

    def all(self) -> list[Account]:
        """Every account, by name."""
        now = self._clock()
        open_ones = "SELECT count(*) FROM session WHERE folded = account.folded AND made > ? AND seen > ?"
        with self._book.reading() as database:
            rows = database.execute(
                f"SELECT *, ({open_ones}) AS sessions FROM account ORDER BY folded", (now - LIFETIME, now - IDLE)
            ).fetchall()
        return [_account(row, now) for row in rows]

    def add(self, name: str, role: Role, by: str) -> str:
        """Make an account; returns the one-time code with which its reader begins. by: who does it."""
        name, code, now = reader_name(name), new_code(), self._clock()
        with self._book.writing() as database:
            known = database.execute("SELECT name FROM account WHERE folded = ?", (folded(name),)).fetchone()
            if known is not None:
                raise AccountError(
                    f"there is an account {known['name']!r} already",
                    fix="choose another name, or give that one a new code",
                )
            database.execute(
                "INSERT INTO account (folded, name, role, code, code_until, made) VALUES (?, ?, ?, ?, ?, ?)",
                (folded(name), name, role, kept(code), now + CODE_LIFETIME, now),
            )
            self._trail.append("account", by, step="add", account=name, role=role)
        return code

    def invite(self, name: str, by: str) -> str:
        """Take an account's password away and return a one-time code for a new one: for who forgot it, or lost it to
        somebody. Sessions end, and every browser is a new one again."""
        code, now = new_code(), self._clock()
        with self._book.writing() as database:
            row = _row(database, name)
            _require_own(row, "it has no password here")
            close_all(database, row["folded"])
            database.execute("DELETE FROM browser WHERE folded = ?", (row["folded"],))
            database.execute("DELETE FROM failure WHERE kind = 'account' AND key = ?", (hashed(row["folded"]),))
            database.execute(
                "UPDATE account SET password = NULL, code = ?, code_until = ? WHERE folded = ?",
                (kept(code), now + CODE_LIFETIME, row["folded"]),
            )
            self._trail.append("account", by, step="code", account=row["name"])
        return code

    def set_role(self, name: str, role: Role, by: str) -> None:
        """Give an account another role. Its sessions end."""
        with self._book.writing() as database:
            row = _row(database, name)
            _require_own(row, "its role follows from its groups there")
            if row["role"] == role:
                return
            if role != "admin":
                _require_another_admin(database, row)
            database.execute("UPDATE account SET role = ? WHERE folded = ?", (role, row["folded"]))
            close_all(database, row["folded"])
            self._trail.append("account", by, step="role", account=row["name"], role=role)

    def disable(self, name: str, by: str) -> None:
        """Shut an account out, at once."""
        with self._book.writing() as database:
            row = _row(database, name)
            _require_another_admin(database, row)
            database.execute("UPDATE account SET enabled = 0 WHERE folded = ?", (row["folded"],))
            close_all(database, row["folded"])
            self._trail.append("account", by, step="disable", account=row["name"])

    def enable(self, name: str, by: str) -> None:
        """Let an account in again that was disabled."""
        with self._book.writing() as database:
            row = _row(database, name)
            database.execute("UPDATE account SET enabled = 1 WHERE folded = ?", (row["folded"],))
            self._trail.append("account", by, step="enable", account=row["name"])

    def sign_out(self, name: str, by: str) -> int:
        """Close every session of an account; how many there were."""
        with self._book.writing() as database:
            row = _row(database, name)
            closed = close_all(database, row["folded"])
            self._trail.append("account", by, step="sign_out", account=row["name"], sessions=closed)
            return closed


def _row(database: sqlite3.Connection, name: str) -> sqlite3.Row:
    row = database.execute("SELECT * FROM account WHERE folded = ?", (folded(" ".join(name.split())),)).fetchone()
    if row is None:
        raise AccountError("there is no such account", fix="list them with medquorum node reader list")
    return row


def _account(row: sqlite3.Row, now: float) -> Account:
    role = cast(Role, row["role"])
    return Account(row["name"], role, _standing(row, now), row["sessions"], row["made"], row["last_in"])


def _standing(row: sqlite3.Row, now: float) -> Standing:
    if not row["enabled"]:
        return "disabled"
    if row["subject"] is not None:
        return "provider"
    if row["password"] is not None:
        return "active"
    return "invited" if row["code_until"] > now else "expired"


def _require_own(row: sqlite3.Row, why: str) -> None:
    if row["subject"] is not None:
        raise AccountRefusedError(
            f"{row['name']!r} signs in with the hospital's identity provider: {why}",
            fix="change it there, or disable the account here",
        )


def _require_another_admin(database: sqlite3.Connection, row: sqlite3.Row) -> None:
    """AccountRefusedError when this is the last admin who can sign in."""
    if row["role"] != "admin" or not row["enabled"]:
        return
    others = database.execute(
        "SELECT 1 FROM account WHERE role = 'admin' AND enabled AND folded != ?"
        " AND (password IS NOT NULL OR subject IS NOT NULL)",
        (row["folded"],),
    ).fetchone()
    if others is None:
        raise AccountRefusedError(
            f"{row['name']!r} is the last admin who can sign in",
            fix="make another reader an admin first, who has signed in once",
        )
