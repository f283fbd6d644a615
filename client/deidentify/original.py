"""What must be known of a file, once it is de-identified, to send a result back to its patient and study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from pydicom.dataset import Dataset

_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Original:
    """The identifying values of one received DICOM instance, as text; empty where the file has none.

    Multi-valued elements are joined with a backslash, as DICOM writes them; names keep their component groups
    ("Alphabetic=Ideographic=Phonetic"). character_set: the file's Specific Character Set, in which all of this can be
    encoded again. patient_orientation, laterality, image_laterality, frame_of_reference_uid: what objects that refer
    to the image must repeat. rows and columns are stored pixels.
    """

    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_uid: str = ""
    series_uid: str = ""
    sop_uid: str = ""
    sop_class_uid: str = ""
    frame_of_reference_uid: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    referring_physician_name: str = ""
    study_description: str = ""
    modality: str = ""
    series_number: str = ""
    instance_number: str = ""
    patient_orientation: str = ""
    laterality: str = ""
    image_laterality: str = ""
    character_set: str = ""
    rows: int = 0
    columns: int = 0

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Read from a data set as it was received; an element that cannot be decoded counts as absent."""
        texts = {name: _text(dataset, keyword) for name, keyword in KEYWORDS.items()}
        return cls(**texts, rows=_number(dataset, "Rows"), columns=_number(dataset, "Columns"))

    def plain(self) -> dict[str, Any]:
        """As a map of plain values, for storing."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The original of `plain`'s map."""
        return cls(**{field.name: plain[field.name] for field in fields(cls)})


KEYWORDS: dict[str, str] = {
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "sop_uid": "SOPInstanceUID",
    "sop_class_uid": "SOPClassUID",
    "frame_of_reference_uid": "FrameOfReferenceUID",
    "accession_number": "AccessionNumber",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_id": "StudyID",
    "referring_physician_name": "ReferringPhysicianName",
    "study_description": "StudyDescription",
    "modality": "Modality",
    "series_number": "SeriesNumber",
    "instance_number": "InstanceNumber",
    "patient_orientation": "PatientOrientation",
    "laterality": "Laterality",
    "image_laterality": "ImageLaterality",
    "character_set": "SpecificCharacterSet",
}


def _value(dataset: Dataset, keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except Exception:  # pydicom raises whatever a broken element made it trip over
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    found = _value(dataset, keyword)
    if found is None:
        return ""
    if isinstance(found, list | tuple) or type(found).__name__ == "MultiValue":
        joined = "\\".join(str(part) for part in found)
    else:
        joined = str(found)
    return "".join(character for character in joined if character.isprintable()).strip()[:_LONGEST]


def _number(dataset: Dataset, keyword: str) -> int:
    found = _value(dataset, keyword)
    return found if isinstance(found, int) else 0
