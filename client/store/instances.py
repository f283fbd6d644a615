"""Adding images and reading them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, func, insert, select

from ..annotations import new_id, utc_now
from ..errors import ConflictError, StoreError, TamperError
from . import schema, traits
from .assets import NewAsset
from .birth_dates import BirthDates
from .coding import microseconds, pack, unpack
from .events import NewEvent, append
from .patients import Settling
from .rows import InstanceRow, NewInstance, Stored
from .sealing import Seal
from .vault import Vault

if TYPE_CHECKING:
    from ..deidentify.original import Original

_VERSION = 1
# SQLite allows far more bound values; this keeps each statement small.
CHUNK = 500


@dataclass(slots=True)
class _Batch:
    """What a transaction is about to insert."""

    instances: list[dict[str, Any]] = field(default_factory=list)
    assets: list[dict[str, Any]] = field(default_factory=list)
    originals: list[dict[str, Any]] = field(default_factory=list)
    files: list[NewAsset] = field(default_factory=list)
    events: list[NewEvent] = field(default_factory=list)
    # By blind index of the SOP instance UID: fingerprint, patient and id of what is stored or about to be.
    known: dict[bytes, tuple[bytes, str, str]] = field(default_factory=dict)


def add_many(vault: Vault, new: Sequence[NewInstance], held_out_share: float) -> list[Stored | StoreError]:
    """Store a batch in one transaction; see Store.add_many."""
    batch = _Batch()
    try:
        with vault.transaction() as connection:
            settling = Settling(vault, connection, held_out_share)
            batch.known = _known(connection, [vault.keys.blind("sop", one.sop_uid) for one in new])
            births = BirthDates(vault, connection)
            outcomes = [_settle(vault, settling, births, batch, one) for one in new]
            if batch.files:
                settling.write()
                connection.execute(insert(schema.instances), batch.instances)
                connection.execute(insert(schema.assets), batch.assets)
                if batch.originals:
                    connection.execute(insert(schema.originals), batch.originals)
                append(vault, connection, batch.events)
                vault.files.stage(batch.files)
    except BaseException:
        vault.files.unstage(batch.files)
        raise
    vault.publish([asset.id for asset in batch.files])
    return outcomes


def _settle(
    vault: Vault, settling: Settling, births: BirthDates, batch: _Batch, new: NewInstance
) -> Stored | StoreError:
    refusal = _refusal(new)
    if refusal is not None:
        return refusal
    blind = vault.keys.blind("sop", new.sop_uid)
    fingerprint = (
        vault.keys.blind("received", new.received) if new.received else vault.keys.blind("content", new.content)
    )
    known = batch.known.get(blind)
    if known is not None:
        there, patient, identifier = known
        if there != fingerprint:
            return ConflictError(
                "another file with this SOP instance UID but other content is stored already",
                where=new.source,
                fix="find out at its source which of the two is right; the first stays stored",
            )
        if settling.find(new.patient_issuer, new.patient_id) != patient:
            return ConflictError(
                "the same image is stored already under another patient",
                where=new.source,
                fix="correct the patient at the source, or merge the two patients",
            )
        return Stored(identifier, patient, new=False)
    if births.contradicted(settling.find(new.patient_issuer, new.patient_id), new):
        return ConflictError(
            "two people seem to share this patient identifier: the stored images state another birth date",
            where=new.source,
            fix="correct the identifier or the date at the source and send it again; the first stays stored",
        )
    patient = settling.patient(new.patient_issuer, new.patient_id)
    births.note(patient, new)
    identifier, asset, now = new_id(), new_id(), microseconds(utc_now())
    seal = settling.seal(patient)
    sealed = pack({"sop_uid": new.sop_uid, "source": new.source, "acquired": new.acquired})
    batch.instances.append(
        {
            "id": identifier,
            "patient": patient,
            "series": settling.series(patient, new.study_uid, new.series_uid),
            "blind": blind,
            "fingerprint": fingerprint,
            "modality": new.modality,
            "body_part": new.body_part,
            "view": new.view,
            "laterality": new.laterality,
            "rows": new.rows,
            "columns": new.columns,
            "frames": new.frames,
            "encoding": new.encoding,
            "sealed": seal.seal(sealed, "instance", identifier),
            "created_at": now,
            "traits": traits.sealed(new.traits, seal, identifier),
        }
    )
    batch.assets.append(
        {"id": asset, "instance": identifier, "kind": "image", "version": _VERSION, "size": len(new.content)}
    )
    if new.original is not None:
        map_entry = seal.seal(pack(new.original.plain()), "original", identifier)
        batch.originals.append({"instance": identifier, "sealed": map_entry})
    batch.files.append(NewAsset(asset, _VERSION, seal, new.content))
    batch.events.append(
        NewEvent(
            kind="import",
            at=now,
            patient=patient,
            level="instance",
            target=identifier,
            payload=pack({"source": new.source, "asset": asset, "fingerprint": fingerprint, "masked": new.masked}),
        )
    )
    batch.known[blind] = (fingerprint, patient, identifier)
    return Stored(identifier, patient, new=True)


def _refusal(new: NewInstance) -> StoreError | None:
    for name, value in (
        ("patient identifier", new.patient_id.strip()),
        ("study instance UID", new.study_uid),
        ("series instance UID", new.series_uid),
        ("SOP instance UID", new.sop_uid),
    ):
        if not value:
            return ConflictError(f"the image has no {name}", where=new.source, fix=f"give it a {name} at its source")
    if new.rows < 1 or new.columns < 1 or new.frames < 1:
        return ConflictError(
            f"an image of {new.rows} x {new.columns} pixels in {new.frames} frames",
            where=new.source,
            fix="check the file; each must be at least 1",
        )
    return None


def _known(connection: Connection, blinds: Sequence[bytes]) -> dict[bytes, tuple[bytes, str, str]]:
    found: dict[bytes, tuple[bytes, str, str]] = {}
    for start in range(0, len(blinds), CHUNK):
        chosen = select_instances().where(schema.instances.c.blind.in_(blinds[start : start + CHUNK]))
        for row in connection.execute(chosen):
            found[row.blind] = (row.fingerprint, row.root, row.id)
    return found


def select_instances() -> Select[Any]:
    """Instances in their order of arrival, with their patient after merges (`root`) and its `held_out`."""
    own = schema.patients.alias("own")
    root = schema.patients.alias("root")
    return (
        select(schema.instances, root.c.id.label("root"), root.c.held_out)
        .join(own, own.c.id == schema.instances.c.patient)
        .join(root, root.c.id == func.coalesce(own.c.merged_into, own.c.id))
        .order_by(schema.instances.c.number)
    )


def row_of(vault: Vault, connection: Connection, row: Any) -> InstanceRow:
    """A row of `select_instances` with its identifiers opened."""
    seal: Seal = vault.seal_of(connection, row.patient)
    plain = unpack(seal.open(row.sealed, "instance", row.id))
    return InstanceRow(
        id=row.id,
        patient=row.root,
        sop_uid=plain["sop_uid"],
        modality=row.modality,
        body_part=row.body_part,
        view=row.view,
        laterality=row.laterality,
        rows=row.rows,
        columns=row.columns,
        frames=row.frames,
        encoding=row.encoding,
        source=plain["source"],
        held_out=row.held_out,
    )


def content(vault: Vault, instance: str) -> bytes:
    """The file of an instance, as it was added."""
    with vault.transaction() as connection:
        seal = vault.seal_of(connection, vault.owner(connection, instance))
        asset = connection.execute(
            select(schema.assets)
            .where(schema.assets.c.instance == instance, schema.assets.c.kind == "image")
            .order_by(schema.assets.c.version.desc())
            .limit(1)
        ).one_or_none()
    if asset is None:
        raise TamperError(f"instance {instance} has lost its file", where=vault.where, fix="restore from a backup")
    return vault.files.read(asset.id, asset.version, seal)


def original(vault: Vault, connection: Connection, instance: str) -> Original | None:
    """See Store.original."""
    from ..deidentify.original import Original  # pydicom is not loaded by whoever only trains

    seal = vault.seal_of(connection, vault.owner(connection, instance))
    sealed = connection.scalar(select(schema.originals.c.sealed).where(schema.originals.c.instance == instance))
    return None if sealed is None else Original.from_plain(unpack(seal.open(sealed, "original", instance)))
