"""Labels accepted unseen as the store keeps them: looks and what they accepted, appended as events of their own kinds.

In force is what was accepted of the release that proposes now, since the last withdrawal, of frames about which no
reader ever said anything, of patients who are not held out. Nothing here is an annotation, so that neither freezing nor
quality can meet it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, func, select

from ..unseen import Accepted, Line, Look, Taken
from . import tracing
from .coding import microseconds, moment, pack, unpack
from .events import NewEvent, append, opened
from .instances import select_instances
from .reviews import selected
from .schema import events, frozen_records, patients
from .vault import Vault

LOOK = "acceptance"
ACCEPTED = "accepted"
WITHDRAWAL = "withdrawal"


class AcceptanceView:
    """Safe to use from several threads."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def looks(self, release: str) -> list[Look]:
        """The looks at a release, oldest first."""
        with self._vault.transaction() as connection:
            kept = select(events).where(events.c.kind == LOOK, events.c.release == release).order_by(events.c.seq)
            return [_look(self._vault, connection, row) for row in connection.execute(kept)]

    def keep(self, look: Look) -> None:
        """Keep a look for good."""
        plain = {
            "number": look.number,
            "precision": look.precision,
            "level": look.level,
            "patients": look.patients,
            "lines": [asdict(line) for line in look.lines],
        }
        made = NewEvent(kind=LOOK, id=look.id, release=look.release, at=microseconds(look.at), payload=pack(plain))
        with self._vault.transaction() as connection:
            append(self._vault, connection, [made])

    def accept(self, accepted: Sequence[Accepted], *, instead: bool) -> None:
        """Append what was accepted. instead: in place of everything accepted before, which is withdrawn."""
        with self._vault.transaction() as connection:
            made = [_withdrawal("tested anew", accepted[0].at)] if instead and accepted else []
            for one in accepted:
                plain = {"proposal": one.proposal, "look": one.look, "states": [asdict(state) for state in one.states]}
                made.append(
                    NewEvent(
                        kind=ACCEPTED,
                        id=one.id,
                        patient=self._vault.owner(connection, one.instance),
                        level="frame",
                        target=one.instance,
                        frame=one.frame,
                        release=one.release,
                        at=microseconds(one.at),
                        payload=pack(plain),
                    )
                )
            append(self._vault, connection, made)

    def withdraw(self, why: str, at: datetime) -> None:
        """Take back everything that was accepted, of whichever release."""
        with self._vault.transaction() as connection:
            append(self._vault, connection, [_withdrawal(why, at)])
            tracing.note(self._vault, connection, "settings", name="accept_unseen", withdrawn=why)

    def in_force(self, release: str) -> dict[str, Accepted]:
        """By instance, what is accepted of it now if this release proposes."""
        with self._vault.transaction() as connection:
            read = events.alias("read")
            untouched = ~exists().where(read.c.kind == "annotation", read.c.target == events.c.target)
            query = selected(ACCEPTED).where(
                events.c.release == release, events.c.seq > withdrawn_at(connection), untouched
            )
            found = {row.target: accepted_of(self._vault, connection, row) for row in connection.execute(query)}
            held = {row.id for row in connection.execute(select_instances()) if row.held_out} if found else set[str]()
            return {instance: one for instance, one in found.items() if instance not in held}

    def trained_on(self) -> set[str]:
        """Patients (after merges) who were ever frozen for a plan to train on."""
        with self._vault.transaction() as connection:
            merged = func.coalesce(patients.c.merged_into, patients.c.id)
            query = (
                select(merged)
                .join(frozen_records, frozen_records.c.patient == patients.c.id)
                .where(frozen_records.c.held_out.is_(False))
            )
            return set(connection.scalars(query.distinct()))


def withdrawn_at(connection: Connection) -> int:
    """The number of the last withdrawal's event; 0 before the first."""
    return connection.scalar(select(func.max(events.c.seq)).where(events.c.kind == WITHDRAWAL)) or 0


def accepted_since(vault: Vault, connection: Connection, after: int) -> list[Accepted]:
    """What was accepted, of whichever release, after the event of this number and since the last withdrawal."""
    query = selected(ACCEPTED).where(events.c.seq > max(after, withdrawn_at(connection)))
    return [accepted_of(vault, connection, row) for row in connection.execute(query)]


def accepted_of(vault: Vault, connection: Connection, row: Any) -> Accepted:
    """An event as what it accepted."""
    plain = unpack(opened(vault, connection, row))
    states = tuple(Taken(**one) for one in plain["states"])
    return Accepted(
        row.id, row.target, row.frame, row.release, plain["proposal"], plain["look"], states, moment(row.at)
    )


def _withdrawal(why: str, at: datetime) -> NewEvent:
    return NewEvent(kind=WITHDRAWAL, at=microseconds(at), payload=pack({"why": why}))


def _look(vault: Vault, connection: Connection, row: Any) -> Look:
    plain = unpack(opened(vault, connection, row))
    lines = tuple(Line(**one) for one in plain.pop("lines"))
    return Look(id=row.id, release=row.release, at=moment(row.at), lines=lines, **plain)
