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
from . import heads, wire
from .charges import Adoption, Book, Charge, Opening
from .errors import BudgetError, LedgerError, WireError
from .events import GaussianSteps
from .filters import best_order
from .heads import Head, Point, SignedHead

_APPLICATION = 0x6D71_4C47  # "mqLG", SQLite's place for naming what a file is
_VERSION = 2
_WAIT_SECONDS = 60.0

_SCHEMA = """
CREATE TABLE ledger (
    only INTEGER PRIMARY KEY CHECK (only = 1), opening BLOB NOT NULL, links INTEGER NOT NULL, head BLOB NOT NULL
) STRICT;
CREATE TABLE links (sequence INTEGER PRIMARY KEY, entry BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
"""


class Ledger:
    """The open ledger of one site. Safe for threads and processes: every operation is its own transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connection() as connection:
            self._opening = self._read(connection)[0].opening

    @classmethod
    def create(cls, path: Path, site: str, epsilon_cap: float, delta: float, delta_cap: float | None = None) -> Ledger:
        """Start the ledger of `site` at `path`, which must not exist yet.

        epsilon_cap (> 0) and delta_cap (by default 16 deltas, at most 1/2) bound what all plans ever may cost together;
        delta, at most half of delta_cap, is the largest that one plan may have. Raises BudgetError for a cap or delta
        out of range, LedgerError when the file exists.
        """
        path = Path(path)
        if not 0.0 < epsilon_cap < float("inf"):
            raise BudgetError(f"an epsilon cap of {epsilon_cap}", where=str(path), fix="choose one above 0")
        whole = min(16.0 * delta, 0.5) if delta_cap is None else delta_cap
        if not (0.0 < 2.0 * delta <= whole < 1.0):
            raise BudgetError(
                f"a delta of {delta} for each plan and {whole} for all",
                where=str(path),
                fix="choose one for each plan well below 1/patients, and at least twice as much for all",
            )
        if path.exists():
            raise LedgerError("a ledger is there already", where=str(path), fix="open it; a ledger is never replaced")
        order = best_order(epsilon_cap, delta)
        opening = wire.encode(Opening(site, float(epsilon_cap), float(delta), float(whole), order))
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
    def delta_cap(self) -> float:
        """The bound on the deltas of all plans together, the Renyi filter's share included."""
        return self._opening.delta_cap

    def head(self) -> Head:
        """The newest link and the cost of everything up to it, for peers to keep."""
        book, hashes = self._whole()
        return Head(
            self.site,
            book.links[-1].sequence if book.links else 0,
            hashes[-1],
            self._opening.order,
            book.cost,
            heads.lineage(hashes[:-1]),
        )

    def book(self) -> Book:
        """Every link, oldest first, and what follows from them."""
        return self._whole()[0]

    def charges(self) -> tuple[Charge, ...]:
        """Every charge, oldest first."""
        return self.book().charges

    def spent_on(self, plan_hash: bytes) -> float:
        """Epsilon, at the plan's delta, of everything charged for the plan so far (0 before its first charge)."""
        return self.book().spent_on(plan_hash)

    def spent(self) -> float:
        """The sum over plans of what each has been charged so far, and of what was adopted; at most `committed`."""
        book = self.book()
        return sum(book.spent_on(plan_hash) for plan_hash in book.plans) + book.adopted()

    def committed(self) -> float:
        """The sum of the started plans' full epsilons, as the filter that adds up counts it."""
        return self.book().cost.epsilon

    def committed_in_year(self) -> float:
        """The part of `committed` that was charged in the last 365 days; a clock set back frees none of it."""
        return rules.committed_in_year(self.book().links, datetime.datetime.now(datetime.UTC))

    def committed_delta(self) -> float:
        """The sum of the started plans' deltas: the delta that goes with `committed`."""
        return self.book().cost.delta

    def left(self) -> float:
        """The largest epsilon (>= 0) that adding up leaves to a new plan; see `affordable` for what is left in all."""
        return self.book().left

    def affordable(self, event: GaussianSteps, plan_hash: bytes | None = None, delta: float | None = None) -> int:
        """How many more rounds like `event` (each of event.steps steps) fit; capped at 2^24.

        With the hash of a started plan: within that plan's epsilon. Else within what either filter leaves to a new
        plan with `delta` (default: the ledger's).
        """
        return rules.affordable(self.book(), event, plan_hash, self.delta if delta is None else delta)

    def require_room(
        self,
        planned: Sequence[GaussianSteps],
        each: GaussianSteps,
        plan_epsilon: float,
        plan_delta: float,
        evaluated: Sequence[GaussianSteps] = (),
    ) -> None:
        """Raise BudgetError, with the figures that would work, unless a new plan that means to release all of `planned`
        and, about held-out patients, of `evaluated` has room. each: one round's event, in which figures are given."""
        where = f"ledger of {self.site!r}"
        rules.require_room(self.book(), planned, each, plan_epsilon, plan_delta, where, evaluated)

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
        planned: Sequence[GaussianSteps] = (),
        evaluated: Sequence[GaussianSteps] = (),
    ) -> Charge:
        """Charge `events` to the plan; the charge is on disk when this returns, and only then may anything be released.

        plan_epsilon is the plan's own cap, plan_delta its delta (default: the ledger's), year_cap the site's bound on
        what all plans may commit within 365 days (see charges.committed_in_year), planned all that the plan means to
        release about patients trained on (default: this), evaluated about those held out. A charge for the purpose
        "evaluation" is about the held-out ones, any other about those trained on (see charges). Each (plan, purpose,
        round, attempt) can be charged once: a retry is a new attempt with a new charge. Raises BudgetError, with the
        figures that would work, when the plan would pass its own epsilon, the plans together what both filters allow,
        a delta is too large, the plan's budget differs from the one it started with, the plan is closed by an
        adoption, or the charge is a repetition; LedgerError when the file cannot be trusted or written. Nothing is
        charged then.
        """
        with self._writing() as connection:
            book, hashes = self._read(connection)
            charge = Charge(
                sequence=book.links[-1].sequence + 1 if book.links else 1,
                plan_hash=plan_hash,
                purpose=purpose,
                round=round,
                attempt=attempt,
                events=tuple(events),
                plan_epsilon=float(plan_epsilon),
                plan_delta=float(self.delta if plan_delta is None else plan_delta),
                at=_now(),
                previous=hashes[-1],
                nonce=os.urandom(16),
            )
            # What could not be read back would close the ledger for good.
            wire.decode(Charge, wire.encode(charge))
            rules.admit(book, charge, planned, year_cap, evaluated)
            _append(connection, charge)
        return charge

    def adopt(self, claims: Sequence[SignedHead], key: bytes) -> tuple[Adoption, ...]:
        """Take in what peers' kept heads (`claims`) prove to be missing here; nothing when nothing is.

        key: the site's own public key. The cost of what is missing is added at once and for good, and the plans charged
        before it are closed. Raises LedgerError for a head that this ledger does not know and the site did not sign.
        """
        made: list[Adoption] = []
        with self._writing() as connection:
            book, hashes = self._read(connection)
            known, covered = _points(book, hashes)
            previous, sequence = hashes[-1], book.links[-1].sequence if book.links else 0
            for evidence, cost in heads.lost(claims, self.site, key, self._opening.order, known, covered):
                sequence = max(sequence, evidence.head.sequence) + 1
                made.append(Adoption(sequence, evidence, cost, _now(), previous))
                previous = _append(connection, made[-1])
        return tuple(made)

    def _whole(self) -> tuple[Book, tuple[bytes, ...]]:
        with self._connection() as connection:
            return self._read(connection)

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        """One transaction, on disk when it ends well and undone when it does not."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

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

    def _read(self, connection: sqlite3.Connection) -> tuple[Book, tuple[bytes, ...]]:
        """Everything in the file, after checking all of it, and the hashes of the opening and of each link."""
        if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
            raise self._untrusted("is not one: the file is something else, or empty")
        if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            raise self._untrusted("was written by another version of medquorum")
        fault = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if fault != "ok":
            raise self._untrusted(f"is damaged ({fault})")
        # One statement, so that the summary and the links are of one moment even outside a write transaction.
        rows = connection.execute(
            "SELECT l.opening, l.links, l.head, c.sequence, c.entry, c.hash "
            "FROM ledger AS l LEFT JOIN links AS c ORDER BY c.sequence"
        ).fetchall()
        if not rows:
            raise self._untrusted("has lost its first link")
        opening_bytes, count, head = rows[0][:3]
        links: list[Charge | Adoption] = []
        hashes = [_hash(opening_bytes)]
        try:
            opening = wire.decode(Opening, opening_bytes)
            for sequence, entry, digest in (row[3:] for row in rows):
                if sequence is None:
                    continue
                link = wire.decode(Adoption if wire.kind_of(entry) == Adoption.__name__ else Charge, entry)
                expected = links[-1].sequence + 1 if links else 1
                follows = link.sequence >= expected if isinstance(link, Adoption) else link.sequence == expected
                if not follows or link.sequence != sequence or link.previous != hashes[-1] or _hash(entry) != digest:
                    raise self._untrusted(f"is broken at link {len(links) + 1}")
                links.append(link)
                hashes.append(digest)
        except WireError as fault:
            raise self._untrusted(f"holds something else at link {len(links) + 1} ({fault.what})") from fault
        if count != len(links) or head != hashes[-1]:
            raise self._untrusted(f"has lost charges: it counts {count} links and holds {len(links)}")
        return Book(opening, tuple(links)), tuple(hashes)


def _append(connection: sqlite3.Connection, link: Charge | Adoption) -> bytes:
    """Add a link within the transaction at hand; returns its hash."""
    entry = wire.encode(link)
    digest = _hash(entry)
    connection.execute("INSERT INTO links VALUES (?, ?, ?)", (link.sequence, entry, digest))
    connection.execute("UPDATE ledger SET links = links + 1, head = ?", (digest,))
    return digest


def _points(book: Book, hashes: Sequence[bytes]) -> tuple[dict[bytes, Point], set[bytes]]:
    """The points that a ledger knows by hash prefix, its own and adopted heads', and what lies before the latter."""
    sequences = (0, *(link.sequence for link in book.links))
    known = {
        digest[: heads.PREFIX]: Point(sequence, cost)
        for digest, sequence, cost in zip(hashes, sequences, book.costs, strict=True)
    }
    covered: set[bytes] = set()
    for link in book.links:
        if isinstance(link, Adoption):
            known[link.evidence.prefix] = Point(link.evidence.head.sequence, link.evidence.head.cost)
            covered |= link.evidence.prefixes
    return known, covered


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


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
