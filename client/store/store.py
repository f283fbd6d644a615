"""The store of a node: everything it keeps about its patients' images, encrypted on disk from the first byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from ...privacy.subgroups import Traits
from ..errors import AnnotationError, StoreError
from . import events, freezing, instances, patients, quarantining, schema, tracing, traits
from .entrants import EntryView, rules_of
from .founding import FIXED, found, unlocked
from .freezing import Asked
from .reviewed import Reviewed
from .rows import (
    ChainHead,
    ConsentKind,
    Eligibility,
    Erasure,
    FrozenRecord,
    InstanceRow,
    NewInstance,
    PatientRow,
    QuarantineRow,
    Stored,
)
from .vault import Vault, closed_on_failure

if TYPE_CHECKING:
    from ..deidentify.original import Original


class Store(Reviewed):
    """A node's store in one folder, open in one process at a time; its methods may be called from several threads.

    Every method that writes has made its change durable when it returns, or has changed nothing when it raises.
    StoreError (or a subclass) is raised with one clear line for a full disk, damage, and what is unknown.
    """

    def __init__(self, vault: Vault) -> None:
        super().__init__(vault)
        with closed_on_failure(vault):
            with vault.transaction() as connection:
                kept = {row.name: row.value for row in connection.execute(select(schema.settings))}
            if "store" not in kept:
                raise StoreError(
                    "the store was never finished being created",
                    where=vault.where,
                    fix="delete the folder and create the store again",
                )
        self._held_out_share = float(kept["held_out_share"])

    # ---- opening and closing

    @classmethod
    def create(
        cls,
        folder: Path,
        site: str,
        held_out_share: float = 0.2,
        *,
        eligibility: Eligibility = "opt_out",
        key_file: Path | None = None,
        audited: bool = True,
    ) -> Store:
        """Create a store and its node key in `folder`, which is made (mode 0700) when missing.

        held_out_share: the chance, in [0, 1), that a new patient is kept for evaluation and never trained on.
        eligibility: "opt_out" trains on everybody who has not opted out, "consent" only on who has consented.
        key_file: where the node's key goes (default: keys.key_path). audited: whether what is done is noted in the
        audit log; False is for hospitals that do not exist.
        """
        return cls(found(folder, site, held_out_share, eligibility, key_file, audited))

    @classmethod
    def open(cls, folder: Path, *, key_file: Path | None = None, audited: bool = True) -> Store:
        """Open a store, bringing its schema to this version; key_file, audited: as for `create`.

        Raises KeyFileError for a lost, unreadable or too widely readable key; StoreError when there is no store,
        when the key is not its, when another process has it open, or when a newer medquorum wrote it.
        """
        return cls(unlocked(folder, key_file, audited))

    def close(self) -> None:
        """Close the store and let others open it."""
        if self._vault.audit is not None:
            with suppress(StoreError), self._vault.transaction() as connection:
                tracing.remember(self._vault.audit, connection, self._vault.audit.head())
        self._vault.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """The store's folder."""
        return self._vault.folder

    def setting(self, name: str) -> str:
        """A setting's value ("site", "held_out_share", "eligibility", or one set); StoreError when unknown."""
        with self._vault.transaction() as connection:
            return self._setting(connection, name)

    def _setting(self, connection: Connection, name: str) -> str:
        value = connection.scalar(select(schema.settings.c.value).where(schema.settings.c.name == name))
        if value is None:
            raise StoreError(f"the store has no setting {name!r}", where=self._vault.where)
        return value

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting of the node's own; those that the store lives by cannot be changed."""
        if name in FIXED:
            raise StoreError(f"setting {name!r} is fixed when the store is created", where=self._vault.where)
        with self._vault.transaction() as connection:
            row = upsert(schema.settings).values(name=name, value=value)
            connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))
            tracing.note(self._vault, connection, "settings", name=name)

    # ---- images

    def add(self, new: NewInstance) -> Stored:
        """Store one image; the same content again is no fault and changes nothing.

        Raises ConflictError when its SOP instance UID is stored with other content or under another patient.
        """
        outcome = self.add_many([new])[0]
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    def add_many(self, new: Sequence[NewInstance]) -> list[Stored | StoreError]:
        """Store a batch (64 is a good size) in one transaction, and say of each image, in order, what became of it.

        An image that cannot be stored gives a StoreError in its place, to be quarantined, and does not hinder the
        others. What concerns the whole batch (a full disk) is raised, and then nothing of it is stored.
        """
        return tracing.note_import(self._vault, instances.add_many(self._vault, new, self._held_out_share))

    def instances(
        self, *, held_out: bool | None = None, patient: str | None = None, ids: Iterable[str] | None = None
    ) -> list[InstanceRow]:
        """Stored images in order of arrival; all of them, or those that fit every filter given."""
        chosen = None if ids is None else set(ids)
        with self._vault.transaction() as connection:
            rows = connection.execute(instances.select_instances()).all()
            return [
                instances.row_of(self._vault, connection, row)
                for row in rows
                if (held_out is None or row.held_out == held_out)
                and (patient is None or row.root == patient)
                and (chosen is None or row.id in chosen)
            ]

    def instance(self, identifier: str) -> InstanceRow:
        """One stored image; StoreError when there is none of that id."""
        with self._vault.transaction() as connection:
            self._vault.owner(connection, identifier)
            query = instances.select_instances().where(schema.instances.c.id == identifier)
            return instances.row_of(self._vault, connection, connection.execute(query).one())

    def find(self, sop_uid: str) -> InstanceRow | None:
        """The stored image of a SOP instance UID, or None."""
        blind = self._vault.keys.blind("sop", sop_uid)
        with self._vault.transaction() as connection:
            query = instances.select_instances().where(schema.instances.c.blind == blind)
            row = connection.execute(query).one_or_none()
            return None if row is None else instances.row_of(self._vault, connection, row)

    def count(self) -> int:
        """How many images are stored."""
        with self._vault.transaction() as connection:
            return connection.scalar(select(func.count()).select_from(schema.instances)) or 0

    def content(self, instance: str) -> bytes:
        """The file of an image as it was added; TamperError when it was changed or is missing."""
        return instances.content(self._vault, instance)

    def original(self, instance: str) -> Original | None:
        """What a de-identified image stated of its patient and study when it was received, to send results back with.

        None for images that came without such a header (a table's), StoreError for unknown and erased ones.
        """
        with self._vault.transaction() as connection:
            return instances.original(self._vault, connection, instance)

    def traits(self, ids: Iterable[str]) -> dict[str, Traits]:
        """The patient's sex and band of age as each of these images states them; only for gates inside the node."""
        with self._vault.transaction() as connection:
            return traits.opened(self._vault, connection, ids)

    @property
    def deidentification_secret(self) -> bytes:
        """The node's secret (32 bytes) for the keyed mappings in de-identified files."""
        return self._vault.keys.deidentification

    def cache_put(self, instance: str, name: str, data: bytes) -> None:
        """Keep something derived from an image (encrypted, may be lost in a power cut and made again)."""
        self.cache_put_many(name, [(instance, data)])

    def cache_put_many(self, name: str, items: Sequence[tuple[str, bytes]]) -> None:
        """As `cache_put` for many (instance, data) under one name, in one transaction."""
        vault = self._vault
        rows = [(instance, name, vault.session_owner(instance), data) for instance, data in items]
        vault.cache.put(rows, vault.session_seal)

    def cache_get(self, instance: str, name: str) -> bytes | None:
        """What was kept under a name, or None."""
        return self._vault.cache.get(instance, name, self._vault.session_seal)

    # ---- patients

    def patients(self) -> list[PatientRow]:
        """Every patient in order of arrival, without those erased or merged into another."""
        with self._vault.transaction() as connection:
            return patients.listed(connection)

    def find_patient(self, issuer: str, identifier: str) -> str | None:
        """The patient (after merges) of an issuer's identifier, or None."""
        with self._vault.transaction() as connection:
            return patients.Settling(self._vault, connection, self._held_out_share).find(issuer, identifier)

    def shared_studies(self) -> int:
        """How many studies are stored under several patients: files were mixed, or an identifier changed."""
        with self._vault.transaction() as connection:
            return patients.shared_studies(connection)

    def identities(self, patient: str) -> list[tuple[str, str]]:
        """Every (issuer, identifier) of a patient, so that results return to the right person."""
        with self._vault.transaction() as connection:
            return patients.identities(self._vault, connection, patient)

    def merge(self, source: str, into: str) -> None:
        """Make two patients one: `source`'s images count as `into`'s from now on (not in sets frozen before)."""
        with self._vault.transaction() as connection:
            patients.merge(self._vault, connection, source, into)
            tracing.note(self._vault, connection, "merge", patient=source, into=into)

    def set_held_out(self, chosen: Iterable[str], held_out: bool) -> None:
        """Override, for some patients, whether they are kept for evaluation."""
        named = tuple(chosen)
        with self._vault.transaction() as connection:
            patients.set_held_out(self._vault, connection, named, held_out)
            if named:
                tracing.note(self._vault, connection, "held_out", patients=len(named), held_out=held_out)

    def consent(self, patient: str, kind: ConsentKind, on: date) -> None:
        """Record that a patient consents, or opts out, from the day `on` on; plans starting earlier are untouched."""
        with self._vault.transaction() as connection:
            patients.consent(self._vault, connection, patient, kind, on)
            tracing.note(self._vault, connection, "consent", patient=patient, says=kind, on=on.isoformat())

    def erase(self, patient: str) -> Erasure:
        """Destroy a patient's data key, images, identifiers and derived data, for good.

        The patient's events stay in the chain as ciphertext that nobody can read, so that the chain still verifies.
        Frozen sets lose the patient's records.
        """
        return patients.erase(self._vault, patient)

    # ---- plans

    def entering(self) -> EntryView:
        """Whose turn has come to take part in plans, by the site's rule."""
        return EntryView(self._vault)

    def freeze(self, plan_hash: bytes, at: datetime, asked: Asked = lambda _: True) -> tuple[FrozenRecord, ...]:
        """Fix, once, the records that a plan may train on or be measured by; returns the former in order of arrival.

        A record is a frame whose label counts by the site's rule (`labels`), of a patient who is eligible on the day
        `at` (UTC) and whose turn has come (`entering`): to be measured by, if the patient is held out at this moment,
        else to train on. Asked again for the same plan, it returns the same set whatever was said or changed since;
        only erasure takes records away. asked: of which images the plan asks; UnreadError, and nothing is fixed, while
        one of these is unread of somebody whose turn has come.
        """
        if at.tzinfo is None or at.utcoffset():
            raise AnnotationError(f"a freeze at {at}, which is not UTC", fix="give a datetime with tzinfo=UTC")
        if len(plan_hash) != 32:
            raise StoreError("a plan is named by its SHA-256", where=self._vault.where, fix="give its 32-byte hash")
        with self._vault.transaction() as connection:
            return freezing.freeze(self._vault, connection, plan_hash, at, rules_of(connection), asked)

    def frozen(self, plan_hash: bytes) -> tuple[FrozenRecord, ...]:
        """The frozen records that a plan trains on; StoreError when nothing was frozen for it."""
        with self._vault.transaction() as connection:
            freezing.require_frozen(connection, plan_hash, self._vault.where)
            return freezing.frozen(connection, plan_hash)

    def frozen_held_out(self, plan_hash: bytes) -> tuple[FrozenRecord, ...]:
        """The frozen records that a plan is measured by, of nobody it trains on; StoreError likewise."""
        with self._vault.transaction() as connection:
            freezing.require_frozen(connection, plan_hash, self._vault.where)
            return freezing.frozen_held_out(connection, plan_hash)

    # ---- quarantine

    def quarantine(self, source: str, code: str, reason: str, content: bytes | None) -> str:
        """Keep a file that cannot be imported, with a short code and a reason in words; returns its id.

        The same source, code and content held already give the id they have.
        """
        return quarantining.put(self._vault, source, code, reason, content)

    def quarantined(self) -> list[QuarantineRow]:
        """What is in quarantine, oldest first."""
        return quarantining.listed(self._vault)

    def quarantined_content(self, identifier: str) -> bytes | None:
        """A quarantined file as it came, or None where only its source and reason were kept."""
        return quarantining.content(self._vault, identifier)

    def release_quarantined(self, identifier: str) -> bytes | None:
        """Take an item out of quarantine and hand its file back, to be imported again."""
        content = quarantining.content(self._vault, identifier)
        quarantining.end(self._vault, identifier, "released")
        return content

    def delete_quarantined(self, identifier: str) -> None:
        """Destroy an item in quarantine."""
        quarantining.end(self._vault, identifier, "deleted")

    # ---- the event chain

    def head(self) -> ChainHead:
        """The end of the event chain, for others to remember."""
        with self._vault.transaction() as connection:
            return events.head(connection)

    def verify(self, witnessed: ChainHead | None = None) -> ChainHead:
        """Recompute the event chain and the frozen sets' digests; TamperError names what does not fit.

        witnessed: a head remembered from earlier, which the chain must pass through.
        """
        with self._vault.transaction() as connection:
            return events.verify(self._vault, connection, witnessed)
