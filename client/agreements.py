"""What this node has agreed to and already answered, on disk before anything depends on it.

Plans are kept whole, so that a node that was killed goes on with what it countersigned and with nothing else. The
attempts it began are kept so that none is ever answered twice, whatever the coordinator forgets or replays. Of a gated
plan's first evaluation the noised copy is kept, to be judged beside the last one's; it was charged as a release. What
each gate then found is kept for the site's own people, and never leaves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import RefusedError
from ..privacy import wire
from ..privacy.aggregation import Purpose
from ..privacy.plan import Plan
from .errors import NodeError
from .evaluate import Verdict


class AgreementError(NodeError, RefusedError):
    """A step is not bound to a plan that this node countersigned, or was asked before."""


class UnknownPlanError(AgreementError):
    """A step names a plan that this node did not countersign."""

    number = "MQ308"


_SCHEMA = """
CREATE TABLE IF NOT EXISTS agreement (
    plan_hash BLOB PRIMARY KEY, plan BLOB NOT NULL, epsilon_cap REAL NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS begun (
    plan_hash BLOB NOT NULL REFERENCES agreement, purpose TEXT NOT NULL, round INTEGER NOT NULL,
    attempt INTEGER NOT NULL, at TEXT NOT NULL, PRIMARY KEY (plan_hash, purpose, round, attempt)
) STRICT;
CREATE TABLE IF NOT EXISTS noised (plan_hash BLOB PRIMARY KEY REFERENCES agreement, copy BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS verdict (
    plan_hash BLOB NOT NULL REFERENCES agreement, position INTEGER NOT NULL, judged TEXT NOT NULL, before REAL,
    after REAL, error REAL NOT NULL, failed INTEGER NOT NULL, PRIMARY KEY (plan_hash, position)
) STRICT;
"""


class Agreements:
    """The countersigned plans and begun attempts of one node."""

    def __init__(self, path: Path) -> None:
        # One thread at a time uses a node; which thread that is may change.
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # DELETE with EXTRA: a commit that has returned survives a power cut, the journal's removal included.
        self._database.execute("PRAGMA journal_mode = DELETE")
        self._database.execute("PRAGMA synchronous = EXTRA")
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def countersign(self, plan: Plan, epsilon_cap: float) -> None:
        """Keep the plan and the cap it was countersigned under; a plan kept before stays as it was."""
        self._database.execute(
            "INSERT INTO agreement VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (plan.hash, wire.encode(plan), epsilon_cap, _now()),
        )

    def find(self, plan_hash: bytes) -> Plan | None:
        """The countersigned plan of this hash, if there is one."""
        row = self._database.execute("SELECT plan FROM agreement WHERE plan_hash = ?", (plan_hash,)).fetchone()
        return None if row is None else wire.decode(Plan, row[0])

    def named(self, consortium: str, name: str) -> tuple[Plan, ...]:
        """The countersigned plans of this consortium under this name."""
        plans = (wire.decode(Plan, row[0]) for row in self._database.execute("SELECT plan FROM agreement"))
        return tuple(plan for plan in plans if (plan.consortium, plan.name) == (consortium, name))

    def by_name(self, name: str) -> Plan | None:
        """The newest plan of that name that this node countersigned, or None."""
        known = [wire.decode(Plan, row[0]) for row in self._database.execute("SELECT plan FROM agreement ORDER BY at")]
        return next((plan for plan in reversed(known) if plan.name == name), None)

    def begin(self, plan_hash: bytes, purpose: Purpose, round: int, attempt: int) -> None:
        """Note, durably, that this attempt is begun.

        Raises AgreementError unless (round, attempt) is above every one begun for the same plan and purpose.
        """
        self._database.execute("BEGIN IMMEDIATE")
        try:
            last = self._database.execute(
                "SELECT round, attempt FROM begun WHERE plan_hash = ? AND purpose = ?"
                " ORDER BY round DESC, attempt DESC LIMIT 1",
                (plan_hash, purpose),
            ).fetchone()
            if last is not None and (round, attempt) <= tuple(last):
                raise AgreementError(
                    f"round {round}, attempt {attempt} is not after round {last[0]}, attempt {last[1]}, which this "
                    "node has begun already",
                    where=purpose,
                    fix="ask under a new attempt",
                )
            self._database.execute(
                "INSERT INTO begun VALUES (?, ?, ?, ?, ?)", (plan_hash, purpose, round, attempt, _now())
            )
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def keep_copy(self, plan_hash: bytes, copy: NDArray[np.float64]) -> None:
        """Keep the noised copy (d,) of the starting release's evaluation; a later one takes its place."""
        self._database.execute(
            "INSERT INTO noised VALUES (?, ?) ON CONFLICT DO UPDATE SET copy = excluded.copy",
            (plan_hash, copy.astype("<f8").tobytes()),
        )

    def copy(self, plan_hash: bytes) -> NDArray[np.float64] | None:
        """The copy kept for the plan, if there is one."""
        row = self._database.execute("SELECT copy FROM noised WHERE plan_hash = ?", (plan_hash,)).fetchone()
        return None if row is None else np.frombuffer(row[0], dtype="<f8").astype(np.float64)

    def keep_verdicts(self, plan_hash: bytes, found: Sequence[Verdict]) -> None:
        """Keep what each gate of the plan found, all of them or none; later ones take their place."""
        rows = [(plan_hash, n, v.group, v.before, v.after, v.error, int(v.failed)) for n, v in enumerate(found)]
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.execute("DELETE FROM verdict WHERE plan_hash = ?", (plan_hash,))
            self._database.executemany("INSERT INTO verdict VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def verdicts(self, plan_hash: bytes) -> tuple[Verdict, ...]:
        """What was kept of the plan's gates; () before its last evaluation and without gates."""
        rows = self._database.execute(
            "SELECT judged, before, after, error, failed FROM verdict WHERE plan_hash = ? ORDER BY position",
            (plan_hash,),
        )
        return tuple(Verdict(name, was, now, error, bool(failed)) for name, was, now, error, failed in rows)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
