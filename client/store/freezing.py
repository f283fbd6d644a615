"""Freezing the records that a plan may train on, once, when the plan is countersigned."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

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
        if row.held_out or row.id not in by_instance:
            continue
        if said.get(row.root, "consent" if eligibility == "opt_out" else "opt_out") == "opt_out":
            continue
        chosen += [
            FrozenRecord(row.id, frame, row.root, reviewed[row.id, frame].id) for frame in sorted(by_instance[row.id])
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
                }
                for position, record in enumerate(chosen)
            ],
        )
    payload = pack({"plan": plan, "digest": digest})
    append(vault, connection, [NewEvent(kind="freeze", at=microseconds(at), payload=payload)])
    return tuple(chosen)


def frozen(connection: Connection, plan: bytes) -> tuple[FrozenRecord, ...]:
    """A plan's records in their kept order, without those of patients erased since."""
    rows = connection.execute(
        select(frozen_records)
        .join(patients, patients.c.id == frozen_records.c.patient)
        .where(frozen_records.c.plan == plan, patients.c.erased_at.is_(None))
        .order_by(frozen_records.c.position)
    )
    return tuple(FrozenRecord(row.instance, row.frame, row.patient, row.annotation) for row in rows)


def is_frozen(connection: Connection, plan: bytes) -> bool:
    """Whether a plan's records have been frozen, be they none."""
    return connection.scalar(select(freezes.c.plan).where(freezes.c.plan == plan)) is not None
