"""Freezing the records that a plan may train on and be measured by, once, when the plan is countersigned.

Both sets are fixed in the same transaction, and a patient is in one of them or in neither, by whether they are held out
at that moment. What the plan is charged for rests on this (see privacy.charges): a patient held out later is still
trained on and never evaluated, one who is let go later is still evaluated and never trained on.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from ..annotations import Annotation
from ..errors import StoreError
from ..settling import LabelRule, Settled, settle
from . import reviews
from .coding import microseconds, pack, unpack
from .events import NewEvent, append, frozen_digest, opened
from .instances import select_instances
from .patients import consents
from .rows import Eligibility, FrozenRecord, Provenance
from .schema import events, freezes, frozen_records, patients
from .vault import Vault


def freeze(
    vault: Vault, connection: Connection, plan: bytes, at: datetime, eligibility: Eligibility, labels: LabelRule
) -> tuple[FrozenRecord, ...]:
    """Choose and keep a plan's records, or return those kept before; see Store.freeze."""
    if connection.scalar(select(freezes.c.plan).where(freezes.c.plan == plan)) is not None:
        return frozen(connection, plan)
    said = consents(vault, connection, at.date())
    settled = settled_frames(vault, connection, labels)
    by_instance: dict[str, list[int]] = {}
    for instance, frame in settled:
        by_instance.setdefault(instance, []).append(frame)
    chosen: list[FrozenRecord] = []
    for row in connection.execute(select_instances()):
        if row.id not in by_instance:
            continue
        if said.get(row.root, "consent" if eligibility == "opt_out" else "opt_out") == "opt_out":
            continue
        chosen += [
            FrozenRecord(row.id, frame, row.root, settled[row.id, frame].annotation.id, row.held_out)
            for frame in sorted(by_instance[row.id])
        ]
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
    payload = pack({"plan": plan, "digest": digest, "labels": labels.encoded(), "basis": basis})
    append(vault, connection, [NewEvent(kind="freeze", at=microseconds(at), payload=payload)])
    return tuple(record for record in chosen if not record.held_out)


def settled_frames(vault: Vault, connection: Connection, labels: LabelRule) -> dict[tuple[str, int], Settled]:
    """The frames whose label counts by the rule, in order of their first reading."""
    found = {frame: settle(read, labels) for frame, read in readings_by_frame(vault, connection).items()}
    return {frame: standing for frame, standing in found.items() if isinstance(standing, Settled)}


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
