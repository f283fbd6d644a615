"""From what the gate says of a file to what the store is given."""

from __future__ import annotations

from ..gate import Examined
from ..store import NewInstance


def new_instance(found: Examined, content: bytes, source: str) -> tuple[NewInstance, bytes]:
    """The instance to be stored and its preview; `source` names the file as the user knows it."""
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
        content=content,
    )
    return instance, found.preview
