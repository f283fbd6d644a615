"""Patients: who an image belongs to, who is held out, who consents, who is merged, who is erased."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from ..annotations import new_id, utc_now
from ..errors import StoreError
from .coding import microseconds, moment, pack, unpack
from .events import NewEvent, append, opened
from .rows import ChainHead, ConsentKind, Erasure, PatientRow
from .schema import assets, events, identifiers, instances, originals, patients, series, studies
from .sealing import Seal
from .tracing import note
from .vault import Vault


def _identity(vault: Vault, issuer: str, identifier: str) -> bytes:
    # Leading and trailing spaces are padding in DICOM's LO (PS3.5 section 6.2).
    return vault.keys.blind("patient", issuer.strip(), identifier.strip())


def root_of(connection: Connection, patient: str) -> str:
    """The patient that `patient` is merged into, or itself."""
    return connection.scalar(select(patients.c.merged_into).where(patients.c.id == patient)) or patient


class Settling:
    """Finds or prepares the patient, study and series of each image of a batch; `write` inserts what is new."""

    def __init__(self, vault: Vault, connection: Connection, held_out_share: float) -> None:
        self._vault = vault
        self._connection = connection
        self._share = held_out_share
        self._new: dict[Table, list[dict[str, Any]]] = {patients: [], identifiers: [], studies: [], series: []}
        self._patients: dict[bytes, str] = {}
        self._children: dict[tuple[str, bytes], str] = {}
        self._fresh: set[str] = set()

    def find(self, issuer: str, identifier: str) -> str | None:
        """The patient (after merges) of an identifier, or None."""
        blind = _identity(self._vault, issuer, identifier)
        known = self._patients.get(blind)
        if known is None:
            own = self._connection.scalar(select(identifiers.c.patient).where(identifiers.c.blind == blind))
            if own is not None:
                known = self._patients[blind] = root_of(self._connection, own)
        return known

    def patient(self, issuer: str, identifier: str) -> str:
        """The patient (after merges) of an identifier; a new one with a fresh data key when unknown."""
        known = self.find(issuer, identifier)
        if known is not None:
            return known
        patient, blind = new_id(), _identity(self._vault, issuer, identifier)
        self._fresh.add(patient)
        seal, wrapped = self._vault.keys.new_data_key(patient)
        self._vault.remember(patient, seal)
        self._new[patients].append(
            {
                "id": patient,
                "wrapped_key": wrapped,
                "held_out": self._vault.keys.held_out(blind, self._share),
                "created_at": microseconds(utc_now()),
            }
        )
        plain = pack({"issuer": issuer, "id": identifier})
        self._new[identifiers].append(
            {"blind": blind, "patient": patient, "sealed": seal.seal(plain, "identifier", patient)}
        )
        self._patients[blind] = patient
        return patient

    def seal(self, patient: str) -> Seal:
        """The patient's data key."""
        return self._vault.seal_of(self._connection, patient)

    def series(self, patient: str, study_uid: str, series_uid: str) -> str:
        """The id of a patient's series, made with its study when unknown."""
        study = self._child(studies, "patient", patient, patient, "study", study_uid)
        return self._child(series, "study", study, patient, "series", series_uid)

    def _child(self, table: Table, parent_column: str, parent: str, patient: str, kind: str, uid: str) -> str:
        blind = self._vault.keys.blind(kind, uid)
        known = self._children.get((parent, blind))
        if known is None and parent not in self._fresh:
            known = self._connection.scalar(
                select(table.c.id).where(table.c[parent_column] == parent, table.c.blind == blind)
            )
        if known is None:
            known = new_id()
            self._fresh.add(known)
            sealed = self.seal(patient).seal(pack({"uid": uid}), kind, known)
            self._new[table].append({"id": known, parent_column: parent, "blind": blind, "sealed": sealed})
        self._children[parent, blind] = known
        return known

    def write(self) -> None:
        """Insert what is new, parents first."""
        for table, rows in self._new.items():
            if rows:
                self._connection.execute(insert(table), rows)


