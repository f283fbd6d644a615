"""Freezing the records that a plan may train on and be measured by, once, when the plan is countersigned.

Both sets are fixed in the same transaction, and a patient is in one of them or in neither, by whether they are held out
at that moment. What the plan is charged for rests on this (see privacy.charges): a patient held out later is still
trained on and never evaluated, one who is let go later is still evaluated and never trained on.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from ..errors import StoreError
from . import reviews
from .coding import microseconds, pack
from .events import NewEvent, append, frozen_digest
from .instances import select_instances
from .patients import consents
from .rows import Eligibility, FrozenRecord
from .schema import freezes, frozen_records, patients
from .vault import Vault


def freeze(
    vault: Vault, connection: Connection, plan: bytes, at: datetime, eligibility: Eligibility
) -> tuple[FrozenRecord, ...]:
    """Choose and keep a plan's records, or return those kept before; see Store.freeze."""
    if connection.scalar(select(freezes.c.plan).where(freezes.c.plan == plan)) is not None:
        return frozen(connection, plan)
    said = consents(vault, connection, at.date())
    reviewed = reviews.current(vault, connection)
    by_instance: dict[str, list[int]] = {}
    for (instance, frame), annotation in reviewed.items():
        if annotation.assessed:
            by_instance.setdefault(instance, []).append(frame)
    chosen: list[FrozenRecord] = []
    for row in connection.execute(select_instances()):
        if row.id not in by_instance:
            continue
        if said.get(row.root, "consent" if eligibility == "opt_out" else "opt_out") == "opt_out":
            continue
        chosen += [
            FrozenRecord(row.id, frame, row.root, reviewed[row.id, frame].id, row.held_out)
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
    payload = pack({"plan": plan, "digest": digest})
    append(vault, connection, [NewEvent(kind="freeze", at=microseconds(at), payload=payload)])
    return tuple(record for record in chosen if not record.held_out)


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
