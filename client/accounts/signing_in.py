"""Signing in: by password or one-time code, slowly for whoever guesses; or as the hospital's provider says."""

from __future__ import annotations

import ipaddress
import math
import sqlite3
import time
from collections.abc import Callable
from typing import Literal

from ..audit_log import Trail
from .account import folded, reader_name
from .book import Book
from .codes import right
from .delays import FORGOTTEN, Failures, failed, spared, wait
from .errors import SignInError, SlowDownError
from .passwords import Hasher, require_good
from .roles import Role
from .sessions import Admission, Session, admit, close_all, find, hashed, known_browser, rest_over

Counted = list[tuple[str, str]]
Means = Literal["password", "code", "provider"]


class SigningIn:
    """The sign-in of one node. provider: readers come from the hospital's identity provider, and only from there.

    words: what no password may consist of, such as the site's name. trail: where each attempt is noted.
    """

    def __init__(
        self,
        book: Book,
        trail: Trail,
        words: tuple[str, ...] = (),
        provider: bool = False,
        hasher: Hasher | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._book, self._trail, self._words, self._provider = book, trail, words, provider
        self._hasher, self._clock = hasher or Hasher(), clock

    def prepare(self) -> None:
        """Make the first attempt cost what every other does."""
        self._hasher.prepare()

    def by_password(self, name: str, password: str, address: str, browser: str) -> Admission:
        """Let a reader in. address: where they come from. browser: what the browser was given by an earlier admission,
        or "". Raises SignInError, SlowDownError."""
        row, counted = self._attempt(name, address, browser)
        mine = row is not None and row["enabled"] and row["subject"] is None
        held: str | None = row["password"] if row is not None and mine else None
        if not self._hasher.right(held, password) or row is None or held is None:
            raise self._refused(row, "password", "the name or the password is not right")
        anew = self._hasher.kept(password) if self._hasher.outdated(held) else held
        with self._book.writing() as database:
            self._require_unchanged(database, row)
            database.execute("UPDATE account SET password = ? WHERE folded = ?", (anew, row["folded"]))
            return self._admitted(database, row["folded"], browser, counted, "password")

    def by_code(self, name: str, code: str, password: str, address: str, browser: str) -> Admission:
        """Take a one-time code and the password that replaces it. Raises AccountError for a password that is not
        taken, SignInError, SlowDownError."""
        require_good(password, (name, *self._words))
        row, counted = self._attempt(name, address, browser)
        if (
            not right(row["code"] if row is not None else None, code)
            or row is None
            or not row["enabled"]
            or row["code_until"] <= self._clock()
        ):
            raise self._refused(row, "code", "the name or the code is not right, or the code was used or is too old")
        kept = self._hasher.kept(password)
        with self._book.writing() as database:
            self._require_unchanged(database, row)
            database.execute("UPDATE account SET password = ?, code = NULL WHERE folded = ?", (kept, row["folded"]))
            close_all(database, row["folded"])
            return self._admitted(database, row["folded"], browser, counted, "code")

    def by_provider(self, subject: str, name: str, role: Role) -> Admission:
        """Let somebody in of whom the hospital's identity provider says who they are and what they may do.

        subject: by which the provider knows them for good. The name of the first time stays. Raises AccountError for a
        name that no account can have, SignInError when it is somebody else's or the account was disabled.
        """
        now = self._clock()
        with self._book.writing() as database:
            row = database.execute("SELECT * FROM account WHERE subject = ?", (subject,)).fetchone()
            if row is None:
                name = reader_name(name)
                taken = database.execute("SELECT 1 FROM account WHERE folded = ?", (folded(name),)).fetchone()
                if taken is not None:
                    raise SignInError(f"the name {name!r} is another account's here", fix="ask this node's admin")
                database.execute(
                    "INSERT INTO account (folded, name, role, subject, made) VALUES (?, ?, ?, ?, ?)",
                    (folded(name), name, role, subject, now),
                )
                self._trail.append("account", name, step="add", account=name, role=role)
                row = database.execute("SELECT * FROM account WHERE subject = ?", (subject,)).fetchone()
            if not row["enabled"]:
                self._trail.append("sign_in", row["name"], step="failed", by="provider")
                raise SignInError("this account is disabled", fix="ask this node's admin")
            if row["role"] != role:
                database.execute("UPDATE account SET role = ? WHERE folded = ?", (role, row["folded"]))
                close_all(database, row["folded"])
                self._trail.append("account", row["name"], step="role", account=row["name"], role=role)
            return self._admitted(database, row["folded"], "", [], "provider")

    def change_password(self, secret: str, old: str, new: str, browser: str) -> Admission:
        """Give the reader of an open session another password; every session ends, and a new one begins. Raises
        AccountError for a password that is not taken, SignInError, SlowDownError."""
        session = self.session(secret)
        if session is None:
            raise SignInError("the session is over", fix="sign in again")
        require_good(new, (session.name, *self._words))
        key = folded(session.name)
        # Counted for this session alone: who guesses elsewhere must not keep a reader from changing a password.
        counted = [("browser", f"session {session.hash}")]
        with self._book.writing() as database:
            self._count(database, counted)
            row = database.execute("SELECT * FROM account WHERE folded = ?", (key,)).fetchone()
        if not self._hasher.right(row["password"], old):
            raise self._refused(row, "password", "the present password is not right")
        kept = self._hasher.kept(new)
        with self._book.writing() as database:
            self._require_unchanged(database, row)
            database.execute("UPDATE account SET password = ? WHERE folded = ?", (kept, key))
            close_all(database, key)
            self._trail.append("account", session.name, step="password", account=session.name)
            return self._admitted(database, key, browser, counted, "password")

    def session(self, secret: str) -> Session | None:
        """The open session of a secret, which is noted to be in use."""
        now = self._clock()
        if not secret:
            return None
        with self._book.reading() as database:
            session, stale = find(database, secret, self._provider, now)
        if session is not None and stale:
            with self._book.writing() as database:
                rest_over(database, session, now)
        return session

    def end(self, secret: str) -> None:
        """Close a session, at once."""
        with self._book.writing() as database:
            row = database.execute(
                "SELECT name FROM session JOIN account USING (folded) WHERE hash = ?", (hashed(secret),)
            ).fetchone()
            if row is not None:
                database.execute("DELETE FROM session WHERE hash = ?", (hashed(secret),))
                self._trail.append("sign_in", row["name"], step="out")

    def _attempt(self, name: str, address: str, browser: str) -> tuple[sqlite3.Row | None, Counted]:
        """The account of a name, if any. The attempt is counted as failed before it is looked at, so that many at a
        time are no way round the wait."""
        key = folded(" ".join(name.split()))
        with self._book.writing() as database:
            if known_browser(database, key, browser):
                counted = [("browser", hashed(browser))]
            else:
                # Not the name itself: people type passwords where a name is asked for.
                counted = [("account", hashed(key)), ("address", _network(address))]
            self._count(database, counted)
            return database.execute("SELECT * FROM account WHERE folded = ?", (key,)).fetchone(), counted

    def _count(self, database: sqlite3.Connection, counted: Counted) -> None:
        now = self._clock()
        known = {one: _failures(database, one) for one in counted}
        pause = max(wait(kind, failures, now) for (kind, _), failures in known.items())
        if pause > 0.0:
            raise SlowDownError(math.ceil(pause))
        for one, failures in known.items():
            _keep(database, one, failed(failures, now))
        database.execute("DELETE FROM failure WHERE at < ?", (now - FORGOTTEN,))

    def _admitted(self, database: sqlite3.Connection, key: str, browser: str, counted: Counted, by: Means) -> Admission:
        for one in counted:
            # Others may share an address: one success there does not undo what was guessed.
            _keep(database, one, spared(_failures(database, one)) if one[0] == "address" else Failures())
        admission = admit(database, key, browser, self._clock())
        self._trail.append("sign_in", admission.name, step="in", by=by, role=admission.role)
        return admission

    def _refused(self, row: sqlite3.Row | None, by: Means, what: str) -> SignInError:
        self._trail.append("sign_in", "?" if row is None else row["name"], step="failed", by=by)
        return SignInError(what, fix="try again, or ask this node's admin for a one-time code")

    def _require_unchanged(self, database: sqlite3.Connection, row: sqlite3.Row) -> None:
        """SignInError when the account was changed while its password was looked at."""
        now = database.execute("SELECT * FROM account WHERE folded = ?", (row["folded"],)).fetchone()
        if any(now[name] != row[name] for name in ("enabled", "password", "code", "role")):
            raise SignInError("the account was changed meanwhile", fix="sign in again")


def _network(address: str) -> str:
    """What is counted as one address: of IPv6, the /64 that one machine may have all of."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _failures(database: sqlite3.Connection, counted: tuple[str, str]) -> Failures:
    row = database.execute("SELECT count, at FROM failure WHERE kind = ? AND key = ?", counted).fetchone()
    return Failures() if row is None else Failures(row["count"], row["at"])


def _keep(database: sqlite3.Connection, counted: tuple[str, str], failures: Failures) -> None:
    if failures.count == 0:
        database.execute("DELETE FROM failure WHERE kind = ? AND key = ?", counted)
    else:
        database.execute("INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?)", (*counted, failures.count, failures.at))