def require(connection: Connection, vault: Vault, patient: str) -> None:
    """StoreError unless the patient is there, not erased and not merged into another."""
    row = connection.execute(
        select(patients.c.erased_at, patients.c.merged_into).where(patients.c.id == patient)
    ).one_or_none()
    if row is None:
        raise StoreError(f"no patient {patient!r}", where=vault.where, fix="list them with Store.patients()")
    if row.erased_at is not None:
        raise StoreError(f"patient {patient} has been erased", where=vault.where)
    if row.merged_into is not None:
        raise StoreError(f"patient {patient} is merged", where=vault.where, fix=f"use patient {row.merged_into}")


def listed(connection: Connection) -> list[PatientRow]:
    """Every patient neither erased nor merged into another, in order of arrival."""
    own = patients.alias("own")
    count = (
        select(func.coalesce(own.c.merged_into, own.c.id).label("root"), func.count(instances.c.id).label("images"))
        .join(instances, instances.c.patient == own.c.id)
        .group_by("root")
        .subquery()
    )
    rows = connection.execute(
        select(patients.c.id, patients.c.held_out, func.coalesce(count.c.images, 0).label("images"))
        .outerjoin(count, count.c.root == patients.c.id)
        .where(patients.c.erased_at.is_(None), patients.c.merged_into.is_(None))
        .order_by(patients.c.number)
    )
    return [PatientRow(row.id, row.held_out, row.images) for row in rows]


def identities(vault: Vault, connection: Connection, patient: str) -> list[tuple[str, str]]:
    """Every (issuer, identifier) of a patient, those of merged patients included."""
    require(connection, vault, patient)
    found: list[tuple[str, str]] = []
    for own in group(connection, patient):
        seal = vault.seal_of(connection, own)
        for sealed in connection.scalars(select(identifiers.c.sealed).where(identifiers.c.patient == own)):
            plain = unpack(seal.open(sealed, "identifier", own))
            found.append((plain["issuer"], plain["id"]))
    return found


def group(connection: Connection, root: str) -> list[str]:
    """A patient and all who are merged into them."""
    return list(
        connection.scalars(
            select(patients.c.id)
            .where((patients.c.id == root) | (patients.c.merged_into == root))
            .order_by(patients.c.number)
        )
    )


def set_held_out(vault: Vault, connection: Connection, chosen: Iterable[str], held_out: bool) -> None:
    """Override the keyed assignment for some patients."""
    now = microseconds(utc_now())
    made: list[NewEvent] = []
    for patient in chosen:
        require(connection, vault, patient)
        connection.execute(update(patients).where(patients.c.id == patient).values(held_out=held_out))
        payload = pack({"held_out": held_out})
        made.append(
            NewEvent(kind="held_out", at=now, patient=patient, level="patient", target=patient, payload=payload)
        )
    append(vault, connection, made)


def consent(vault: Vault, connection: Connection, patient: str, kind: ConsentKind, on: date) -> None:
    """Record that a patient consents, or opts out, from `on` on."""
    if kind not in ("consent", "opt_out"):
        raise StoreError(f"a consent of kind {kind!r}", where=vault.where, fix='use "consent" or "opt_out"')
    require(connection, vault, patient)
    payload = pack({"kind": kind, "on": on.isoformat()})
    append(
        vault,
        connection,
        [
            NewEvent(
                kind="consent",
                at=microseconds(utc_now()),
                patient=patient,
                level="patient",
                target=patient,
                payload=payload,
            )
        ],
    )


