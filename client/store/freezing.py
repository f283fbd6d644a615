"""Freezing the records that a plan may train on and be measured by, once, when the plan is countersigned.

Who takes part follows from the site's rule on whose turn has come (see entering): while an image of one of these
patients is neither read nor set aside, nothing is frozen. Both sets are fixed in the same transaction, and a patient is
in one of them or in neither, by whether they are held out at that moment. What the plan is charged for rests on this
(see privacy.charges): a patient held out later is still trained on and never evaluated, one who is let go later is
still evaluated and never trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from ..annotations import Annotation
from ..applicability import Kind
from ..entering import Entering, EntryRule, UnreadError, finished
from ..errors import StoreError
from ..settling import LabelRule, Settled, settle
from . import reviews
from .coding import microseconds, moment, pack, unpack
from .events import NewEvent, append, frozen_digest, opened
from .instances import select_instances
from .patients import consents
from .rows import Eligibility, FrozenRecord, Provenance
from .schema import events, freezes, frozen_records, patients
from .vault import Vault

Asked = Callable[[Kind], bool]


@dataclass(frozen=True, slots=True)
class Rules:
    """A site's own: who is eligible, which labels count, whose turn has come."""

    eligibility: Eligibility
    labels: LabelRule
    entry: EntryRule


def freeze(
    vault: Vault, connection: Connection, plan: bytes, at: datetime, rules: Rules, asked: Asked
) -> tuple[FrozenRecord, ...]:
    """Choose and keep a plan's records, or return those kept before; see Store.freeze."""
    if connection.scalar(select(freezes.c.plan).where(freezes.c.plan == plan)) is not None:
        return frozen(connection, plan)
    read = _read(vault, connection)
    rows = _entered(vault, connection, at, rules)
    entering = _entering(rows, read, rules, asked)
    if entering.unread:
        raise UnreadError(
            f"{len(entering.unread)} of {len(entering.patients)} patients whose turn has come are not read: a plan "
            "without them would depend on what readers happened to have time for",
            where=vault.where,
            fix="read their images or set them aside (the worklist's filter shows them), or change whose turn comes: "
            "medquorum node training-rule",
        )
    chosen: list[FrozenRecord] = []
    settled: dict[tuple[str, int], Settled] = {}
    for row in rows:
        for frame, readings in sorted(read.get(row.id, {}).items()):
            standing = settle(readings, rules.labels)
            if isinstance(standing, Settled):
                settled[row.id, frame] = standing
                chosen.append(FrozenRecord(row.id, frame, row.root, standing.annotation.id, row.held_out))
    digest = frozen_digest(chosen)
    connection.execute(insert(freezes).values(plan=plan, at=microseconds(at), records=len(chosen), digest=digest))
    if chosen:
        connection.execute(
            insert(frozen_records),
            [
                {
                    "plan": plan,
                    "position": position,
                    "instance": record.instance,
                    "frame": record.frame,
                    "patient": record.patient,
                    "annotation": record.annotation,
                    "held_out": record.held_out,
                }
                for position, record in enumerate(chosen)
            ],
        )
    # How each record's label came to count goes into the chain with the records: it is what training rests on.
    basis = [[settled[one.instance, one.frame].how, list(settled[one.instance, one.frame].rests_on)] for one in chosen]
    said = {"labels": rules.labels.encoded(), "entry": rules.entry.encoded()}
    payload = pack({"plan": plan, "digest": digest, **said, "basis": basis})
    append(vault, connection, [NewEvent(kind="freeze", at=microseconds(at), payload=payload)])
    return tuple(record for record in chosen if not record.held_out)


def entering(vault: Vault, connection: Connection, at: datetime, rules: Rules, asked: Asked) -> Entering:
    """Whose turn has come at `at` (UTC), and of whom something is unread; asked: of which images a plan would ask."""
    return _entering(_entered(vault, connection, at, rules), _read(vault, connection), rules, asked)


_Read = dict[str, dict[int, list[Annotation]]]


