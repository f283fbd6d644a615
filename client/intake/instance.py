"""From what the gate says of a file to what the store is given."""

from __future__ import annotations

import hashlib

from ...privacy.subgroups import stated
from ..deidentify import Deidentification, Keys, Profile
from ..gate import Examined
from ..store import NewInstance, Store


def deidentification_of(store: Store) -> Deidentification:
    """How files are de-identified on their way into a node's store: by the profile beside it, under its secret.

    Raises ProfileError when the profile's file cannot be used as it is.
    """
    return Deidentification(Profile.of_node(store.folder.parent), Keys(store.deidentification_secret))


def new_instance(found: Examined, received: bytes, source: str) -> tuple[NewInstance, bytes]:
    """The instance to be stored, de-identified, and its preview; `source` names the file as the user knows it."""
    assert found.original is not None  # whoever calls this asked for it
    instance = NewInstance(
        patient_issuer=found.patient_issuer,
        patient_id=found.patient_id,
        study_uid=found.study_uid,
        series_uid=found.series_uid,
        sop_uid=found.sop_uid,
        modality=found.modality,
        body_part=found.body_part,
        view=found.view,
        laterality=found.laterality,
        rows=found.rows,
        columns=found.columns,
        frames=found.frames,
        acquired=found.acquired,
        source=source,
        encoding="dicom",
        content=found.content,
        original=found.original,
        received=hashlib.sha256(received).digest(),
        masked=found.masked,
        traits=stated(found.sex, found.age),
    )
    return instance, found.preview
