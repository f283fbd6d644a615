"""Two people under one identifier: noticed by the birth dates that their files state, before their images are pooled.

One person's images counted as another's would break both the review and the privacy guarantee, whose unit is the
patient. Names are spelled in too many ways to be compared; a birth date is stated or it is not.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from .coding import unpack
from .rows import NewInstance
from .schema import instances, originals, patients
from .vault import Vault

# A patient's first images; the date stands in nearly every file, or in none of a scanner's.
_LOOKED_AT = 8


class BirthDates:
    """The birth dates that a batch's patients are known with, looked up once for each."""

    def __init__(self, vault: Vault, connection: Connection) -> None:
        self._vault = vault
        self._connection = connection
        self._known: dict[str, str] = {}

    def contradicted(self, patient: str | None, new: NewInstance) -> bool:
        """Whether `patient` (None: unknown so far) is known with another birth date than the new image states.

        Never of patients whom a person has merged: their dates may well differ, and that was decided.
        """
        stated = _digits(new.original.patient_birth_date) if new.original is not None else ""
        if patient is None or not stated:
            return False
        known = self._known.get(patient)
        if known is None:
            known = self._known[patient] = self._stored(patient)
        return bool(known) and known != stated

    def note(self, patient: str, new: NewInstance) -> None:
        """Remember the date of an image that is about to be stored."""
        if new.original is not None and not self._known.get(patient):
            self._known[patient] = _digits(new.original.patient_birth_date)

    def _stored(self, patient: str) -> str:
        merged = select(patients.c.id).where(patients.c.merged_into == patient).limit(1)
        if self._connection.scalar(merged) is not None:
            return ""
        rows = self._connection.execute(
            select(originals.c.instance, originals.c.sealed)
            .join(instances, instances.c.id == originals.c.instance)
            .where(instances.c.patient == patient)
            .order_by(instances.c.number)
            .limit(_LOOKED_AT)
        )
        seal = None
        for row in rows.all():
            seal = seal or self._vault.seal_of(self._connection, patient)
            date = _digits(unpack(seal.open(row.sealed, "original", row.instance))["patient_birth_date"])
            if date:
                return date
        return ""


def _digits(date: str) -> str:
    """YYYYMMDD of a DICOM date in any of its forms, "" for anything else."""
    digits = "".join(character for character in date if character.isascii() and character.isdigit())
    return digits if len(digits) == 8 else ""