def _read(vault: Vault, connection: Connection) -> _Read:
    """The standing readings of each instance's frames."""
    found: _Read = {}
    for (instance, frame), readings in readings_by_frame(vault, connection).items():
        found.setdefault(instance, {})[frame] = readings
    return found


def _entered(vault: Vault, connection: Connection, at: datetime, rules: Rules) -> list[Any]:
    """The images, in order of arrival, of eligible patients whose turn has come."""
    said = consents(vault, connection, at.date())
    unsaid = "consent" if rules.eligibility == "opt_out" else "opt_out"
    turn = rules.entry.turn(at.date())
    return [
        row
        for row in connection.execute(select_instances())
        if said.get(row.root, unsaid) != "opt_out" and turn.has_come(vault.keys.coin(row.root), moment(row.created_at))
    ]


def _entering(rows: list[Any], read: _Read, rules: Rules, asked: Asked) -> Entering:
    wanted = [row for row in rows if asked(row)]
    unread = {row.root for row in wanted if not _finished(read.get(row.id, {}), rules.labels)}
    return Entering(frozenset(row.root for row in wanted), frozenset(unread))


def _finished(frames: dict[int, list[Annotation]], labels: LabelRule) -> bool:
    """Whether readers are through with an image: with the frames that they began with, one at least."""
    return bool(frames) and all(finished(readings, labels) for readings in frames.values())


def readings_by_frame(vault: Vault, connection: Connection) -> dict[tuple[str, int], list[Annotation]]:
    """The standing readings of each frame that has any, oldest first."""
    found: dict[tuple[str, int], list[Annotation]] = {}
    for one in reviews.readings(vault, connection):
        found.setdefault((one.instance, one.frame), []).append(one)
    return found


def provenance(vault: Vault, connection: Connection, plan: bytes) -> tuple[Provenance, ...]:
    """Of each record frozen for a plan, in order, how its label came to count; without those of erased patients."""
    kept = connection.execute(select(events).where(events.c.kind == "freeze").order_by(events.c.seq))
    plain = next(one for row in kept if (one := unpack(opened(vault, connection, row)))["plan"] == plan)
    positions = {
        (row.instance, row.frame): row.position
        for row in connection.execute(select(frozen_records).where(frozen_records.c.plan == plan))
    }
    found: list[Provenance] = []
    for record in _kept(connection, plan):
        how, basis = plain["basis"][positions[record.instance, record.frame]]
        found.append(Provenance(record, how, tuple(basis)))
    return tuple(found)


def frozen(connection: Connection, plan: bytes) -> tuple[FrozenRecord, ...]:
    """The records that a plan trains on in their kept order, without those of patients erased since."""
    return tuple(record for record in _kept(connection, plan) if not record.held_out)


def frozen_held_out(connection: Connection, plan: bytes) -> tuple[FrozenRecord, ...]:
    """The records that a plan is measured by, likewise, and without those of patients who, by a merge since, turned out
    to be somebody that the plan trains on."""
    kept = _kept(connection, plan)
    merged = {row.id: row.merged_into for row in connection.execute(select(patients.c.id, patients.c.merged_into))}
    trained = {merged[record.patient] or record.patient for record in kept if not record.held_out}
    return tuple(
        record for record in kept if record.held_out and (merged[record.patient] or record.patient) not in trained
    )


def _kept(connection: Connection, plan: bytes) -> tuple[FrozenRecord, ...]:
    rows = connection.execute(
        select(frozen_records)
        .join(patients, patients.c.id == frozen_records.c.patient)
        .where(frozen_records.c.plan == plan, patients.c.erased_at.is_(None))
        .order_by(frozen_records.c.position)
    )
    return tuple(FrozenRecord(row.instance, row.frame, row.patient, row.annotation, row.held_out) for row in rows)


def require_frozen(connection: Connection, plan: bytes, where: str) -> None:
    """StoreError unless a plan's records have been frozen, be they none."""
    if connection.scalar(select(freezes.c.plan).where(freezes.c.plan == plan)) is None:
        raise StoreError(f"nothing is frozen for plan {plan.hex()[:16]}", where=where, fix="countersign the plan first")
