"""A site's privacy ledger: what has been released about its patients, on disk before anything is released.

One SQLite file, written only in whole transactions that have reached the disk before `charge` returns (rollback
journal, synchronous=EXTRA). Rows are chained by SHA-256 and the whole chain is checked at every opening and charge; a
file that does not check is refused and never repaired, because every repair could only forget something.

What is admitted, and what is thereby proved, stands in charges.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import charges as rules
from . import wire
from .charges import Charge, Opening
from .errors import BudgetError, LedgerError, WireError
from .events import GaussianSteps

_APPLICATION = 0x6D71_4C47  # "mqLG", SQLite's place for naming what a file is
_VERSION = 1
_WAIT_SECONDS = 60.0

_SCHEMA = """
CREATE TABLE ledger (
    only INTEGER PRIMARY KEY CHECK (only = 1), opening BLOB NOT NULL, charges INTEGER NOT NULL, head BLOB NOT NULL
) STRICT;
CREATE TABLE charges (
    sequence INTEGER PRIMARY KEY, plan BLOB NOT NULL, purpose TEXT NOT NULL, round INTEGER NOT NULL,
    attempt INTEGER NOT NULL, entry BLOB NOT NULL, hash BLOB NOT NULL, UNIQUE (plan, purpose, round, attempt)
) STRICT;
"""


class Ledger:
    """The open ledger of one site. Safe for threads and processes: every operation is its own transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connection() as connection:
            self._opening, _, _ = self._read(connection)

    @classmethod
    def create(cls, path: Path, site: str, epsilon_cap: float, delta: float) -> Ledger:
        """Start the ledger of `site` at `path`, which must not exist yet.

        epsilon_cap (> 0) bounds the sum of the epsilons of all plans ever; delta in (0, 1) is the largest that one
        plan may have. Raises BudgetError for a cap or delta out of range, LedgerError when the file exists.
        """
        path = Path(path)
        if not 0.0 < epsilon_cap < float("inf"):
            raise BudgetError(f"an epsilon cap of {epsilon_cap}", where=str(path), fix="choose one above 0")
        if not 0.0 < delta < 1.0:
            raise BudgetError(f"a delta of {delta}", where=str(path), fix="choose one well below 1/patients")
        if path.exists():
            raise LedgerError("a ledger is there already", where=str(path), fix="open it; a ledger is never replaced")
        opening = wire.encode(Opening(site, float(epsilon_cap), float(delta)))
        draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with _connected(draft) as connection:
                connection.executescript(_SCHEMA)
                connection.execute("INSERT INTO ledger VALUES (1, ?, 0, ?)", (opening, _hash(opening)))
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            os.link(draft, path)  # unlike a rename, refuses to replace what another process just made
            _sync_folder(path.parent)
        except FileExistsError as fault:
            raise LedgerError("a ledger is there already", where=str(path), fix="open it") from fault
        except (OSError, sqlite3.Error) as fault:
            raise LedgerError(f"cannot be created ({fault})", where=str(path), fix="check the folder") from fault
        finally:
            draft.unlink(missing_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path, site: str | None = None) -> Ledger:
        """Open and check the ledger at `path`.

        Raises LedgerError when it is missing, cut, altered, of another version, or not that of `site` (when given).
        """
        ledger = cls(Path(path))
        if site is not None and ledger.site != site:
            raise LedgerError(
                f"this is the ledger of site {ledger.site!r}, not of {site!r}",
                where=str(path),
                fix="bring back this site's own ledger; another's says nothing about these patients",
            )
        return ledger

    @property
    def site(self) -> str:
        """Whose ledger it is."""
        return self._opening.site

    @property
    def epsilon_cap(self) -> float:
        """The bound on the sum of all plans' epsilons."""
        return self._opening.epsilon_cap

    @property
    def delta(self) -> float:
        """The largest delta that one plan may have."""
        return self._opening.delta

    @property
    def head(self) -> bytes:
        """Hash of the last link (32 bytes): what a peer could witness."""
        with self._connection() as connection:
            return self._read(connection)[2]

    def charges(self) -> tuple[Charge, ...]:
        """Every charge, oldest first."""
        with self._connection() as connection:
            return self._read(connection)[1]

    def spent_on(self, plan_hash: bytes) -> float:
        """Epsilon, at the plan's delta, of everything charged for the plan so far (0 before its first charge)."""
        return rules.spent_on(self.charges(), plan_hash)

    def spent(self) -> float:
        """The sum over plans of what each has been charged so far; at most `committed`."""
        charges = self.charges()
        return sum(rules.spent_on(charges, plan_hash) for plan_hash in rules.plans(charges))

    def committed(self) -> float:
        """The sum of the started plans' full epsilons: what is proved of all releases together, and held by the cap."""
        return rules.committed(self.charges())

    def committed_in_year(self) -> float:
        """The part of `committed` that was charged in the last 365 days; a clock set back frees none of it."""
        return rules.committed_in_year(self.charges(), datetime.datetime.now(datetime.UTC))

    def committed_delta(self) -> float:
        """The sum of the started plans' deltas: the delta that goes with `committed`."""
        return sum(charge.plan_delta for charge in rules.plans(self.charges()).values())

    def left(self) -> float:
        """The largest epsilon that a new plan may state (>= 0)."""
        return max(0.0, self.epsilon_cap - self.committed())

    def affordable(self, event: GaussianSteps, plan_hash: bytes | None = None, delta: float | None = None) -> int:
        """How many more rounds like `event` (each of event.steps steps) fit; capped at 2^24.

        With the hash of a started plan: within that plan's epsilon. Else within what the cap leaves to a new plan
        with `delta` (default: the ledger's).
        """
        at = self.delta if delta is None else delta
        return rules.affordable(self._opening, self.charges(), event, plan_hash, at)

    def charge(
        self,
        plan_hash: bytes,
        purpose: str,
        round: int,
        attempt: int,
        events: Sequence[GaussianSteps],
        plan_epsilon: float,
        plan_delta: float | None = None,
        year_cap: float = math.inf,
    ) -> Charge:
        """Charge `events` to the plan; the charge is on disk when this returns, and only then may anything be released.

        plan_epsilon is the plan's own cap, plan_delta its delta (default: the ledger's), year_cap the site's bound on
        what all plans may commit within 365 days (see charges.committed_in_year). Each (plan, purpose, round,
        attempt) can be charged once: a retry is a new attempt with a new charge. Raises BudgetError, with the figures
        that would work, when the plan would pass its own epsilon, the plans together the cap, a delta is too large,
        the plan's budget differs from the one it started with, or the charge is a repetition; LedgerError when the
        file cannot be trusted or written. Nothing is charged then.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                opening, charges, head = self._read(connection)
                charge = Charge(
                    sequence=len(charges) + 1,
                    plan_hash=plan_hash,
                    purpose=purpose,
                    round=round,
                    attempt=attempt,
                    events=tuple(events),
                    plan_epsilon=float(plan_epsilon),
                    plan_delta=float(opening.delta if plan_delta is None else plan_delta),
                    at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    previous=head,
                )
                entry = wire.encode(charge)
                wire.decode(Charge, entry)  # what could not be read back would close the ledger for good
                rules.admit(opening, charges, charge, year_cap)
                connection.execute(
                    "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (charge.sequence, plan_hash, purpose, round, attempt, entry, _hash(entry)),
                )
                connection.execute("UPDATE ledger SET charges = ?, head = ?", (charge.sequence, _hash(entry)))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        return charge

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        if not self._path.is_file():
            raise LedgerError(
                "there is no ledger", where=str(self._path), fix="bring it back; a new one would forget what was spent"
            )
        try:
            with _connected(self._path) as connection:
                yield connection
        except sqlite3.Error as fault:
            raise self._untrusted(f"cannot be read or written as a ledger ({fault})") from fault

    def _untrusted(self, what: str) -> LedgerError:
        return LedgerError(
            f"the ledger {what}",
            where=str(self._path),
            fix="keep the file, bring back a whole copy and check it against the peers; until then nothing is trained",
        )

    def _read(self, connection: sqlite3.Connection) -> tuple[Opening, tuple[Charge, ...], bytes]:
        """Everything in the file, after checking all of it."""
        if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
            raise self._untrusted("is not one: the file is something else, or empty")
        if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            raise self._untrusted("was written by another version of medquorum")
        fault = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if fault != "ok":
            raise self._untrusted(f"is damaged ({fault})")
        # One statement, so that the summary and the charges are of one moment even outside a write transaction.
        rows = connection.execute(
            "SELECT l.opening, l.charges, l.head, c.sequence, c.plan, c.purpose, c.round, c.attempt, c.entry, c.hash "
            "FROM ledger AS l LEFT JOIN charges AS c ORDER BY c.sequence"
        ).fetchall()
        if not rows:
            raise self._untrusted("has lost its first link")
        opening_bytes, count, head = rows[0][:3]
        charges: list[Charge] = []
        link = _hash(opening_bytes)
        try:
            opening = wire.decode(Opening, opening_bytes)
            for sequence, plan, purpose, round_, attempt, entry, digest in (row[3:] for row in rows):
                if sequence is None:
                    continue
                charge = wire.decode(Charge, entry)
                named = (charge.sequence, charge.plan_hash, charge.purpose, charge.round, charge.attempt)
                whole = named == (sequence, plan, purpose, round_, attempt) and sequence == len(charges) + 1
                if not whole or charge.previous != link or _hash(entry) != digest:
                    raise self._untrusted(f"is broken at charge {len(charges) + 1}")
                charges.append(charge)
                link = digest
        except WireError as fault:
            raise self._untrusted(f"holds something else at charge {len(charges) + 1} ({fault.what})") from fault
        if count != len(charges) or head != link:
            raise self._untrusted(f"has lost charges: it counts {count} and holds {len(charges)}")
        return opening, tuple(charges), link


@contextmanager
def _connected(path: Path) -> Generator[sqlite3.Connection]:
    # A connection for each operation: nothing to share between threads or to inherit by a fork.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_WAIT_SECONDS, isolation_level=None
    )
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")  # also syncs the folder once the journal is deleted
        connection.execute("PRAGMA fullfsync = ON")
        yield connection
    finally:
        connection.close()


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