def consents(vault: Vault, connection: Connection, on: date) -> dict[str, ConsentKind]:
    """What each patient (after merges) last said that is in force on a day; patients who said nothing are absent.

    Of two statements with one date the later recorded one counts.
    """
    own = patients.alias("own")
    rows = connection.execute(
        select(events.c.id, events.c.kind, events.c.patient, events.c.sealed, own.c.merged_into)
        .join(own, own.c.id == events.c.patient)
        .where(events.c.kind == "consent", own.c.erased_at.is_(None))
        .order_by(events.c.seq)
    )
    latest: dict[str, tuple[date, ConsentKind]] = {}
    for row in rows:
        plain = unpack(opened(vault, connection, row))
        since, root = date.fromisoformat(plain["on"]), row.merged_into or row.patient
        if since <= on and (root not in latest or since >= latest[root][0]):
            latest[root] = (since, plain["kind"])
    return {root: kind for root, (_, kind) in latest.items()}


def shared_studies(connection: Connection) -> int:
    """How many study UIDs are stored under more than one patient, merges counted."""
    root = func.coalesce(patients.c.merged_into, patients.c.id)
    shared = (
        select(studies.c.blind)
        .join(patients, patients.c.id == studies.c.patient)
        .where(patients.c.erased_at.is_(None))
        .group_by(studies.c.blind)
        .having(func.count(root.distinct()) > 1)
    )
    return connection.scalar(select(func.count()).select_from(shared.subquery())) or 0


def merge(vault: Vault, connection: Connection, source: str, into: str) -> None:
    """Make `source` one patient with `into`, whose held-out assignment counts from now on."""
    require(connection, vault, source)
    require(connection, vault, into)
    if source == into:
        raise StoreError(f"patient {source} cannot be merged into itself", where=vault.where)
    members = group(connection, source)
    connection.execute(update(patients).where(patients.c.id.in_(members)).values(merged_into=into))
    payload = pack({"members": members, "into": into})
    now = microseconds(utc_now())
    append(
        vault,
        connection,
        [NewEvent(kind="merge", at=now, patient=source, level="patient", target=into, payload=payload)],
    )


def erase(vault: Vault, patient: str) -> Erasure:
    """Destroy a patient's data keys and everything that is not part of the event chain; see Store.erase."""
    now = utc_now()
    with vault.transaction() as connection:
        require(connection, vault, patient)
        members = group(connection, patient)
        images: Sequence[str] = connection.scalars(select(instances.c.id).where(instances.c.patient.in_(members))).all()
        files = connection.scalars(
            select(assets.c.id)
            .join(instances, instances.c.id == assets.c.instance)
            .where(instances.c.patient.in_(members))
        ).all()
        owned = select(studies.c.id).where(studies.c.patient.in_(members))
        mine = select(instances.c.id).where(instances.c.patient.in_(members))
        connection.execute(delete(assets).where(assets.c.instance.in_(mine)))
        connection.execute(delete(originals).where(originals.c.instance.in_(mine)))
        connection.execute(delete(instances).where(instances.c.patient.in_(members)))
        connection.execute(delete(series).where(series.c.study.in_(owned)))
        connection.execute(delete(studies).where(studies.c.patient.in_(members)))
        connection.execute(delete(identifiers).where(identifiers.c.patient.in_(members)))
        connection.execute(
            update(patients).where(patients.c.id.in_(members)).values(wrapped_key=None, erased_at=microseconds(now))
        )
        lost = connection.scalar(select(func.count()).select_from(events).where(events.c.patient.in_(members))) or 0
        payload = pack({"members": members, "instances": len(images), "events": lost})
        event = NewEvent(kind="erasure", at=microseconds(now), level="patient", target=patient, payload=payload)
        head = append(vault, connection, [event])
        note(vault, connection, "erasure", patient=patient, images=len(images), events=lost)
    for member in members:
        vault.forget(member)
        vault.cache.forget(member)
    vault.files.remove(files)
    vault.overwrite_deleted()
    return Erasure(patient, now, len(images), lost, head)


def erasure(vault: Vault, connection: Connection, patient: str) -> Erasure | None:
    """See Store.erasure."""
    row = connection.execute(select(events).where(events.c.kind == "erasure", events.c.target == patient)).one_or_none()
    if row is None:
        return None
    plain = unpack(opened(vault, connection, row))
    return Erasure(patient, moment(row.at), plain["instances"], plain["events"], ChainHead(row.seq, row.hash))
